package plan

import (
	"fmt"
	"strings"
	"time"
)

// Change is what was last asked of a service. It is stored, since the world does not show at which size a change began: everything else
// about a plan is derived. A change that comes while one goes on extends it, and is never lost: the newest size wins, the plan is made anew.
type Change struct {
	From  int       `json:"from,omitempty"` // the size before; 0: the service did not run
	To    int       `json:"to"`
	Why   string    `json:"why,omitempty"` // who asked for it
	At    time.Time `json:"at,omitzero"`
	Was   string    `json:"was,omitempty"`  // the change that was going on and that this one extends
	Ended time.Time `json:"ended,omitzero"` // when the plan was seen complete
}

// GoesOn reports whether the change was asked for and has not ended.
func (c Change) GoesOn() bool { return c.To != 0 && c.Ended.IsZero() }

// Next is the change to another size, or to another spec of the same size: one that goes on is extended from where it began.
func (c Change) Next(to int, why string, at time.Time) Change {
	if c.GoesOn() {
		return Change{From: c.From, To: to, Why: why, At: at, Was: c.String()}
	}
	return Change{From: c.To, To: to, Why: why, At: at}
}

// String names the change: "deploy", "scale out 1 -> 3".
func (c Change) String() string {
	switch {
	case c.From == 0:
		return "deploy"
	case c.From < c.To:
		return fmt.Sprintf("scale out %d -> %d", c.From, c.To)
	case c.From > c.To:
		return fmt.Sprintf("scale in %d -> %d", c.From, c.To)
	case strings.HasPrefix(c.Was, "scale"):
		return fmt.Sprintf("scale back to %d", c.To)
	}
	return "update"
}

// Told names the plan for people: by the change that it carries out, or "recover" where that had ended and something broke since.
func (p Plan) Told(c Change) Plan {
	switch {
	case c.To == 0: // of a record that knows no changes
	case !c.GoesOn() && p.Broken():
		p.Name = "recover"
	default:
		p.Name = c.String()
	}
	return p
}

// Broken reports whether there is something to do. A server that has just started only has to hear what is there.
func (p Plan) Broken() bool {
	for _, ph := range p.Phases {
		for _, s := range ph.Steps {
			switch {
			case s.Done:
			case s.Status == Pending, s.Status == Delayed, s.Status == Error, s.Status == Starting:
				return true
			}
		}
	}
	return false
}
