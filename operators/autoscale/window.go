package autoscale

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/physical"
)

// Span is the window over which is averaged, and Stale the age at which what was measured last counts as unknown. Three reports a second apart: so long that one odd
// second moves no median, so short that a step in load is answered within five seconds.
const (
	Span  = 3 * time.Second
	Stale = 5 * time.Second
)

// Window keeps what slots and workers measured lately. A slot that moved, and a worker that was started anew, begin at zero: their counters do.
type Window struct {
	slots   map[checkpoint.Slot]*slotTrack
	workers map[string]*workerTrack
}

type slotTrack struct {
	task   string
	term   uint64
	state  string
	seen   time.Time
	points []physical.Work
}

type workerTrack struct {
	seen   time.Time
	points []physical.Usage
}

// NewWindow is an empty one.
func NewWindow() *Window {
	return &Window{slots: map[checkpoint.Slot]*slotTrack{}, workers: map[string]*workerTrack{}}
}

// Slot takes a slot's report.
func (w *Window) Slot(task string, r physical.SlotReport, now time.Time) {
	t := w.slots[r.Slot]
	if t == nil || t.task != task || t.term != r.Term || r.Work != nil && len(t.points) > 0 && r.Work.At < t.points[len(t.points)-1].At {
		t = &slotTrack{task: task, term: r.Term}
		w.slots[r.Slot] = t
	}
	t.state = r.State
	if r.Work == nil || len(t.points) > 0 && r.Work.At == t.points[len(t.points)-1].At {
		return
	}
	t.seen = now
	t.points = append(t.points, *r.Work)
	for len(t.points) > 2 && r.Work.At-t.points[1].At >= int64(Span) {
		t.points = t.points[1:]
	}
}

// Worker takes what a worker says of its process and its machine.
func (w *Window) Worker(task string, u physical.Usage, now time.Time) {
	t := w.workers[task]
	if t == nil {
		t = &workerTrack{}
		w.workers[task] = t
	}
	if n := len(t.points); n > 0 && u.At <= t.points[n-1].At {
		if u.At == t.points[n-1].At {
			return
		}
		t.points = nil
	}
	t.seen = now
	t.points = append(t.points, u)
	for len(t.points) > 2 && u.At-t.points[1].At >= int64(Span) {
		t.points = t.points[1:]
	}
}

// Plan is a stage as the graph has it, which Observe fills with what was measured.
type Plan struct {
	Stage
	Expected []checkpoint.Slot // that run
}

// Observe gives the averages of the window, or says what is missing. Tasks are the workers that the fleet has now.
func (w *Window) Observe(f Fleet, tasks []string, stages []Plan, now time.Time) Observed {
	o := Observed{Now: now, Fleet: f}
	w.forget(tasks, stages)
	w.usage(&o, tasks)
	for _, p := range stages {
		s, waits := w.stage(p, now)
		if waits != "" && o.Waits == "" {
			o.Waits = waits
		}
		o.Stages = append(o.Stages, s)
	}
	if len(stages) == 0 {
		o.Waits = ""
	}
	return o
}

// forget drops what is no more.
func (w *Window) forget(tasks []string, stages []Plan) {
	for task := range w.workers {
		if !slices.Contains(tasks, task) {
			delete(w.workers, task)
		}
	}
	keep := map[checkpoint.Slot]bool{}
	for _, p := range stages {
		for _, s := range p.Expected {
			keep[s] = true
		}
	}
	for s := range w.slots {
		if !keep[s] {
			delete(w.slots, s)
		}
	}
}

func (t *workerTrack) enough() bool {
	return t != nil && len(t.points) > 1 && t.points[len(t.points)-1].At-t.points[0].At >= int64(Span)*8/10
}

