package autoscale

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/operators"
)

// TestAStepIsAnsweredWithinFiveSecondsAndSettlesInThreeSteps: whatever the load before and after, the first decision comes within five seconds of the step, at most three
// changes follow, and then the fleet keeps up and is no larger than it must be.
func TestAStepIsAnsweredWithinFiveSecondsAndSettlesInThreeSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.IntRange(4, 24).Draw(t, "slots")
		s := newSim(rapid.Uint64().Draw(t, "seed"), slots, 1)
		s.max = slots
		s.cost = rapid.Float64Range(5, 500).Draw(t, "microseconds a row") / 1e6
		s.noise = rapid.Float64Range(0, 0.1).Draw(t, "noise")
		// In cores' worth of work: at first one worker is enough, then up to what the slots can host at 60 % of their cores.
		before := rapid.Float64Range(0.05, 0.5).Draw(t, "before")
		after := rapid.Float64Range(1, 0.6*float64(slots)).Draw(t, "after")
		s.load = constant(before / s.cost)
		s.run(10 * time.Second)
		if s.size != 1 {
			t.Fatalf("%d workers for %.2f cores' worth of work", s.size, before)
		}
		s.load, s.changes = constant(after/s.cost), nil
		step := s.now
		for s.size == 1 && s.now < step+5*time.Second {
			s.step()
		}
		if s.size == 1 {
			t.Fatalf("5 s after a step from %.2f to %.2f cores' worth of work nothing was decided: %s", before, after, s.last.Reason)
		}
		s.run(50 * time.Second)
		if len(s.changes) > 3 {
			t.Fatalf("%d changes after one step from %.2f to %.2f cores: %v", len(s.changes), before, after, s.changes)
		}
		if used := after / float64(s.size); used > 0.95 {
			t.Fatalf("it settled at %d workers for %.2f cores' worth of work: %s", s.size, after, s.last.Reason)
		}
		if most := enough(after*(1+s.noise)*1.35, slots); s.size > most {
			t.Fatalf("it settled at %d workers for %.2f cores' worth of work, more than %d: %v", s.size, after, most, s.changes)
		}
		backlog := 0.0
		for _, x := range s.slots {
			backlog += x.backlog * s.cost
		}
		if s.run(2 * time.Minute); s.last.Verdict == Refused {
			t.Fatalf("refused: %s", s.last.Reason)
		}
		left := 0.0
		for _, x := range s.slots {
			left += x.backlog * s.cost
		}
		if left > max(0.5*after, 0.9*backlog) {
			t.Fatalf("the backlog is not worked off: %.1f s of work, then %.1f; %s", backlog, left, s.last.Reason)
		}
	})
}

// enough tries every number of workers for the first that hosts the work at 70 %, no worker above 77.5 % by the number of slots that it has.
func enough(work float64, slots int) int {
	for n := 1; ; n++ {
		most := math.Ceil(float64(slots) / float64(n))
		if work <= 0.7*float64(n) && (n >= slots || work/float64(slots)*most <= 0.775) {
			return n
		}
	}
}

// TestNoiseMovesNothingForLong: under a load that is the same but for its noise, an hour brings a few changes at the beginning and no see-saw.
func TestNoiseMovesNothingForLong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(rapid.Uint64().Draw(t, "seed"), 12, rapid.IntRange(1, 8).Draw(t, "workers"))
		s.noise = rapid.Float64Range(0, 0.2).Draw(t, "noise")
		load := rapid.Float64Range(0.1, 5).Draw(t, "cores")
		s.load = constant(load / s.cost)
		s.run(20 * time.Minute)
		if len(s.changes) > 6 {
			t.Fatalf("%d changes under %.2f cores' worth of work and %.0f %% of noise: %v", len(s.changes), load, 100*s.noise, s.changes)
		}
		s.changes = nil
		s.run(10 * time.Minute)
		if len(s.changes) > 1 {
			t.Fatalf("%d changes in the last 10 minutes of 30: %v", len(s.changes), s.changes)
		}
	})
}

// TestASaturatedSinkIsNeverPressedHarder: whatever stands before it.
func TestASaturatedSinkIsNeverPressedHarder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(rapid.Uint64().Draw(t, "seed"), 12, rapid.IntRange(1, 4).Draw(t, "workers"))
		s.noise = rapid.Float64Range(0, 0.1).Draw(t, "noise")
		s.sink = float64(s.size) / s.cost * rapid.Float64Range(0.05, 0.6).Draw(t, "share of the workers' rate")
		s.load = constant(s.sink * rapid.Float64Range(1.3, 20).Draw(t, "load over the sink's rate"))
		s.run(2 * time.Minute)
		if len(s.changes) > 0 || s.last.Verdict != Refused || s.last.Stages[0].Bound != boundSink {
			t.Fatalf("changes %v, %s\n%s", s.changes, s.last.Verdict, s.last.Reason)
		}
	})
}

