package autoscale

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Decide says how many workers the fleet shall have. Where a fact is unknown, a change goes on, or one was made a moment ago, nothing changes.
func Decide(p Policy, o Observed, m Memory) (Decision, Memory) {
	p = p.withDefaults()
	d := &decision{p: p, o: o, m: m, Decision: Decision{At: o.Now, Workers: o.Workers, Want: o.Workers, Needs: o.Workers}}
	if d.settled() {
		d.weigh()
	}
	d.Next = d.next()
	return d.Decision, d.m
}

// decision is one on its way.
type decision struct {
	Decision
	p       Policy
	o       Observed
	m       Memory
	demands []demand
}

// answer ends the decision.
func (d *decision) answer(v Verdict, want int, format string, args ...any) {
	d.Verdict, d.Want = v, want
	head := fmt.Sprintf("%s: ", d.o.Service)
	switch v {
	case Out, In:
		head += fmt.Sprintf("%s to %s", workers(d.o.Workers), number(float64(want)))
	case Refused:
		head += fmt.Sprintf("%s, and no more", workers(d.o.Workers))
	case Unknown:
		head += fmt.Sprintf("%s, unchanged because a fact is missing", workers(d.o.Workers))
	default:
		head += fmt.Sprintf("%s, unchanged", workers(d.o.Workers))
	}
	d.Reason.Text = head
	d.because(format, args...)
}

// because adds a reason.
func (d *decision) because(format string, args ...any) {
	d.Reason.Under = append(d.Reason.Under, Reason{Text: fmt.Sprintf(format, args...)})
}

// settled answers all that is decided without looking at the load, and reports whether the load is to be looked at.
func (d *decision) settled() bool {
	o := d.o
	switch at := min(max(o.Workers, o.Min), o.Max); {
	case o.Changing != "":
		d.answer(Hold, o.Workers, "a change is under way: %s", o.Changing)
	case at > o.Workers:
		d.answer(Out, at, "the least is min %d", o.Min)
	case at < o.Workers:
		d.answer(In, at, "the most is max %d", o.Max)
	case o.Min == o.Max:
		d.answer(Hold, o.Workers, "the number is fixed: min and max are %d", o.Min)
	case o.Now.Sub(d.m.Changed) < d.p.CoolDown:
		d.answer(Hold, o.Workers, "the size changed %s ago; none follows within %s", seconds(o.Now.Sub(d.m.Changed)), seconds(d.p.CoolDown))
	case o.Waits != "":
		d.answer(Hold, o.Workers, "%s", o.Waits)
	case len(o.Stages) == 0:
		d.Needs = o.Min
		d.lower(o.Min)
	default:
		return !d.unknown()
	}
	return false
}

// unknown answers where a fact is missing: a guess would be as likely to harm as to help.
func (d *decision) unknown() bool {
	o := d.o
	switch {
	case !o.CPU.Known:
		d.answer(Unknown, o.Workers, "the CPU time of the workers is unknown: %s", o.CPU.Reason())
	case o.Cores <= 0:
		d.answer(Unknown, o.Workers, "the cores that a worker may use are unknown")
	default:
		for _, s := range o.Stages {
			if s.Unknown != "" {
				d.answer(Unknown, o.Workers, "stage %s: %s", s.Name, s.Unknown)
				return true
			}
		}
		return false
	}
	return true
}

// weigh compares what the stages need with what the workers have.
func (d *decision) weigh() {
	o := d.o
	d.demands = demands(d.p, o)
	needs, slots := 0.0, 0
	for i := range d.demands {
		s := &d.demands[i]
		d.Stages = append(d.Stages, s.Numbers)
		needs += s.useful(d.p, o)
		slots += s.places()
		if s.Rate <= 0 && s.Target > 0 && s.Bound != boundSink && s.Bound != boundMachine {
			d.answer(Unknown, o.Workers, "stage %s: %s rows/s arrive and none was processed in the window, so that a row's cost is unknown", s.Name, number(s.Target))
			return
		}
	}
	d.Needs = d.size(needs)
	limit := min(o.Max, max(slots, o.Min))
	want := min(max(d.Needs, o.Min), limit)
	d.remember(want)
	if d.held() == "" {
		d.m.held = time.Time{}
	}
	switch {
	case want > o.Workers && !d.crowded(needs):
		d.answer(Hold, o.Workers, "%s of %s cores are needed: below %s no worker is added", cores(needs), cores(d.capacity()), percent(d.p.High))
	case want > o.Workers:
		d.raise(want)
	case d.held() != "":
		d.refuse()
	case want < o.Workers:
		d.lower(want)
	case d.Needs > want:
		d.answer(Hold, o.Workers, "the load asks for %s; %s", workers(d.Needs), d.limited(slots))
	default:
		d.answer(Hold, o.Workers, "%s is what the load asks for", workers(d.Needs))
	}
	d.explain(needs)
}