// usage adds the workers' CPU up, and what their machines have left: each machine once.
func (w *Window) usage(o *Observed, tasks []string) {
	hosts := map[string]float64{}
	cpu := 0.0
	for _, task := range tasks {
		t := w.workers[task]
		switch {
		case t == nil:
			o.CPU = operators.Unknown[float64]("worker " + task + " reports none")
			return
		case o.Now.Sub(t.seen) > Stale:
			o.CPU = operators.Unknown[float64](fmt.Sprintf("worker %s has not reported for %s", task, seconds(o.Now.Sub(t.seen))))
			return
		case !t.enough():
			o.Waits = "the workers are measured over 3 s, and not all have run for so long"
			continue
		}
		first, last := t.points[0], t.points[len(t.points)-1]
		span := float64(last.At - first.At)
		used := float64(last.CPU-first.CPU) / span
		cpu += used
		o.Cores = max(o.Cores, last.Cores)
		if last.Cores > 0 {
			o.Hottest = max(o.Hottest, used/last.Cores)
		}
		if last.Host == "" {
			o.Free = operators.Unknown[float64]("worker " + task + " cannot read what its machine has left")
			continue
		}
		hosts[last.Host] = float64(last.HostIdle-first.HostIdle) / span
	}
	o.CPU = operators.Know(cpu, o.Now)
	if o.Free.Why == "" {
		free := 0.0
		for _, f := range hosts {
			free += f
		}
		o.Free = operators.Know(free, o.Now)
	}
}

// stage averages its slots; waits says what is not there yet.
func (w *Window) stage(p Plan, now time.Time) (s Stage, waits string) {
	s = p.Stage
	for _, id := range p.Expected {
		t := w.slots[id]
		switch {
		case t == nil || len(t.points) == 0 && t.state == "":
			return s, fmt.Sprintf("slot %d of stage %s has not reported yet", id.Index, s.Name)
		case len(t.points) == 0 && t.state == "running":
			s.Unknown = fmt.Sprintf("slot %d reports no measurements: its worker is of an older version", id.Index)
			return s, ""
		case t.state == "ended":
			continue
		case t.state != "running" && t.state != "waiting":
			return s, fmt.Sprintf("slot %d of stage %s is %s", id.Index, s.Name, t.state)
		case now.Sub(t.seen) > Stale:
			s.Unknown = fmt.Sprintf("slot %d has not reported for %s", id.Index, seconds(now.Sub(t.seen)))
			return s, ""
		case t.last().At-t.points[0].At < int64(Span)*8/10:
			return s, "the load is measured over 3 s, and not all slots have run for so long where they are"
		}
		if why := t.last().Unmeasured; why != "" {
			s.Unknown = fmt.Sprintf("slot %d: %s", id.Index, why)
			return s, ""
		}
		s.Slots = append(s.Slots, t.average(id.Index))
	}
	return s, ""
}

func (t *slotTrack) last() physical.Work { return t.points[len(t.points)-1] }

func (t *slotTrack) average(index int) Slot {
	first, last := t.points[0], t.last()
	span := float64(last.At - first.At)
	s := Slot{Index: index, Lag: float64(last.Lag), Greedy: last.Greedy,
		Rate:    float64(last.Rows-first.Rows) / span * 1e9,
		Busy:    float64(last.Busy-first.Busy) / span,
		Blocked: float64(last.Commit-first.Commit+last.Sink-first.Sink) / span,
		InSink:  float64(last.Sink-first.Sink) / span,
	}
	var arrivals []float64
	for i := 1; i < len(t.points); i++ {
		a, b := t.points[i-1], t.points[i]
		dt := float64(b.At-a.At) / 1e9
		// What a source is known to hold back grows by what came and was not processed; a paced source offers what it offers.
		arrivals = append(arrivals, max(0, max(b.Offered, float64(b.Rows-a.Rows)/dt)+float64(b.Lag-a.Lag)/dt))
	}
	slices.Sort(arrivals)
	s.Arrival = arrivals[len(arrivals)/2]
	return s
}