// TestASizeIsAlwaysWithinItsBounds: min, max, the slots, and the length of a step, whatever is observed.
func TestASizeIsAlwaysWithinItsBounds(t *testing.T) {
	share := rapid.Float64Range(0, 1)
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.IntRange(1, 20).Draw(t, "slots")
		o := observed(func(o *Observed) {
			o.Min = rapid.IntRange(1, 5).Draw(t, "min")
			o.Max = o.Min + rapid.IntRange(0, 10).Draw(t, "more")
			o.Workers = rapid.IntRange(o.Min, o.Max).Draw(t, "workers")
			o.Hottest = share.Draw(t, "hottest")
			o.Cores = rapid.SampledFrom([]float64{0.5, 1, 2, 8}).Draw(t, "cores")
			o.CPU = operators.Know(o.Hottest*o.Cores*float64(o.Workers), o.Now)
			o.Free = operators.Know(rapid.Float64Range(0, 20).Draw(t, "free"), o.Now)
			o.Stages[0].Slots = nil
			for i := range slots {
				busy := share.Draw(t, "busy")
				o.Stages[0].Slots = append(o.Stages[0].Slots, Slot{Index: i, Rate: rapid.Float64Range(0, 1e6).Draw(t, "rate"), Arrival: rapid.Float64Range(0, 1e6).Draw(t, "arrival"),
					Lag: rapid.Float64Range(0, 1e8).Draw(t, "lag"), Busy: busy, Blocked: (1 - busy) * share.Draw(t, "blocked")})
			}
		})
		d, _ := Decide(Policy{}, o, Memory{})
		switch {
		case d.Want < o.Min || d.Want > o.Max:
			t.Fatalf("%d is not between %d and %d", d.Want, o.Min, o.Max)
		case d.Want > o.Workers && d.Want > slots:
			t.Fatalf("%d workers for %d slots", d.Want, slots)
		case d.Want > max(o.Workers+1, 4*o.Workers):
			t.Fatalf("from %d to %d in one step", o.Workers, d.Want)
		case d.Want != o.Workers && d.Verdict != Out && d.Verdict != In, d.Want == o.Workers && (d.Verdict == Out || d.Verdict == In):
			t.Fatalf("%s from %d to %d", d.Verdict, o.Workers, d.Want)
		case len(d.Reason.Under) == 0:
			t.Fatal("it gives no reason")
		}
	})
}

// TestTheSizeIsTheSmallestThatIsEnough: the naive twin tries every size.
func TestTheSizeIsTheSmallestThatIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.IntRange(1, 40).Draw(t, "slots")
		work := rapid.Float64Range(0, float64(slots)).Draw(t, "cores")
		o := observed(func(o *Observed) {
			o.Max, o.CPU, o.Hottest = 100, operators.Know(work, o.Now), 1
			o.Stages[0].Slots = slices.Repeat([]Slot{{Rate: 1000, Arrival: 1000, Busy: 1}}, slots)
		})
		d, _ := Decide(Policy{}, o, Memory{})
		if want := enough(work-1e-9, slots); d.Needs != want {
			t.Fatalf("%d workers for %v cores on %d slots, want %d", d.Needs, work, slots, want)
		}
	})
}

// TestTheSimulatorSeesABacklogThatNobodyAnswers: a check that cannot fail is none.
func TestTheSimulatorSeesABacklogThatNobodyAnswers(t *testing.T) {
	s := newSim(1, 12, 1)
	s.max = 1
	s.load = constant(3 / s.cost)
	s.run(10 * time.Second)
	if s.slots[0].backlog < 1000 || len(s.changes) > 0 {
		t.Errorf("backlog %.0f, changes %v", s.slots[0].backlog, s.changes)
	}
}

// BenchmarkDecide is one decision, from the window to its reasons.
func BenchmarkDecide(b *testing.B) {
	for _, slots := range []int{12, 1000} {
		b.Run(fmt.Sprintf("%d slots", slots), func(b *testing.B) {
			s := newSim(1, slots, slots/12)
			s.max, s.load = slots, constant(0.6*float64(slots/12)/s.cost)
			s.run(5 * time.Second)
			p := Plan{Stage: Stage{Name: "p/work"}}
			for i := range s.slots {
				p.Expected = append(p.Expected, s.id(i))
			}
			var tasks []string
			for i := range s.workers {
				tasks = append(tasks, s.task(i))
			}
			f := Fleet{Service: "demo/workers", Workers: s.size, Min: 1, Max: slots}
			for b.Loop() {
				if d, _ := Decide(Policy{}, s.window.Observe(f, tasks, []Plan{p}, s.at()), s.memory); len(d.Stages) == 0 {
					b.Fatal(d.Reason)
				}
			}
		})
	}
}
