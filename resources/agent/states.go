package agent

import r "github.com/weir-project/weir/resources"

// TaskEvent is what can happen to a task on its agent.
type TaskEvent string

const (
	Refused        TaskEvent = "refused"         // its description or a resource made it impossible; nothing ran
	StartFailed    TaskEvent = "start failed"    // its shim could not be started
	ShimStarted    TaskEvent = "shim started"    // it prepares
	ProcessStarted TaskEvent = "process started" // its own program runs
	ExitedZero     TaskEvent = "exited with 0"
	ExitedBad      TaskEvent = "exited otherwise" // a code, a signal, or it never began
	ExitUnknown    TaskEvent = "exit unknown"     // it ended after its shim had died
	KillAsked      TaskEvent = "kill asked"
	HostGone       TaskEvent = "host gone" // the machine was removed for good, and the task with it
)

// Edge is one legal step.
type Edge struct {
	From r.TaskState
	On   TaskEvent
	To   r.TaskState
}

// Edges are all the legal steps of one task on one agent. Whatever is not in here changes nothing: an adopted task may be seen
// to run again, and a terminal state is for ever.
//
//	STAGING -> STARTING -> RUNNING -> FINISHED | FAILED
//	    \          \          \
//	     `----------`----------`--> KILLING -> KILLED          and from each of them to GONE, when the host is gone
var Edges = []Edge{
	{r.Staging, Refused, r.Dropped},
	{r.Staging, StartFailed, r.Failed},
	{r.Staging, ShimStarted, r.Starting},
	{r.Staging, ProcessStarted, r.Running}, // adopted after a restart of the agent
	{r.Staging, ExitedZero, r.Finished},
	{r.Staging, ExitedBad, r.Failed},
	{r.Staging, ExitUnknown, r.Failed},
	{r.Staging, KillAsked, r.Killing},
	{r.Staging, HostGone, r.Gone},
	{r.Starting, StartFailed, r.Failed}, // what its shim would have prepared was in vain
	{r.Starting, HostGone, r.Gone},
	{r.Starting, ProcessStarted, r.Running},
	{r.Starting, ExitedZero, r.Finished},
	{r.Starting, ExitedBad, r.Failed},
	{r.Starting, ExitUnknown, r.Failed},
	{r.Starting, KillAsked, r.Killing},
	{r.Running, ExitedZero, r.Finished},
	{r.Running, ExitedBad, r.Failed},
	{r.Running, ExitUnknown, r.Failed},
	{r.Running, KillAsked, r.Killing},
	{r.Running, HostGone, r.Gone},
	{r.Killing, HostGone, r.Gone},
	{r.Killing, Refused, r.Killed},
	{r.Killing, StartFailed, r.Killed},
	{r.Killing, ExitedZero, r.Killed},
	{r.Killing, ExitedBad, r.Killed},
	{r.Killing, ExitUnknown, r.Killed},
}

// Next is the state that an event leads to, and false where the event changes nothing.
func Next(from r.TaskState, on TaskEvent) (r.TaskState, bool) {
	for _, e := range Edges {
		if e.From == from && e.On == on {
			return e.To, true
		}
	}
	return from, false
}
