package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-project/weir/operators"
)

var statuses = []Status{Pending, Prepared, Starting, Started, Complete, Error, Delayed, Waiting}

// TestPlans reads plans such as
//
//	phase one serial
//	  a complete
//	  b delayed 2s
//
// and answers with their summary, their candidates and the time of the next.
func TestPlans(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	datadriven.RunTest(t, "testdata/plans", func(t *testing.T, d *datadriven.TestData) string {
		p := Plan{Service: "events", Name: "deploy", Revision: "r1"}
		for _, line := range strings.Split(d.Input, "\n") {
			f := strings.Fields(line)
			if f[0] == "phase" {
				p.Phases = append(p.Phases, Phase{Name: f[1], Strategy: Strategy(f[2]), Beside: slices.Contains(f, "beside")})
				continue
			}
			ph := &p.Phases[len(p.Phases)-1]
			s := Step{ID: f[0], Status: Status(f[1]), Done: f[1] == string(Complete), Action: operators.Kill{Task: "t"}}
			if !slices.Contains(statuses, s.Status) {
				t.Fatalf("no status %q", f[1])
			}
			if len(f) > 2 {
				after, err := time.ParseDuration(f[2])
				if err != nil {
					t.Fatal(err)
				}
				s.NotBefore = now.Add(after)
			}
			ph.Steps = append(ph.Steps, s)
		}
		var pause string
		d.MaybeScanArgs(t, "pause", &pause)
		p.Apply(Overrides{Paused: map[string]bool{pause: true}})
		at := "0s"
		d.MaybeScanArgs(t, "at", &at)
		elapsed, err := time.ParseDuration(at)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range p.Candidates(now.Add(elapsed)) {
			ids = append(ids, s.ID)
		}
		next := "none"
		if n := p.NextTime(); !n.IsZero() {
			next = n.Sub(now).String()
		}
		return fmt.Sprintf("%s; candidates %v; next %s\n", p.Summary(), ids, next)
	})
}

func TestAPlanPrintsItselfAndItsChanges(t *testing.T) {
	p := Plan{Service: "events", Name: "deploy", Revision: "r1", Phases: []Phase{{Name: "broker", Strategy: Serial, Steps: []Step{
		{ID: "events-0:launch", Action: operators.Launch{Pod: operators.PodSpec{Service: "events", Revision: "r1"}}, Status: Pending},
		{ID: "events-0:ready", Action: operators.Wait{For: "an answer"}, Status: Waiting, Reason: "after its launch"},
	}}}}
	want := `plan deploy of events (revision r1): in progress
  phase broker (serial): in progress
    events-0:launch  pending
    events-0:ready   waiting   after its launch
`
	if got := p.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want = `plan deploy of events
  phase broker (serial)
    events-0:launch  launch events-0 at revision r1
    events-0:ready   wait for an answer (after its launch)
`
	if got := p.Preview(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := (Plan{Phases: []Phase{{Steps: []Step{{ID: "a", Done: true}}}}}).Preview(); got != "" {
		t.Errorf("what is complete previews %q", got)
	}
	if _, ok := p.Step("events-0:ready"); !ok {
		t.Error("a step is not found by its id")
	}
	if p.Candidates(time.Time{})[0].ID != "events-0:launch" {
		t.Error("the launch is no candidate")
	}
	if (Plan{}).Summary() != Done {
		t.Error("a plan without steps is not complete")
	}
}