// refuse answers a stage that falls behind and would not be served by more workers, once that has been so for a whole window: a step in load looks like it for a second or two.
func (d *decision) refuse() {
	if d.m.held.IsZero() {
		d.m.held = d.o.Now
	}
	if since := d.o.Now.Sub(d.m.held); since < Span {
		d.answer(Hold, d.o.Workers, "a stage falls behind, for %s of the %s after which it counts", seconds(since), seconds(Span))
		return
	}
	d.answer(Refused, d.o.Workers, "%s", d.held())
}

// size is the least number of workers for so many cores at the utilisation aimed at, on which none has too many of a stage's slots.
func (d *decision) size(needs float64) int {
	n := max(1, int(math.Ceil(needs/(d.o.Cores*d.p.Utilisation)-1e-9)))
	for {
		s, share := d.fullest(n)
		if s == nil || n >= s.places() || share <= (d.p.Utilisation+d.p.High)/2 {
			return n
		}
		n++
	}
}

// fullest is the stage of which n workers would have the most unequal share, and what its slots would take of the worker that hosts most of them. Slots are whole: 7 slots on 6
// workers give one of them two (KEDA's ensureEvenDistributionOfPartitions and Flink's alignment to key groups answer the same).
func (d *decision) fullest(n int) (*demand, float64) {
	var most *demand
	share := 0.0
	for i := range d.demands {
		s := &d.demands[i]
		if s.Numbers.Slots == 0 {
			continue
		}
		hosts := min(n, s.places())
		of := s.useful(d.p, d.o) / float64(s.Numbers.Slots) * math.Ceil(float64(s.Numbers.Slots)/float64(hosts)) / d.o.Cores
		if n < s.places() && of > share {
			most, share = s, of
		}
	}
	return most, share
}

func (d *decision) capacity() float64 { return float64(d.o.Workers) * d.o.Cores }

// crowded reports whether the load is above the dead band.
func (d *decision) crowded(needs float64) bool {
	_, share := d.fullest(d.o.Workers)
	return needs > d.capacity()*d.p.High || share > d.p.High
}

// places is how many workers could host a slot of the stage.
func (d *demand) places() int {
	if d.MaxWorkers > 0 {
		return min(d.MaxWorkers, d.Numbers.Slots)
	}
	return d.Numbers.Slots
}

func (d *decision) limited(slots int) string {
	if slots < d.o.Max {
		return fmt.Sprintf("the stages have %d slots, and more workers would have none", slots)
	}
	return fmt.Sprintf("max is %d: raise it in the stack file", d.o.Max)
}

// raise adds workers where they would have a core to run on, and the last that were added helped.
func (d *decision) raise(want int) {
	o, found := d.o, 0
	switch found = d.room(); {
	case !o.Free.Known:
		d.answer(Unknown, o.Workers, "the load asks for %s; whether the machine has a core left is unknown: %s", workers(d.Needs), o.Free.Reason())
		return
	case found <= 0:
		d.answer(Refused, o.Workers, "the machine is full: %s cores are free, and the workers, which may use %s, use %s: more workers would share the same cores",
			cores(o.Free.Value), cores(d.capacity()), cores(o.CPU.Value))
		return
	case d.vain():
		return
	}
	step := min(want, o.Workers+found, max(o.Workers+1, int(float64(o.Workers)*d.p.MaxOut)))
	d.answer(Out, step, "%s cores are needed, which is %s at %s of %s each", cores(d.sum()), workers(d.Needs), percent(d.p.Utilisation), coreCount(o.Cores))
	if s, share := d.fullest(d.Needs - 1); s != nil && d.sum() <= float64(d.Needs-1)*o.Cores*d.p.Utilisation {
		d.because("on one worker less, one would host %d of the %d slots of stage %s, and use %s of its cores", int(math.Ceil(float64(s.Numbers.Slots)/float64(d.Needs-1))),
			s.Numbers.Slots, s.Name, percent(share))
	}
	if step < want {
		d.because("%s now: the machine has %s cores free, and one step is at most %s times as many", workers(step), cores(o.Free.Value), number(d.p.MaxOut))
	}
	if d.Needs > want {
		d.because("max is %d, and the stages' slots bound it too", o.Max)
	}
}

