package plan

import (
	"fmt"
	"strings"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// giveUpOld is after how many failures in a row a recovery stops to launch the revision that the task had and takes the new one: the new
// one may be the cure.
const giveUpOld = 3

// LaunchID and StopID are the stable ids of a pod's steps.
func LaunchID(pod string) string { return pod + ":launch" }

// ReadyID is the step that waits for a pod to answer.
func ReadyID(pod string) string { return pod + ":ready" }

// StopID is the step that ends a pod's task.
func StopID(pod string) string { return pod + ":stop" }

// Pod makes the steps that bring one pod to run the revision of its spec: stop what runs an older one, launch what does not run.
// build makes the pod of a spec, so that a recovery can launch at the revision that the task had.
func Pod(spec operators.ServiceSpec, index int, o operators.Observed, build func(operators.ServiceSpec, int) operators.PodSpec) []Step {
	want := build(spec, index)
	name := want.Name()
	task := o.Tasks[name]
	if o.Attempts[LaunchID(name)].Unheard(task) {
		// Stored and accepted, nothing heard: whatever the older task says is past (C2, I3).
		return []Step{launchStep(operators.Launch{Pod: want, Spec: spec}, task, o)}
	}
	switch {
	case task.Live() && task.Revision != want.Revision:
		return []Step{
			Stop(name, task, fmt.Sprintf("it runs revision %s and shall run %s", task.Revision, want.Revision), o),
			{ID: LaunchID(name), Action: operators.Launch{Pod: want, Spec: spec}, Status: Waiting, Reason: "after its task of the older revision has ended"},
		}
	case task.ID != "" && !task.Live() && task.State != resources.Killed && task.Revision != want.Revision:
		if old, ok := o.Specs[task.Revision]; ok && o.Attempts[LaunchID(name)].Failures < giveUpOld {
			return []Step{launchStep(operators.Launch{Pod: build(old, index), Spec: old}, task, o)}
		}
	}
	return []Step{launchStep(operators.Launch{Pod: want, Spec: spec}, task, o)}
}

func launchStep(l operators.Launch, task operators.Task, o operators.Observed) Step {
	id := LaunchID(l.Pod.Name())
	attempt := o.Attempts[id]
	s := Step{ID: id, Action: l}
	switch {
	case attempt.Unheard(task):
		s.Status, s.Reason = Prepared, fmt.Sprintf("task %s was launched, its agent has not said so yet", attempt.Task)
	case task.State == resources.Running && task.Revision == l.Pod.Revision:
		s.Status, s.Done = Complete, true
	case task.State == resources.Unreachable:
		s.Status, s.Reason = Waiting, fmt.Sprintf("agent %s does not answer; its task may be running", task.Agent)
	case task.Live():
		s.Status, s.Reason = Starting, fmt.Sprintf("task %s is %s", task.ID, task.State)
	default:
		s.Recovers = task.ID != "" && task.State != resources.Killed
		s.retry(attempt, o.Now)
		if s.Reason == "" && task.ID != "" {
			s.Reason = ended(task)
		}
		if task.State == resources.Errored {
			s.Status = Error
		}
	}
	return s
}

func ended(t operators.Task) string {
	why := t.Message
	if why == "" {
		why = fmt.Sprintf("exit code %d", t.ExitCode)
	}
	return fmt.Sprintf("task %s ended as %s: %s", t.ID, t.State, why)
}

// Stop is the step that kills a pod's task; it is done when no task of the pod lives. It waits while the task's agent does not answer.
func Stop(pod string, task operators.Task, why string, o operators.Observed) Step {
	s := Step{ID: StopID(pod), Action: operators.Kill{Pod: pod, Task: task.ID, Why: why}}
	switch {
	case !task.Live():
		s.Status, s.Done = Complete, true
	case task.State == resources.Unreachable:
		s.Status, s.Reason = Waiting, fmt.Sprintf("agent %s does not answer", task.Agent)
	case task.State == resources.Killing:
		s.Status, s.Reason = Starting, fmt.Sprintf("task %s is going away", task.ID)
	default:
		s.retry(o.Attempts[s.ID], o.Now)
		if s.Reason == "" {
			s.Reason = why
		}
	}
	return s
}

// Ready is the step that waits for a launched pod to answer. why tells why it does not, from a fact that is false or unknown.
func Ready(pod string, launched bool, ready bool, what, why string) Step {
	s := Step{ID: ReadyID(pod), Action: operators.Wait{For: what}}
	switch {
	case launched && ready:
		s.Status, s.Done = Complete, true
	case launched:
		s.Status, s.Reason = Started, why
	default:
		s.Status, s.Reason = Waiting, "after its launch"
	}
	return s
}

// Admin is the step of an admin call. blocked says what must come first, empty if nothing; missing says why its postcondition does not hold.
func Admin(id string, a operators.Admin, done bool, blocked, missing string, o operators.Observed) Step {
	s := Step{ID: id, Action: a, Done: done}
	switch {
	case done:
		s.Status = Complete
	case blocked != "":
		s.Status, s.Reason = Waiting, blocked
	default:
		s.retry(o.Attempts[id], o.Now)
		if s.Reason == "" {
			s.Reason = missing
		}
	}
	return s
}

// retry makes a step pending, or delayed by its failures.
func (s *Step) retry(a operators.Attempt, now time.Time) {
	s.Status, s.NotBefore = Pending, a.NotBefore
	if a.Failures == 0 {
		s.NotBefore = time.Time{}
		return
	}
	s.Failed, s.Reason = true, fmt.Sprintf("attempt %d failed: %s", a.Total, strings.ReplaceAll(a.LastError, "\n", "; "))
	if now.Before(a.NotBefore) {
		s.Status = Delayed
		s.Reason += fmt.Sprintf("; again in %s", a.NotBefore.Sub(now).Round(100*time.Millisecond))
	}
}
