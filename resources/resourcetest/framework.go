package resourcetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weir-project/weir/resources"
)

// Rig is an agent under test that is registered with a master of its own. The first six methods are those of Server, which rigs embed.
type Rig interface {
	Subscribe(ctx context.Context, info resources.FrameworkInfo) (<-chan resources.Event, error)
	Call(ctx context.Context, c resources.Call) error
	// RestartMaster kills the master; the new one has a higher term and remembers nothing. Depose's has a lower one.
	RestartMaster(t testing.TB)
	Depose(t testing.TB)

	Features() Features
	// StopAgent ends the agent as a crash would; StartAgent starts it on what it has left behind.
	StopAgent(t testing.TB)
	StartAgent(t testing.TB)
	// End makes a task that Task describes end by itself, with an exit code.
	End(t testing.TB, id resources.TaskID, code int)
	// Launches is how often a task that Task describes was really begun.
	Launches(t testing.TB, id resources.TaskID) int
	// File is a file of a task's sandbox as the task sees it, with its permissions.
	File(t testing.TB, id resources.TaskID, name string) (content string, mode uint32)
	// Exposed is all that is written down about a task beside its files: arguments, environment, labels, the agent's record.
	Exposed(t testing.TB, id resources.TaskID) string
	// Volume reports whether the storage behind a persistent volume is there.
	Volume(t testing.TB, id string) bool
}

// Features declares where kinds of agents differ. What is not declared is not checked, and the suite says so.
type Features struct {
	// Processes: tasks are processes of this host, and the rig is a ProcessRig.
	Processes bool
	// Hosts: a host can be taken away under its tasks, and the rig is a HostRig.
	Hosts bool
}

// ProcessRig is a rig whose tasks are processes of this host.
type ProcessRig interface {
	Rig
	// KillSupervisor kills what supervises a task, and nothing else, with SIGKILL.
	KillSupervisor(t testing.TB, id resources.TaskID)
	// Alive reports whether a process of this host runs (and is no zombie).
	Alive(pid int) bool
}

// HostRig is a rig whose host can be taken away for good.
type HostRig interface {
	Rig
	RemoveHost(t testing.TB)
}

// patience bounds every wait; nothing takes that long unless it fails.
const patience = 20 * time.Second

// Framework is a subscriber that acknowledges all that it hears.
type Framework struct {
	t      testing.TB
	rig    Rig
	ID     resources.FrameworkID
	Role   string
	events <-chan resources.Event
	offers []resources.Offer
	last   map[resources.TaskID]resources.TaskStatus
	seen   map[resources.TaskID][]resources.TaskState
	deaf   bool // it acknowledges nothing
	uuids  map[string]int
}

// NewFramework subscribes under an id.
func NewFramework(t testing.TB, rig Rig, id string) *Framework {
	t.Helper()
	f := &Framework{t: t, rig: rig, ID: resources.FrameworkID(id), Role: id, last: map[resources.TaskID]resources.TaskStatus{}, seen: map[resources.TaskID][]resources.TaskState{}, uuids: map[string]int{}}
	f.Subscribe()
	return f
}

// Subscribe subscribes again, as after a restart of the master.
func (f *Framework) Subscribe() {
	f.t.Helper()
	events, err := f.rig.Subscribe(f.t.Context(), resources.FrameworkInfo{ID: f.ID, Name: string(f.ID), Role: f.Role})
	if err != nil {
		f.t.Fatal(err)
	}
	f.events, f.offers = events, nil
}

// Call makes a call that must be accepted.
func (f *Framework) Call(c resources.Call) {
	f.t.Helper()
	if err := f.Try(c); err != nil {
		f.t.Fatal(err)
	}
}

// Try makes a call.
func (f *Framework) Try(c resources.Call) error {
	c.Framework = f.ID
	return f.rig.Call(f.t.Context(), c)
}

