package allocator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/resources"
)

// State is all that an allocation looks at.
type State struct {
	Now        time.Time
	Agents     []Agent
	Frameworks []Framework
	Filters    []Filter
	Weights    map[string]float64 // by role; 1 where none is given
	// MinAllocatable: what is less than every one of these is not worth an offer. Empty means DefaultMinAllocatable.
	MinAllocatable []resources.Resources
}

// DefaultMinAllocatable is that of Mesos: a hundredth of a processor, or 32 MiB.
var DefaultMinAllocatable = []resources.Resources{
	{resources.Scalar(resources.CPUs, 10)}, {resources.Scalar(resources.Mem, resources.Whole(32))},
}

// Agent is one agent that answers.
type Agent struct {
	ID        resources.AgentID
	Total     resources.Resources // reservations included
	Available resources.Resources // neither used nor offered
}

// Framework is one subscriber.
type Framework struct {
	ID         resources.FrameworkID
	Role       string
	Suppressed bool
	Allocated  resources.Resources // used or offered
}

// Filter withholds offers of an agent that hold nothing beyond Resources.
type Filter struct {
	Framework resources.FrameworkID
	Agent     resources.AgentID
	Resources resources.Resources
	Until     time.Time
}

// Grant is one offer to be made.
type Grant struct {
	Framework resources.FrameworkID
	Role      string
	Agent     resources.AgentID
	Resources resources.Resources
	Share     float64 // the role's dominant share before the grant
}

// Code says why there was no offer.
type Code string

const (
	Suppressed  Code = "suppressed" // the framework asked for none
	Filtered    Code = "filtered"   // it declined as much until a time
	NothingLeft Code = "nothing"    // all of the agent is used or offered
	OthersOnly  Code = "reserved"   // what is left is reserved for others
	TooLittle   Code = "too little" // what is left is less than is worth an offer
	NoAgents    Code = "no agents"  // none is registered
)

// Reason is why a framework was not offered an agent in this allocation.
type Reason struct {
	Framework resources.FrameworkID `json:"framework"`
	Role      string                `json:"role"`
	Agent     resources.AgentID     `json:"agent,omitempty"`
	Code      Code                  `json:"code"`
	Until     time.Time             `json:"until,omitzero"` // filtered
	Left      resources.Resources   `json:"left,omitempty"` // what is left on the agent; filtered: what would be offered
	// Held names the frameworks that hold offers of the agent; the master fills it in, and they give back what they do not use.
	Held []resources.FrameworkID `json:"held,omitempty"`
}

// String says it in one line.
func (r Reason) String() string {
	head := fmt.Sprintf("framework %s", r.Framework)
	if r.Agent != "" {
		head += ": agent " + string(r.Agent)
	}
	switch r.Code {
	case Suppressed:
		return head + ": it has suppressed offers"
	case Filtered:
		return fmt.Sprintf("%s: it declined %s until %s", head, r.Left.Summary(), r.Until.UTC().Format("15:04:05.000"))
	case OthersOnly:
		return fmt.Sprintf("%s: what is left is reserved for others: %s", head, r.Left.Summary())
	case TooLittle:
		return fmt.Sprintf("%s: what is left is too little for an offer: %s", head, r.Left.Summary())
	case NoAgents:
		return head + ": no agent is registered"
	}
	if len(r.Held) > 0 {
		return fmt.Sprintf("%s: nothing is left: what is not used is offered to %s, which may give it back", head, list(r.Held))
	}
	return head + ": nothing is left, all of it is used"
}

func list(ids []resources.FrameworkID) string {
	var out []string
	for _, id := range ids {
		out = append(out, string(id))
	}
	return strings.Join(out, ", ")
}

// Result of one allocation. Every framework has, for every agent, a grant or a reason.
type Result struct {
	Grants  []Grant
	Reasons []Reason
}

// Allocate gives what is available. The same state gives the same result; agents are taken in order of their ids.
func Allocate(s State) Result {
	l := newLedger(s)
	var out Result
	agents := slices.Clone(s.Agents)
	slices.SortFunc(agents, func(a, b Agent) int { return cmp.Compare(a.ID, b.ID) })
	for _, a := range agents {
		left := a.Available.Normal()
		passed := map[resources.FrameworkID]bool{}
		// After each grant the order is computed anew, since the grant has changed the shares.
		for {
			f, share, ok := l.next(passed)
			if !ok {
				break
			}
			passed[f.ID] = true
			offer := left.Unreserved().Add(left.Reserved(f.Role))
			if reason, ok := s.refuse(f, a.ID, offer, left); ok {
				out.Reasons = append(out.Reasons, reason)
				continue
			}
			out.Grants = append(out.Grants, Grant{Framework: f.ID, Role: f.Role, Agent: a.ID, Resources: offer, Share: share})
			left = left.Sub(offer)
			l.charge(f, offer)
		}
	}
	if len(agents) == 0 {
		for _, f := range l.frameworks {
			out.Reasons = append(out.Reasons, Reason{Framework: f.ID, Role: f.Role, Code: NoAgents})
		}
	}
	return out
}

// refuse is why an offer is not made.
func (s State) refuse(f *Framework, agent resources.AgentID, offer, left resources.Resources) (Reason, bool) {
	r := Reason{Framework: f.ID, Role: f.Role, Agent: agent, Left: left}
	switch {
	case f.Suppressed:
		r.Code = Suppressed
	case left.Empty():
		r.Code = NothingLeft
	case offer.Empty():
		r.Code = OthersOnly
	case !s.worth(offer):
		r.Code = TooLittle
	default:
		if until, filtered := s.filtered(f.ID, agent, offer); filtered {
			r.Code, r.Until, r.Left = Filtered, until, offer
			break
		}
		return r, false
	}
	return r, true
}

// worth reports that an offer is enough to be of use. A reservation always is: its holder waits for exactly that.
func (s State) worth(offer resources.Resources) bool {
	if len(offer.Reservations()) > 0 {
		return true
	}
	minima := s.MinAllocatable
	if len(minima) == 0 {
		minima = DefaultMinAllocatable
	}
	return slices.ContainsFunc(minima, func(m resources.Resources) bool { return offer.Plain().Contains(m) })
}

// filtered reports whether the framework has declined as much. An offer with anything more gets through.
func (s State) filtered(f resources.FrameworkID, agent resources.AgentID, offer resources.Resources) (time.Time, bool) {
	var until time.Time
	for _, x := range s.Filters {
		if x.Framework == f && x.Agent == agent && s.Now.Before(x.Until) && x.Until.After(until) && x.Resources.Contains(offer) {
			until = x.Until
		}
	}
	return until, !until.IsZero()
}
