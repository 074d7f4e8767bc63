package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

// owned gives the pipeline's load slots to workers, in order.
func owned(p *pipeline, workers ...string) stream.State {
	st := stream.State{Revision: 1}
	for i, w := range workers {
		st.Slots = append(st.Slots, stream.Owned{Slot: p.slot("load", i), Run: p.Run, Task: w, Term: 1})
	}
	return st
}

func TestAWorkerWhoseLinkBrokeKeepsItsSlotsForTenSecondsAndADeadTaskNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDaemon()
		s := d.newStack("s")
		v := observing(t, operators.ServiceSpec{Stack: "s", Name: "workers", Operator: operators.Stream, Size: 5}, tasks{
			taskOf("workers", 0, resources.Running), taskOf("workers", 1, resources.Running), taskOf("workers", 2, resources.Failed),
			taskOf("workers", 3, resources.Killing), taskOf("workers", 4, resources.Running), taskOf("workers", 5, resources.Running)})
		p := newPipeline("s", twoStages("/in"))
		s.assigned = owned(p, workerID(1), workerID(2), workerID(3), workerID(5), "s.workers-9.worker.n.1")
		for _, i := range []int{0, 2, 3, 5} {
			d.workers[workerID(i)] = &worker{task: workerID(i)}
		}
		// 0 is registered; 1 lost its link; 2 is dead; 3 is being killed; 4 never owned a slot; 5 is above the size; 9 is not told of yet.
		for _, c := range []struct {
			after time.Duration
			want  []string
		}{
			{0, []string{workerID(0), workerID(1), "s.workers-9.worker.n.1"}},
			{patience - time.Millisecond, []string{workerID(0), workerID(1), "s.workers-9.worker.n.1"}},
			{patience, []string{workerID(0)}},
		} {
			got := s.hosts(v, then.Add(c.after))
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("after %s the hosts are %v, want %v", c.after, got, c.want)
			}
		}
	})
}

func TestTheWaitForAWorkerBeginsWhenItsLinkBreaksAndEndsWhenItRegisters(t *testing.T) {
	d := newDaemon()
	s := d.newStack("s")
	d.stacks["s"] = s
	p := newPipeline("s", twoStages("/in"))
	s.assigned = owned(p, workerID(0))
	s.missed(workerID(0), then.Add(-patience))
	if s.waitedFor(workerID(0), then) {
		t.Error("it is waited for longer than patience")
	}
	w := &worker{task: workerID(0), reports: nil}
	d.registered(w, physical.Register{Task: w.task})
	if w.stack != "s" || d.workers[w.task] != w {
		t.Errorf("it registered as %+v", w)
	}
	if !s.waitedFor(workerID(0), then) {
		t.Error("its link broke just now, and an older break is counted")
	}
}

func TestOnlyTheWordOfASlotsPresentOwnerCounts(t *testing.T) {
	d := newDaemon()
	s := d.newStack("s")
	p := newPipeline("s", twoStages("/in"))
	s.pipelines, s.assigned = []*pipeline{p}, owned(p, "a", "b")
	ended := p.says("load", 0, engine.StateEnded, 5, 0)
	s.slotReported("b", ended, then)
	older := ended
	older.Term = 0
	s.slotReported("a", older, then)
	if len(p.Stages["load"].Slots) != 0 {
		t.Errorf("a zombie ended a slot: %+v", p.Stages["load"])
	}
	s.assigned.Slots[0].Run = 7
	s.slotReported("a", ended, then)
	if len(p.Stages["load"].Slots) != 0 {
		t.Errorf("another run's end was taken in: %+v", p.Stages["load"])
	}
	s.assigned.Slots[0].Run = p.Run
	s.slotReported("a", ended, then)
	if len(p.Stages["load"].Slots) != 1 {
		t.Error("the owner's word does not count")
	}
}

func TestASlotThatItsLogHasFencedIsGivenAHigherTerm(t *testing.T) {
	d := newDaemon()
	s := d.newStack("s")
	p := newPipeline("s", twoStages("/in"))
	p.Stages["load"].Listed = true
	s.pipelines, s.assigned = []*pipeline{p}, owned(p, "a", "b")
	before := s.assigned.Slots
	fenced := p.says("load", 0, engine.StateFenced, 0, 0)
	s.slotReported("a", fenced, then)
	if s.assigned.Slots[0].Task != "" || s.assigned.Slots[1].Task != "b" || before[0].Task != "a" {
		t.Fatalf("after the fence the slots are %+v, and before they were %+v", s.assigned.Slots, before)
	}
	next := stream.Assign(stream.Request{Runs: []stream.Run{s.runOf(t.Context(), p)}, Workers: []string{"a", "b"}, Previous: s.assigned})
	if next.Slots[0].Task != "a" || next.Slots[0].Term != 2 || next.Slots[1].Term != 1 {
		t.Errorf("the next assignment is %+v", next.Slots)
	}
}