// until takes events until done says so.
func (f *Framework) until(what string, done func() bool) {
	f.t.Helper()
	timeout := time.NewTimer(patienceOf(f.t))
	defer timer(timeout)
	for !done() {
		select {
		case e, ok := <-f.events:
			if !ok {
				f.t.Fatalf("the stream ended while waiting for %s", what)
			}
			f.take(e)
		case <-timeout.C:
			f.t.Fatalf("no %s within %s; last statuses: %s", what, patienceOf(f.t), f.describe())
		}
	}
}

func timer(t *time.Timer) { t.Stop() }

func (f *Framework) describe() string { return fmt.Sprintf("%+v", f.last) }

func (f *Framework) take(e resources.Event) {
	f.t.Helper()
	switch e.Type {
	case resources.EventOffers:
		f.offers = append(f.offers, e.Offers...)
	case resources.EventRescind:
		for i, o := range f.offers {
			if o.ID == e.Offer {
				f.offers = append(f.offers[:i], f.offers[i+1:]...)
				break
			}
		}
	case resources.EventUpdate:
		s := *e.Status
		f.last[s.Task] = s
		if s.UUID != "" { // the rest are the master's own answers
			f.seen[s.Task] = append(f.seen[s.Task], s.State)
			f.uuids[s.UUID]++
		}
		if s.UUID != "" && !f.deaf {
			f.Call(resources.Call{Type: resources.CallAcknowledge, Task: s.Task, UUID: s.UUID})
		}
	}
}

// Offer waits for the next offer.
func (f *Framework) Offer() resources.Offer {
	f.t.Helper()
	f.until("offer", func() bool { return len(f.offers) > 0 })
	o := f.offers[0]
	f.offers = f.offers[1:]
	return o
}

// Accept accepts an offer.
func (f *Framework) Accept(o resources.Offer, operations ...resources.Operation) {
	f.t.Helper()
	f.Call(resources.Call{Type: resources.CallAccept, Offers: []resources.OfferID{o.ID}, Operations: operations})
}

// Launch accepts the next offer for tasks.
func (f *Framework) Launch(tasks ...resources.TaskInfo) {
	f.t.Helper()
	f.Accept(f.Offer(), resources.Operation{Type: resources.Launch, Tasks: tasks})
}

// LaunchSoon is Launch for an agent that comes and goes: an offer that was rescinded meanwhile is refused without any effect, and the
// next one is taken.
func (f *Framework) LaunchSoon(tasks ...resources.TaskInfo) {
	f.t.Helper()
	f.acceptWith(nil, resources.Operation{Type: resources.Launch, Tasks: tasks})
}

// WaitEnd waits for a task's end, whichever it is.
func (f *Framework) WaitEnd(id resources.TaskID) resources.TaskStatus {
	f.t.Helper()
	f.until(fmt.Sprintf("end of task %s", id), func() bool { return f.last[id].State.Terminal() })
	return f.last[id]
}

// Wait waits for a task to be in a state.
func (f *Framework) Wait(id resources.TaskID, state resources.TaskState) resources.TaskStatus {
	f.t.Helper()
	f.until(fmt.Sprintf("%s of task %s", state, id), func() bool { return f.last[id].State == state || f.last[id].State.Terminal() })
	if s := f.last[id]; s.State != state {
		f.t.Fatalf("task %s has ended: %s, %s, exit code %d: %s; want %s", id, s.State, s.Reason, s.ExitCode, s.Message, state)
	}
	return f.last[id]
}

// Task is a task that runs until the rig's End, wherever tasks really run.
func Task(id string) resources.TaskInfo {
	return Shell(id, "echo run >> ../../"+id+".ran; echo ready; while [ ! -e end ]; do sleep 0.02; done; exit $(cat end)")
}

// Shell is a small task that runs a shell script.
func Shell(id, script string) resources.TaskInfo {
	return resources.TaskInfo{
		ID: resources.TaskID(id), Name: "task",
		Resources: resources.Resources{resources.Scalar(resources.CPUs, 10), resources.Scalar(resources.Mem, resources.Whole(64))},
		Command:   resources.Command{Argv: []string{"/bin/sh", "-c", script}},
	}
}