func (d *decision) sum() float64 {
	n := 0.0
	for i := range d.demands {
		n += d.demands[i].useful(d.p, d.o)
	}
	return n
}

// room is how many more workers would find at least a quarter of the cores that they may use. The workers that run may not have all of theirs either:
// those come first.
func (d *decision) room() int {
	o := d.o
	free := o.Free.Value - max(0, d.capacity()-o.CPU.Value)
	return int(math.Floor(free/o.Cores + 0.75))
}

// judge says whether a scale-out brought next to nothing of what it should have. One that is long ago says nothing: the load is another.
func (d *decision) judge(g Growth) *Growth {
	for i := range d.demands {
		g.After += d.demands[i].Rate
	}
	if d.o.Now.Sub(g.At) > 2*d.p.CatchUp || g.Rate <= 0 {
		return nil
	}
	if expected := min(float64(g.To)/float64(g.From), g.Target/g.Rate) - 1; g.After/g.Rate-1 < d.p.Gain*expected {
		return &g
	}
	return nil
}

// vain judges the last scale-out, and refuses the next where it brought nothing.
func (d *decision) vain() bool {
	if grown := d.m.Grown; grown != nil {
		d.m.Grown = nil
		// Another size than it led to: it was never carried out, or somebody changed it since.
		if g := d.judge(*grown); g != nil && g.To == d.o.Workers {
			d.m.Vain = g
		}
	}
	v := d.m.Vain
	// What was in vain from there on says nothing about fewer workers.
	if v == nil || d.o.Now.Sub(v.At) > d.p.Ineffective || d.o.Workers < v.From {
		d.m.Vain = nil
		return false
	}
	d.answer(Refused, d.o.Workers, "going from %d to %s raised the rate by %s (%s to %s rows/s): what holds it back is not the workers; tried again %s after that",
		v.From, workers(v.To), percent(v.After/v.Rate-1), number(v.Rate), number(v.After), d.p.Ineffective)
	return true
}

// remember keeps what was needed, for the stabilisation window of a scale-in. The window begins anew at another size, whoever set it, and after a time
// in which nothing was seen.
func (d *decision) remember(want int) {
	if n := len(d.m.wanted); d.m.workers != d.o.Workers || n > 0 && d.o.Now.Sub(d.m.wanted[n-1].at) > Stale {
		d.m.wanted, d.m.workers = nil, d.o.Workers
	}
	d.m.wanted = append(slices.Clone(d.m.wanted), mark{d.o.Now, want})
	for len(d.m.wanted) > 1 && d.o.Now.Sub(d.m.wanted[1].at) >= d.p.ScaleInAfter {
		d.m.wanted = d.m.wanted[1:]
	}
}

// lower takes workers away once fewer have been enough for ScaleInAfter, and never while rows wait (FLINK-31318).
func (d *decision) lower(want int) {
	o := d.o
	if len(d.m.wanted) == 0 || d.m.wanted[len(d.m.wanted)-1].at != o.Now {
		d.remember(want)
	}
	most := want
	for _, w := range d.m.wanted {
		most = max(most, w.want)
	}
	since := o.Now.Sub(d.m.wanted[0].at)
	for i := range d.demands {
		switch s := &d.demands[i]; {
		case s.greedy:
			d.answer(Hold, o.Workers, "stage %s reads a bounded source as fast as it goes: no rate is offered to compare with, so that it keeps its workers", s.Name)
			return
		case s.Lag > steady*s.Arrival+1 || s.Bound != "":
			d.answer(Hold, o.Workers, "%s would do; stage %s has a backlog of %s rows, and none is taken away before it is gone", workers(want), s.Name, number(s.Lag))
			return
		}
	}
	switch {
	case want >= o.Workers:
		d.answer(Hold, o.Workers, "%s is what the load asks for", workers(want))
	case since < d.p.ScaleInAfter:
		d.answer(Hold, o.Workers, "%s would do, for %s of the %s that it must have been so", workers(want), seconds(since), seconds(d.p.ScaleInAfter))
	case most >= o.Workers:
		d.answer(Hold, o.Workers, "%s would do; within the last %s %s were needed", workers(want), seconds(d.p.ScaleInAfter), number(float64(most)))
	default:
		to := max(most, int(math.Ceil(float64(o.Workers)/d.p.MaxIn)))
		d.answer(In, to, "for %s no more than %s was needed", seconds(d.p.ScaleInAfter), workers(most))
	}
}

// seconds prints a duration to the second.
func seconds(t time.Duration) string { return t.Round(time.Second).String() }
