package autoscale

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/pipelines/physical"
)

// busy is a stage that asks for three cores and gets one.
func busy(o *Observed) {
	o.CPU, o.Hottest = operators.Know(1.0, o.Now), 1
	for i := range o.Stages[0].Slots {
		o.Stages[0].Slots[i] = Slot{Index: i, Rate: 2500, Arrival: 7500, Lag: 30000, Busy: 1}
	}
}

func TestWhatIsDecidedWithoutALookAtTheLoad(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Observed)
		memory  Memory
		verdict Verdict
		want    int
		because string
	}{
		{"a change under way", func(o *Observed) { o.Changing = "workers-1 registers" }, Memory{}, Hold, 1, "a change is under way: workers-1 registers"},
		{"a fixed number", func(o *Observed) { o.Max = 1 }, Memory{}, Hold, 1, "the number is fixed"},
		{"below min", func(o *Observed) { o.Min = 3 }, Memory{}, Out, 3, "the least is min 3"},
		{"above max", func(o *Observed) { o.Workers, o.Max = 9, 4 }, Memory{}, In, 4, "the most is max 4"},
		{"a change a moment ago", func(*Observed) {}, Memory{Changed: simStart.Add(-2 * time.Second)}, Hold, 1, "changed 2s ago"},
		{"CPU unknown", func(o *Observed) { o.CPU = operators.Unknown[float64]("no /proc") }, Memory{}, Unknown, 1, "no /proc"},
		{"lag unknown", func(o *Observed) { o.Stages[0].Unknown = "its end was not read" }, Memory{}, Unknown, 1, "its end was not read"},
		{"the machine's idle cores unknown", func(o *Observed) { o.Free = operators.Unknown[float64]("a Mac") }, Memory{}, Unknown, 1, "a Mac"},
		{"rows arrive and none is processed", func(o *Observed) {
			for i := range o.Stages[0].Slots {
				o.Stages[0].Slots[i].Rate = 0
			}
		}, Memory{}, Unknown, 1, "a row's cost is unknown"},
	} {
		d, _ := Decide(Policy{}, observed(func(o *Observed) { busy(o); c.change(o) }), c.memory)
		if d.Verdict != c.verdict || d.Want != c.want || !strings.Contains(d.Reason.String(), c.because) {
			t.Errorf("%s: %s %d\n%s", c.name, d.Verdict, d.Want, d.Reason)
		}
	}
}

func TestAScaleOutThatBroughtNothingIsNotFollowedByAnother(t *testing.T) {
	o := observed(busy)
	d, m := Decide(Policy{}, o, Memory{})
	if d.Verdict != Out {
		t.Fatalf("%s", d.Reason)
	}
	m = m.Change(d)
	for _, c := range []struct {
		name    string
		rate    float64 // of each slot, a quarter of an hour or less later
		after   time.Duration
		verdict Verdict
	}{
		{"it brought what was expected", 2500 * 4, 20 * time.Second, Out},
		{"it brought 2 %", 2550, 20 * time.Second, Refused},
		{"it was long ago", 2550, 20 * time.Minute, Out},
	} {
		next := observed(func(o *Observed) {
			busy(o)
			o.Workers, o.CPU = 4, operators.Know(4.0, o.Now)
			o.Now = o.Now.Add(c.after)
			for i := range o.Stages[0].Slots {
				o.Stages[0].Slots[i].Rate, o.Stages[0].Slots[i].Arrival = c.rate, 4*c.rate
			}
			o.Stages[0].Slots = append(o.Stages[0].Slots, make([]Slot, 8)...)
		})
		d, left := Decide(Policy{}, next, m)
		if d.Verdict != c.verdict {
			t.Errorf("%s: %s\n%s", c.name, d.Verdict, d.Reason)
		}
		if c.verdict != Refused {
			continue
		}
		if want := "going from 1 to 4 workers raised the rate by 2 % (10,000 to 10,200 rows/s)"; !strings.Contains(d.Reason.String(), want) {
			t.Errorf("it does not say %q: %s", want, d.Reason)
		}
		next.Now = next.Now.Add(time.Minute)
		if d, _ := Decide(Policy{}, next, left); d.Verdict != Refused {
			t.Errorf("a minute later: %s", d.Reason)
		}
	}
}

