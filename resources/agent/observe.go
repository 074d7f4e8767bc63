package agent

import (
	"time"

	"github.com/weir-project/weir/resources"
)

// Observation is what the edge saw of a task.
type Observation struct {
	Event    TaskEvent
	PID      int
	ExitCode int
	Reason   string
	Message  string
}

// Observe takes note of what was seen. What changes nothing has no effects.
func (a *Agent) Observe(now time.Time, id resources.TaskID, o Observation) []Effect {
	t, ok := a.tasks[id]
	if !ok {
		return nil
	}
	return a.step(now, t, o)
}

// ShimDied notes that a task runs on without its shim: from now on this agent ends it by itself.
func (a *Agent) ShimDied(now time.Time, id resources.TaskID) []Effect {
	t, ok := a.tasks[id]
	if !ok || t.shimDead || t.status.State.Terminal() {
		return nil
	}
	t.shimDead = true
	if t.status.State != resources.Killing {
		return nil
	}
	t.killAt = a.hardKill(now, t)
	return []Effect{Stop{Task: id}} // the SIGTERM may have died with the shim
}

func (a *Agent) step(now time.Time, t *task, o Observation) []Effect {
	to, ok := Next(t.status.State, o.Event)
	if !ok {
		if o.PID != 0 {
			t.status.PID = o.PID // a task that is killed while it starts has a process too
		}
		return nil
	}
	s := &t.status
	s.State, s.At, s.UUID = to, now, a.config.NewID()
	s.Reason, s.Message, s.ExitCode = o.Reason, o.Message, o.ExitCode
	if o.PID != 0 {
		s.PID = o.PID
	}
	if to.Terminal() {
		t.killAt = time.Time{}
	}
	t.wait, t.retryAt = retryMin, now.Add(retryMin)
	var effects []Effect
	if to == resources.Dropped {
		effects = append(effects, Save{}) // no shim's folder can tell it again
	}
	return append(effects, a.report(t))
}

func (a *Agent) report(t *task) Effect {
	status := t.status
	return Report{resources.AgentReport{Type: resources.AgentStatus, Status: &status}}
}

// Tick repeats statuses that nobody acknowledged, and kills what did not end by itself.
func (a *Agent) Tick(now time.Time) []Effect {
	var effects []Effect
	for _, t := range a.sorted() {
		if !t.killAt.IsZero() && !now.Before(t.killAt) {
			// Repeated until the end is seen: a group may gain members while it is killed.
			t.killAt = now.Add(backstop)
			effects = append(effects, Stop{Task: t.info.ID, Hard: true})
		}
		if t.status.UUID != "" && !now.Before(t.retryAt) {
			t.wait = min(2*max(t.wait, retryMin), retryMax)
			t.retryAt = now.Add(t.wait)
			effects = append(effects, a.report(t))
		}
	}
	return effects
}

// Next is when Tick has something to do; zero is never.
func (a *Agent) Next() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, t := range a.tasks {
		earlier(t.killAt)
		if t.status.UUID != "" {
			earlier(t.retryAt)
		}
	}
	return next
}