func TestSlotsOfAChangedGraphAreGivenOutUnderNewTermsAndNoOthers(t *testing.T) {
	d := newDaemon()
	s := d.newStack("s")
	p, q := newPipeline("s", twoStages("/in")), newPipeline("s", twoStages("/in"))
	for _, one := range []*pipeline{p, q} {
		one.Stages["load"].Listed = true
		if err := one.setGraph(one.Graph); err != nil {
			t.Fatal(err)
		}
	}
	request := func() stream.Request {
		return stream.Request{Runs: []stream.Run{s.runOf(t.Context(), p), s.runOf(t.Context(), q)}, Workers: []string{"a"}, Previous: s.assigned}
	}
	s.assigned = stream.Assign(request())
	if same := stream.Assign(request()); same.Revision != s.assigned.Revision {
		t.Errorf("nothing changed, and the assignment did: %+v", same)
	}
	next := twoStages("/in")
	next.Stages[0].MaxWorkers = 1
	if err := p.setGraph(next); err != nil {
		t.Fatal(err)
	}
	terms := map[string][]uint64{}
	for _, o := range stream.Assign(request()).Slots {
		if o.Task != "" {
			terms[o.Slot.UID] = append(terms[o.Slot.UID], o.Term)
		}
	}
	for _, term := range terms[p.UID] {
		if term != 2 {
			t.Errorf("slots of the changed pipeline have the terms %v, want 2", terms[p.UID])
		}
	}
	for _, term := range terms[q.UID] {
		if term != 1 {
			t.Errorf("slots of the other have the terms %v, want 1", terms[q.UID])
		}
	}
	if len(terms[p.UID]) == 0 || len(terms[q.UID]) == 0 {
		t.Errorf("nobody was given a slot: %v", terms)
	}
}

func TestAStageIsHeldUntilItsSplitsAreListed(t *testing.T) {
	d := newDaemon()
	d.withGroup(t)
	s := d.newStack("s")
	path := filepath.Join(t.TempDir(), "in.txt")
	p := newPipeline("s", twoStages(path))
	run := s.runOf(t.Context(), p)
	if !run.Held["load"] || !run.Held["sum"] || run.Ended["load"] {
		t.Errorf("before it is listed: %+v", run)
	}
	(<-d.work)() // there is no such file
	if !strings.Contains(p.unlisted, "no file matches in.txt") || p.Stages["load"].Listed {
		t.Errorf("it waits because %q", p.waiting)
	}
	if err := os.WriteFile(path, []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.runOf(t.Context(), p)
	if p.listing["load"] {
		t.Error("it is asked again at once")
	}
	p.again = time.Time{} // the pause is over
	s.runOf(t.Context(), p)
	(<-d.work)()
	run = s.runOf(t.Context(), p)
	if got := run.Splits["load/f0"]; run.Held["load"] || len(got) != 1 || got[0].ID != "in.txt" || got[0].Node != "Read" {
		t.Errorf("after it was listed: %+v", run)
	}
	if !run.Held["sum"] || p.Stages["sum"].Listed {
		t.Error("a stage that is not due was listed")
	}
	p.Stages["load"].Ended = then
	if run = s.runOf(t.Context(), p); run.Held["sum"] || !run.Ended["load"] {
		t.Errorf("a stage that reads nothing bounded is held: %+v", run)
	}
}

func TestSplitsAreListedByOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDaemon()
		d.withGroup(t)
		p := newPipeline("s", twoStages("/in"))
		p.listing["load"] = true // somebody is on it, and takes longer than the pause
		d.newStack("s").runOf(t.Context(), p)
		synctest.Wait()
		if len(d.work) != 0 {
			t.Error("they are listed twice at the same time")
		}
	})
}

