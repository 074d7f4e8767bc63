package plan

import (
	"testing"
	"time"

	"github.com/weir-project/weir/operators"
)

var then = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestAChangeIsNamedBySizesAndExtendsTheOneThatGoesOn(t *testing.T) {
	c := Change{To: 1, At: then}
	var names []string
	step := func(next Change) { c = next; names = append(names, c.String()) }
	step(c)
	step(c.Next(2, "", then)) // before it was ever complete
	c.Ended = then
	step(c.Next(2, "", then)) // another spec of the same size
	c.Ended = then
	step(c.Next(5, "weir scale", then))
	if step(c.Next(3, "", then)); c.Was != "scale out 2 -> 5" {
		t.Errorf("it extends %q", c.Was)
	}
	step(c.Next(1, "", then))
	step(c.Next(2, "", then))
	want := []string{"deploy", "deploy", "update", "scale out 2 -> 5", "scale out 2 -> 3", "scale in 2 -> 1", "scale back to 2"}
	for i := range want {
		if names[i] != want[i] {
			t.Errorf("change %d is %q, want %q", i, names[i], want[i])
		}
	}
}

func TestAPlanIsToldByItsChangeAndAfterItsEndAsARecovery(t *testing.T) {
	open := Plan{Name: "deploy", Phases: []Phase{{Steps: []Step{{ID: "a", Status: Pending}}}}}
	done := Plan{Name: "deploy", Phases: []Phase{{Steps: []Step{{ID: "a", Done: true}}}}}
	grows := Change{From: 1, To: 2}
	grown := grows
	grown.Ended = then
	for _, c := range []struct {
		plan   Plan
		change Change
		want   string
	}{{open, grows, "scale out 1 -> 2"}, {done, grows, "scale out 1 -> 2"}, {done, grown, "scale out 1 -> 2"}, {open, grown, "recover"}, {open, Change{}, "deploy"}} {
		if got := c.plan.Told(c.change).Name; got != c.want {
			t.Errorf("%+v: got %q, want %q", c.change, got, c.want)
		}
	}
}

func TestAPauseHoldsWhatHasNotBegunAndBringsBackWhatFailed(t *testing.T) {
	p := Plan{Phases: []Phase{{Name: "one", Strategy: Parallel, Steps: []Step{
		{ID: "new", Status: Pending, Action: operators.Launch{}}, {ID: "flight", Status: Starting, Action: operators.Launch{}},
		{ID: "failed", Status: Delayed, NotBefore: then, Recovers: true, Action: operators.Launch{}}, {ID: "again", Status: Delayed, NotBefore: then, Action: operators.Admin{}},
	}}}}
	p.Apply(Overrides{Paused: map[string]bool{"plan": true}, Why: "held"})
	want := []Status{Waiting, Starting, Delayed, Waiting}
	for i, s := range p.Phases[0].Steps {
		if s.Status != want[i] || (s.Status == Waiting) != (s.Reason == "held") {
			t.Errorf("%s is %s (%s), want %s", s.ID, s.Status, s.Reason, want[i])
		}
	}
	if got := p.Candidates(then); len(got) != 1 || got[0].ID != "failed" {
		t.Errorf("candidates %v", got)
	}
}
