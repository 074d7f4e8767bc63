package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/operators/autoscale"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/physical"
)

func TestADecisionIsCarriedOutStoredAndKnownToTheNextServer(t *testing.T) {
	d := fleetOf(t, "{min: 1, max: 3}")
	s := d.stacks["s"]
	v := s.fleet()
	sc, err := s.scalerOf(v)
	if err != nil {
		t.Fatal(err)
	}
	sc.last = autoscale.Decision{At: then, Verdict: autoscale.Out, Workers: 1, Want: 2, Reason: autoscale.Reason{Text: "s/workers: 1 worker to 2", Under: []autoscale.Reason{{Text: "1.20 cores are needed"}}}}
	if err := s.rescale(t.Context(), v, sc); err != nil {
		t.Fatal(err)
	}
	if n := s.fleet().spec.Size; n != 2 {
		t.Errorf("the size is %d", n)
	}
	if why := s.record.Changes["workers"].Why; why != "the autoscaler: 1.20 cores are needed" {
		t.Errorf("the plan says %q", why)
	}
	next := newDaemon()
	next.store = d.store
	ns := next.newStack("s")
	known, err := ns.scalerOf(v)
	if err != nil {
		t.Fatal(err)
	}
	if !known.Memory.Changed.Equal(then) || len(known.Changes) != 1 || known.Changes[0].Want != 2 || known.Memory.Grown == nil {
		t.Errorf("the next server knows %+v", known.scaled)
	}
	// What the file does not allow is not carried out, and nothing is changed by trying (I7).
	sc.last.Workers, sc.last.Want = 2, 9
	if err := s.rescale(t.Context(), v, sc); err == nil || s.fleet().spec.Size != 2 || len(sc.Changes) != 1 {
		t.Errorf("9 workers of at most 3: %v, size %d, %d changes", err, s.fleet().spec.Size, len(sc.Changes))
	}
	if known, err := next.newStack("s").scalerOf(v); err != nil || len(known.Changes) != 1 || !known.Memory.Changed.Equal(then) {
		t.Errorf("what was refused is known to the next server as done: %+v, %v", known.scaled, err)
	}
}

func TestOnlyWhatRunsIsMeasuredAndOnlyByItsOwner(t *testing.T) {
	d := fleetOf(t, "{min: 1, max: 3}")
	s := d.stacks["s"]
	p := newPipeline("s", twoStages("/in"))
	s.pipelines, s.assigned = []*pipeline{p}, owned(p, "a", "b")
	if got := s.running(); len(got) != 0 {
		t.Errorf("a stage whose splits are not listed runs: %+v", got)
	}
	p.Stages["load"].Listed = true
	p.Stages["load"].Slots[1] = checkpoint.Counters{}
	got := s.running()
	if len(got) != 1 || got[0].Name != "p/load" || len(got[0].Expected) != 1 || got[0].Expected[0] != p.slot("load", 0) {
		t.Fatalf("of two slots of which one has ended: %+v", got)
	}
	sc, err := s.scalerOf(s.fleet())
	if err != nil {
		t.Fatal(err)
	}
	said := p.says("load", 0, "running", 5, 0)
	for i, task := range []string{"b", "a"} { // b owns another slot
		for at := range 4 {
			said.Work = &physical.Work{At: int64(at) * int64(time.Second), Rows: int64(at) * 100}
			s.measured(task, physical.Report{Slots: []physical.SlotReport{said}}, then.Add(time.Duration(at)*time.Second))
		}
		o := sc.window.Observe(autoscale.Fleet{}, nil, s.running(), then.Add(3*time.Second))
		if measured := len(o.Stages) == 1 && len(o.Stages[0].Slots) == 1; measured != (i == 1) {
			t.Errorf("after the word of %s: %+v", task, o.Stages)
		}
	}
}

func TestAboutAStageLeavesWhatHoldsForAll(t *testing.T) {
	r := autoscale.Reason{Text: "head", Under: []autoscale.Reason{{Text: "for all"}, {Text: "stage p/a (2 slots)"}, {Text: "stage p/b (1 slot)"}}}
	if got := about(r, "p/a").Line(); got != "head: for all; stage p/a (2 slots)" {
		t.Errorf("got %q", got)
	}
	if got := about(r, "").Line(); !strings.Contains(got, "p/b") {
		t.Errorf("of all: %q", got)
	}
}