func TestWhereThereIsSomethingToDoItSaysWhatToType(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Observed)
		next   string
	}{
		{"a change under way", func(o *Observed) { o.Changing = "workers-1 registers" }, "weir rollout demo/workers"},
		{"CPU unknown", func(o *Observed) { o.CPU = operators.Unknown[float64]("no /proc") }, "weir get pipelines"},
		{"at max, and more is asked for", func(o *Observed) { o.Workers, o.Max, o.CPU = 2, 2, operators.Know(2.0, o.Now) }, "raise max above 2 for demo/workers in the stack file, then weir up STACK.yaml"},
		{"the machine is full", func(o *Observed) { o.Free = operators.Know(0.0, o.Now) }, "weir get tasks"},
		{"above max", func(o *Observed) { o.Workers, o.Max = 9, 4 }, ""},
		{"workers can be added", func(*Observed) {}, ""},
	} {
		if d, _ := Decide(Policy{}, observed(func(o *Observed) { busy(o); c.change(o) }), Memory{}); d.Next != c.next {
			t.Errorf("%s: next %q, want %q\n%s", c.name, d.Next, c.next, d.Reason)
		}
	}
}

// TestFewerWorkersMustHaveBeenEnoughSinceTheyAreWhatThereIs: what was enough before somebody set another size, or before the load was out of
// sight, takes no worker away.
func TestFewerWorkersMustHaveBeenEnoughSinceTheyAreWhatThereIs(t *testing.T) {
	for _, c := range []struct {
		what    string
		workers int           // at first
		unseen  time.Duration // for which a fact is unknown then
	}{
		{"somebody set another size", 1, 0},
		{"a fact was unknown for long", 3, 10 * time.Minute},
	} {
		o := observed(func(o *Observed) { o.Workers, o.Max, o.CPU = c.workers, 8, operators.Know(0.2, o.Now) })
		for i := range o.Stages[0].Slots {
			o.Stages[0].Slots[i] = Slot{Index: i, Rate: 100, Arrival: 100, Busy: 0.05}
		}
		var m Memory
		decide := func(seconds int) (d Decision) {
			for range seconds {
				d, m = Decide(Policy{}, o, m)
				o.Now = o.Now.Add(time.Second)
			}
			return d
		}
		if d := decide(58); d.Verdict != Hold {
			t.Fatalf("%s: at first: %s", c.what, d.Reason)
		}
		if c.unseen == 0 {
			decide(30)
		}
		known := o.CPU
		o.CPU = operators.Unknown[float64]("no word")
		decide(int(c.unseen / time.Second))
		o.Workers, o.CPU = 3, known
		if d := decide(59); d.Verdict != Hold {
			t.Errorf("%s: before a minute has passed: %s", c.what, d.Reason)
		}
		if d := decide(3); d.Verdict != In {
			t.Errorf("%s: after a minute: %s", c.what, d.Reason)
		}
	}
}

// TestAScaleOutIsJudgedAtItsOwnSizeAlone: one that was stored and not carried out, or undone by hand, brought nothing because it was not there.
func TestAScaleOutIsJudgedAtItsOwnSizeAlone(t *testing.T) {
	grown := &Growth{At: simStart.Add(-20 * time.Second), From: 2, To: 4, Rate: 10000, Target: 30000}
	vain := &Growth{At: simStart.Add(-20 * time.Second), From: 2, To: 4, Rate: 10000, After: 10200, Target: 30000}
	for _, c := range []struct {
		what    string
		workers int
		memory  Memory
		verdict Verdict
	}{
		{"at its size", 4, Memory{Grown: grown}, Refused},
		{"it was not carried out", 2, Memory{Grown: grown}, Out},
		{"known to be in vain, at the size before it", 2, Memory{Vain: vain}, Refused},
		{"known to be in vain, with fewer workers since", 1, Memory{Vain: vain}, Out},
	} {
		d, _ := Decide(Policy{}, observed(func(o *Observed) {
			busy(o)
			o.Workers, o.CPU, o.Max = c.workers, operators.Know(float64(c.workers), o.Now), 8
			o.Stages[0].Slots = append(o.Stages[0].Slots, o.Stages[0].Slots...)
			for i := range o.Stages[0].Slots {
				o.Stages[0].Slots[i].Rate = 10000 / float64(len(o.Stages[0].Slots))
			}
		}), c.memory)
		if d.Verdict != c.verdict {
			t.Errorf("%s: %s\n%s", c.what, d.Verdict, d.Reason)
		}
	}
}

