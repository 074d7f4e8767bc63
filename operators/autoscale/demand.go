package autoscale

import "math"

// demand is what a stage asks for.
type demand struct {
	Numbers
	*Stage
	idle    float64 // share of their time that its slots wait for input
	clipped float64 // cores that its slots can use: each is one thread
	hot     Slot    // the slot that asks for most, where that is more than one thread
	hotAsks float64
	greedy  bool
}

// steady is the backlog, in seconds of arrivals, that is no backlog: a slot's lag is read once a commit interval.
const steady = 1.5

// behind is by how much a target must be above the rate for the stage to count as falling behind.
const behind = 1.1

// demands computes what each stage asks for, those that write before those that read.
func demands(p Policy, o Observed) []demand {
	busy := 0.0
	for _, s := range o.Stages {
		for _, slot := range s.Slots {
			busy += slot.Busy
		}
	}
	out := make([]demand, 0, len(o.Stages))
	byName := map[string]*demand{}
	for i := range o.Stages {
		d := newDemand(&o.Stages[i])
		if busy > 0 {
			// CPU is measured for a process. Its slots share it by the time that they were busy, and so do the readers that decode for them, the collector
			// and the client of the sink, which no slot's own clock sees (Flink under-reports its sources in this way: FLINK-33306).
			d.Cores = o.CPU.Value * d.Busy * float64(d.Numbers.Slots) / busy
		}
		d.ask(p, faster(byName, d.From))
		d.bound(p, o)
		out = append(out, d)
		byName[d.Name] = &out[len(out)-1]
	}
	return out
}

func newDemand(s *Stage) demand {
	d := demand{Stage: s, Numbers: Numbers{Stage: s.Name, Slots: len(s.Slots)}}
	active := 0.0
	for _, slot := range s.Slots {
		d.Rate += slot.Rate
		d.Arrival += slot.Arrival
		d.Lag += slot.Lag
		d.Busy += slot.Busy / float64(len(s.Slots))
		d.greedy = d.greedy || slot.Greedy
		if slot.Rate > 0 || slot.Arrival > 0 || slot.Lag > 0 {
			active++
			d.Blocked += slot.Blocked
			d.idle += max(0, 1-slot.Busy-slot.Blocked)
		}
	}
	if active > 0 { // a slot that has nothing to do says nothing about the sink
		d.Blocked /= active
		d.idle /= active
	}
	return d
}

// faster is by how much more rows will come once those who write them are as fast as they shall be: DS2 carries the sources' rates through the graph, so
// that one decision serves all stages. What a sink holds back does not come.
func faster(by map[string]*demand, from []string) float64 {
	rate, target := 0.0, 0.0
	for _, name := range from {
		if d := by[name]; d != nil {
			rate += d.Rate
			if target += d.Target; d.Bound == boundSink {
				target += d.Rate - d.Target
			}
		}
	}
	if rate <= 0 {
		return 1
	}
	return max(1, target/rate)
}

// ask computes the target and the cores that it takes: what arrives, and the backlog's part of a catch-up (Flink: lag / catchUp + inputRate; the term
// for the restart is left out: moving slots takes a second or two).
func (d *demand) ask(p Policy, faster float64) {
	cost := 0.0 // core-seconds a row: the reciprocal of DS2's true rate
	if d.Rate > 0 {
		cost = d.Cores / d.Rate
	}
	for _, s := range d.Stage.Slots {
		target := s.Arrival*faster + max(0, s.Lag-steady*s.Arrival)/p.CatchUp.Seconds()
		d.Target += target
		needs := cost * target
		d.Needs += needs
		d.clipped += min(needs, 1)
		if needs > 1 && needs > d.hotAsks {
			d.hot, d.hotAsks = s, needs
		}
	}
}

// What bounds a stage that falls behind.
const (
	boundCPU     = "cpu"
	boundSink    = "sink"
	boundMachine = "machine"
	boundSlot    = "slot"
	boundUnclear = "unclear"
)

// bound says what holds a stage back. A worker at its limit makes everything in it slow, its waits for the sink too; so CPU is asked first.
func (d *demand) bound(p Policy, o Observed) {
	full := o.Hottest >= p.High-0.1
	switch {
	case d.greedy || d.Target <= behind*d.Rate:
	case full && d.hotAsks > 1 && d.clipped < d.Needs-0.1 && atWork(p, d.hot) && math.Ceil(d.clipped/(o.Cores*p.Utilisation)) <= float64(o.Workers):
		d.Bound = boundSlot
	case full:
		d.Bound = boundCPU
	case d.Blocked >= p.Blocked:
		d.Bound = boundSink
	case o.starved():
		d.Bound = boundMachine // its time at work is the time in which it waits for its turn
	case d.busiest() >= p.High:
		d.Bound = boundSlot
	default:
		d.Bound = boundUnclear
	}
}

// starved reports whether the machine has next to nothing left although the workers do not use what they may: others have it.
func (o Observed) starved() bool { return o.Free.Known && o.Free.Value < 0.1*o.Cores }

func atWork(p Policy, s Slot) bool { return s.Busy+s.Blocked >= p.High }

// busiest is the largest share of its time that a slot of the stage is at work.
func (d *demand) busiest() float64 {
	most := 0.0
	for _, s := range d.Stage.Slots {
		most = max(most, s.Busy+s.Blocked)
	}
	return most
}

// useful is how many cores the stage could put to use on more workers.
func (d *demand) useful(p Policy, o Observed) float64 {
	switch {
	case d.greedy:
		return d.Cores * p.Utilisation // what takes all that it gets needs no room beside it
	case d.Bound == boundSink || d.Bound == boundMachine || d.Bound == boundUnclear:
		return d.Cores
	case d.MaxWorkers > 0:
		return min(d.clipped, float64(d.MaxWorkers)*o.Cores)
	}
	return d.clipped
}
