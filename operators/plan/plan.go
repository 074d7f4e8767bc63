package plan

import (
	"cmp"
	"time"

	"github.com/weir-project/weir/operators"
)

// Strategy is the order of a phase's steps. Phases of a plan are serial, but for those that go on beside.
type Strategy string

// The strategies.
const (
	Serial   Strategy = "serial"
	Parallel Strategy = "parallel"
)

// Status of a step, derived on every pass.
type Status string

// The statuses, from "nothing was done yet" to the end.
const (
	Pending  Status = "pending"  // its action is to be carried out
	Prepared Status = "prepared" // the attempt is stored, the offer accepted, nothing heard yet
	Starting Status = "starting" // the task is staging or starting, or going away
	Started  Status = "started"  // it runs, its readiness has not been seen
	Complete Status = "complete" // its postcondition holds
	Error    Status = "error"    // trying again cannot help without a change
	Delayed  Status = "delayed"  // it failed and is tried again after a pause
	Waiting  Status = "waiting"  // something must come first: a fact, another service, an operator's word
)

// Summary of a phase or plan.
type Summary string

// The summaries.
const (
	InProgress Summary = "in progress"
	Waits      Summary = "waiting"
	Done       Summary = "complete"
	Failed     Summary = "error"
)

// Plan is what is left to do for one revision of a service, and what is done.
type Plan struct {
	Service  string
	Name     string // deploy, update, recover, scale
	Revision string
	Phases   []Phase
}

// Phase is a group of steps. One that goes on Beside the phases after it does not hold them up: the recovery of what failed waits for no
// roll-out, and no roll-out for it.
type Phase struct {
	Name     string
	Strategy Strategy
	Steps    []Step
	Beside   bool
}

// Step is the smallest visible work. Done says that its postcondition holds now.
type Step struct {
	ID        string // stable: "<pod>:launch", "topics:<service>"
	Action    operators.Action
	Done      bool
	Status    Status
	Reason    string
	NotBefore time.Time // of a delayed step
	Recovers  bool      // it brings back what ran and ended by itself: no pause holds it up
	Failed    bool      // its last attempt failed, and Reason says of what
}

// Overrides are what an operator ordered; they are stored, and applied to each plan that is made.
type Overrides struct {
	Paused map[string]bool // by step id, phase name, or "plan"
	Why    string          // what a step that is held up says; empty: "paused"
}

// Apply makes the paused steps that have not begun wait. What is in flight goes on to its end, and what ran and failed is brought back: a pause
// holds a change up, it does not leave a service broken.
func (p *Plan) Apply(o Overrides) {
	for i := range p.Phases {
		ph := &p.Phases[i]
		for j := range ph.Steps {
			s := &ph.Steps[j]
			if s.Recovers || !o.Paused["plan"] && !o.Paused[ph.Name] && !o.Paused[s.ID] {
				continue
			}
			if s.Status == Pending || s.Status == Delayed {
				s.Status, s.Reason = Waiting, cmp.Or(o.Why, "paused")
			}
		}
	}
}

// Candidates are the steps whose actions are to be carried out now: those of the first phase that is not complete, and of the phases beside
// that come before it, each in the order of its strategy. A serial phase has at most one. A step in flight is no candidate, and holds
// up its serial phase.
func (p Plan) Candidates(now time.Time) []Step {
	var out []Step
	for _, ph := range p.Phases {
		if ph.Summary() == Done {
			continue
		}
		out = append(out, ph.candidates(now)...)
		if !ph.Beside {
			break
		}
	}
	return out
}

func (ph Phase) candidates(now time.Time) []Step {
	var out []Step
	for _, s := range ph.Steps {
		if s.Done {
			continue
		}
		if s.ready(now) {
			out = append(out, s)
		}
		if ph.Strategy == Serial {
			break
		}
	}
	return out
}

func (s Step) ready(now time.Time) bool {
	if _, wait := s.Action.(operators.Wait); wait {
		return false
	}
	switch s.Status {
	case Pending:
		return true
	case Delayed, Error:
		return !s.NotBefore.IsZero() && !now.Before(s.NotBefore)
	}
	return false
}

// NextTime is when the first delayed step may be tried again; the zero time where none is delayed.
func (p Plan) NextTime() time.Time {
	var next time.Time
	for _, ph := range p.Phases {
		for _, s := range ph.Steps {
			if !s.Done && !s.NotBefore.IsZero() && (next.IsZero() || s.NotBefore.Before(next)) {
				next = s.NotBefore
			}
		}
	}
	return next
}

// Summary of the phase.
func (ph Phase) Summary() Summary {
	all := make([]Summary, len(ph.Steps))
	for i, s := range ph.Steps {
		all[i] = s.summary()
	}
	return summarize(all)
}

// Summary of the plan. A plan without steps is complete.
func (p Plan) Summary() Summary {
	all := make([]Summary, len(p.Phases))
	for i, ph := range p.Phases {
		all[i] = ph.Summary()
	}
	return summarize(all)
}

func (s Step) summary() Summary {
	switch {
	case s.Done:
		return Done
	case s.Status == Error:
		return Failed
	case s.Status == Waiting:
		return Waits
	}
	return InProgress
}

// summarize: one error makes all of it an error; it waits only where nothing goes on.
func summarize(all []Summary) Summary {
	count := map[Summary]int{}
	for _, s := range all {
		count[s]++
	}
	switch {
	case count[Failed] > 0:
		return Failed
	case count[Done] == len(all):
		return Done
	case count[InProgress] > 0:
		return InProgress
	}
	return Waits
}

// Step finds a step by its id.
func (p Plan) Step(id string) (Step, bool) {
	for _, ph := range p.Phases {
		for _, s := range ph.Steps {
			if s.ID == id {
				return s, true
			}
		}
	}
	return Step{}, false
}