func TestAReaderIsSizedForWhatItsWriterWillSend(t *testing.T) {
	o := observed(func(o *Observed) {
		busy(o)
		o.CPU, o.Max = operators.Know(1.0, o.Now), 20
		reader := Stage{Name: "p/read", From: []string{"p/work"}}
		for i := range 8 {
			reader.Slots = append(reader.Slots, Slot{Index: i, Rate: 1250, Arrival: 1250, Busy: 0.5})
		}
		o.Stages = append(o.Stages, reader)
	})
	d, _ := Decide(Policy{}, o, Memory{})
	w, r := d.Stages[0], d.Stages[1]
	if r.Rate != 10000 || w.Target <= 30000 || r.Target < w.Target/w.Rate*r.Rate-1 {
		t.Errorf("the writer goes from %.0f to %.0f, the reader from %.0f to %.0f", w.Rate, w.Target, r.Rate, r.Target)
	}
}

func TestAStageThatReadsAsFastAsItGoesKeepsItsWorkersAndAsksForNone(t *testing.T) {
	for _, workers := range []int{1, 4} {
		o := observed(func(o *Observed) {
			o.Workers, o.CPU, o.Hottest = workers, operators.Know(0.9, o.Now), 0.9
			for i := range o.Stages[0].Slots {
				o.Stages[0].Slots[i] = Slot{Rate: 5000, Arrival: 5000, Busy: 1, Greedy: true}
			}
		})
		var d Decision
		var m Memory
		for range 3 {
			d, m = Decide(Policy{}, o, m)
			o.Now = o.Now.Add(2 * time.Minute)
		}
		if d.Want != workers {
			t.Errorf("%s", d.Reason)
		}
	}
}

// The case was seen on a machine of two cores with a load of 28: slots were at work for half of their time on the clock, and their worker got a tenth of a core.
func TestASlotThatWaitsForACoreOnAFullMachineBringsNoWorkers(t *testing.T) {
	o := observed(func(o *Observed) {
		o.CPU, o.Hottest, o.Free = operators.Know(0.11, o.Now), 0.11, operators.Know(0.0, o.Now)
		for i := range o.Stages[0].Slots {
			o.Stages[0].Slots[i] = Slot{Index: i, Rate: 5000, Arrival: 10000, Lag: 90000, Busy: 0.95, Blocked: 0.03}
		}
	})
	var d Decision
	var m Memory
	for range 5 {
		d, m = Decide(Policy{}, o, m)
		o.Now = o.Now.Add(time.Second)
	}
	if d.Verdict != Refused || d.Stages[0].Bound != boundMachine || !strings.Contains(d.Reason.String(), "the machine is full: 0.00 of its cores are free while the workers use 0.11 of the 1.00") {
		t.Errorf("%s %s\n%s", d.Verdict, d.Stages[0].Bound, d.Reason)
	}
}

func TestASlotThatMovedIsMeasuredAnew(t *testing.T) {
	s := newSim(1, 4, 1)
	s.load = constant(1000)
	s.run(10 * time.Second)
	p := Plan{Stage: Stage{Name: "p/work"}}
	for i := range s.slots {
		p.Expected = append(p.Expected, s.id(i))
	}
	if o := s.window.Observe(Fleet{}, []string{"workers-0"}, []Plan{p}, s.at()); o.Waits != "" || len(o.Stages[0].Slots) != 4 {
		t.Fatalf("after ten seconds it waits: %q", o.Waits)
	}
	s.window.Slot("workers-1", physical.SlotReport{Slot: s.id(0), Term: 9, State: "running", Work: &physical.Work{At: 1}}, s.at())
	if o := s.window.Observe(Fleet{}, []string{"workers-0"}, []Plan{p}, s.at()); o.Waits == "" {
		t.Error("a slot that has just moved counts with what it measured elsewhere")
	}
	old := physical.SlotReport{Slot: s.id(1), Term: 1, State: "running"}
	s.window.slots[s.id(1)] = nil
	delete(s.window.slots, s.id(1))
	s.window.slots[s.id(0)].points = append(s.window.slots[s.id(0)].points, physical.Work{At: int64(Span)})
	s.window.Slot("workers-0", old, s.at())
	if o := s.window.Observe(Fleet{}, []string{"workers-0"}, []Plan{p}, s.at()); !strings.Contains(o.Stages[0].Unknown, "older version") {
		t.Errorf("a worker that measures nothing: %q", o.Stages[0].Unknown)
	}
}