func TestAPipelineSaysWhyItsSplitsAreNotListedUntilTheyAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.txt")
	synctest.Test(t, func(t *testing.T) {
		d := newDaemon()
		d.withGroup(t)
		s := d.newStack("s")
		s.services = []*service{observing(t, operators.ServiceSpec{Stack: "s", Name: "workers", Operator: operators.Stream, Size: 1}, nil)}
		p := newPipeline("s", twoStages(path))
		s.pipelines, p.dirty = []*pipeline{p}, false
		s.runPipelines(t.Context(), time.Now())
		(<-d.work)()
		for _, later := range []time.Duration{0, time.Second, relist} { // passes between two attempts, and one that begins the next
			time.Sleep(later)
			s.runPipelines(t.Context(), time.Now())
			if got := p.status().Reason; !strings.Contains(got, "no file matches in.txt") {
				t.Errorf("after %s more it waits because %q", later, got)
			}
		}
		(<-d.work)()
		if err := os.WriteFile(path, []byte("a\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(relist)
		s.runPipelines(t.Context(), time.Now())
		(<-d.work)()
		if !p.Stages["load"].Listed || p.status().Reason != "" {
			t.Errorf("it is listed: %v, and waits because %q", p.Stages["load"].Listed, p.status().Reason)
		}
	})
}

func TestSplitsThatWereListedForAnEarlierRunAreDropped(t *testing.T) {
	d := newDaemon()
	d.withGroup(t)
	s := d.newStack("s")
	path := filepath.Join(t.TempDir(), "in.txt")
	if err := os.WriteFile(path, []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPipeline("s", twoStages(path))
	s.runOf(t.Context(), p)
	found := <-d.work
	p.begin(2)
	found()
	if p.Stages["load"].Listed || len(p.Stages["load"].Splits) != 0 {
		t.Errorf("the second run took the first one's splits: %+v", p.Stages["load"])
	}
}

func TestAnOlderLinksReportIsNotTakenIn(t *testing.T) {
	d := newDaemon()
	s := d.newStack("s")
	d.stacks["s"] = s
	p := newPipeline("s", twoStages("/in"))
	s.pipelines, s.assigned = []*pipeline{p}, owned(p, "s.w")
	old, now := &worker{task: "s.w", stack: "s", reports: map[checkpoint.Slot]physical.SlotReport{}}, &worker{task: "s.w", stack: "s", reports: map[checkpoint.Slot]physical.SlotReport{}}
	d.workers["s.w"] = now
	rep := physical.Report{Slots: []physical.SlotReport{p.says("load", 0, engine.StateRunning, 5, 0)}}
	d.reported(old, rep)
	if len(p.latest) != 0 || len(old.reports) != 0 {
		t.Error("a link that was replaced still reports")
	}
	d.reported(now, rep)
	d.reported(now, physical.Report{})
	if len(p.latest) != 1 || len(now.reports) != 0 {
		t.Errorf("the pipeline knows %d slots and the worker holds %d, want 1 and 0", len(p.latest), len(now.reports))
	}
}

func TestPipelinesWaitForTheirChannels(t *testing.T) {
	step := plan.Step{ID: "topics:events", Reason: "a topic is missing"}
	for _, c := range []struct {
		plan plan.Plan
		want string
	}{
		{plan.Plan{}, "waits for the plan of its workers"},
		{plan.Plan{Phases: []plan.Phase{{Name: "channels", Steps: []plan.Step{step}}}}, "waits for topics:events (a topic is missing)"},
		{plan.Plan{Phases: []plan.Phase{{Name: "channels", Steps: []plan.Step{{Done: true}}}, {Name: "workers", Steps: []plan.Step{step}}}}, ""},
	} {
		if got := channelsMissing(c.plan); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestATaskIDNamesItsPod(t *testing.T) {
	for id, want := range map[string]string{"s.workers-0.worker.n.1": "workers-0", "odd": "odd"} {
		if got := podName(id); got != want {
			t.Errorf("%s is of pod %q, want %q", id, got, want)
		}
	}
}

// TestWhatALeavingWorkerHoldsIsUnknownUntilItSaysSo: a server that has just started has no links, and must not take that for an empty worker.
func TestWhatALeavingWorkerHoldsIsUnknownUntilItSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDaemon()
		s := d.newStack("s")
		d.stacks["s"] = s
		spec := operators.ServiceSpec{Stack: "s", Name: "workers", Operator: operators.Stream, Size: 1}
		v := observing(t, spec, tasks{taskOf("workers", 0, resources.Running), taskOf("workers", 1, resources.Running)})
		s.services = []*service{v}
		drain := func(now time.Time) plan.Step {
			o := v.rec.Status().Observed
			o.Stream = s.streamFacts(now)
			step, ok := stream.Decide(spec, stream.Input{Observed: o}).Step(stream.DrainID("workers-1"))
			if !ok {
				t.Fatal("nothing is drained")
			}
			return step
		}
		want := func(what string, at time.Duration, status plan.Status) {
			t.Helper()
			if got := drain(then.Add(at)); got.Status != status {
				t.Errorf("%s: the drain is %s (%s), want %s", what, got.Status, got.Reason, status)
			}
		}
		want("the server has just started", 0, plan.Waiting)
		p := newPipeline("s", twoStages("/in"))
		w := &worker{task: workerID(1), reports: map[checkpoint.Slot]physical.SlotReport{}}
		d.registered(w, physical.Register{Task: w.task, Running: []physical.RunningSlot{{Slot: p.slot("load", 0), Term: 1}}})
		want("it registered with a slot", time.Second, plan.Started)
		d.reported(w, physical.Report{})
		want("it reported without one", 2*time.Second, plan.Complete)
		delete(d.workers, w.task)
		s.missed(w.task, then.Add(3*time.Second))
		want("its link broke", 4*time.Second, plan.Waiting)
		want("it is no longer waited for", 3*time.Second+patience, plan.Complete)
	})
}
