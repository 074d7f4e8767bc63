package autoscale

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/physical"
)

// sim is a fleet in virtual time: a source that offers rows, slots that are threads, workers with cores on one machine, a sink with a ceiling. It knows nothing of
// the rule: it spends time, and reports it as the engine does.
type sim struct {
	rng     *rand.Rand
	now     time.Duration
	load    func(at time.Duration) float64 // rows a second
	noise   float64                        // of the load, each second anew
	cost    float64                        // core-seconds a row
	skew    float64                        // share of the rows that goes to slot 0; 0: even
	sink    float64                        // rows a second that the sink takes at most; 0: no bound
	other   float64                        // cores that others use
	host    float64                        // cores of the machine
	cores   float64                        // that a worker may use
	delay   time.Duration                  // from a decision until the workers run and their slots have moved
	mute    map[int]bool                   // slots that report nothing
	factor  float64                        // of this second's noise
	slots   []*simSlot
	workers []*simWorker

	min, max, size int
	until          time.Duration // a change is under way until
	window         *Window
	memory         Memory
	last, changed  Decision
	changes        []string
	log            []string
}

type simSlot struct {
	worker  int
	term    uint64
	backlog float64
	work    physical.Work
	began   time.Duration
	phase   time.Duration
	rows    float64
}

type simWorker struct {
	usage physical.Usage
	dead  bool
}

const simTick = 100 * time.Millisecond

var simStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newSim(seed uint64, slots, workers int) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), factor: 1, cost: 100e-6, host: 64, cores: 1, delay: 1500 * time.Millisecond, min: 1, max: 8,
		window: NewWindow(), mute: map[int]bool{}, load: func(time.Duration) float64 { return 0 }}
	for range slots {
		s.slots = append(s.slots, &simSlot{phase: time.Duration(s.rng.IntN(10)) * simTick})
	}
	s.size = workers
	s.apply()
	return s
}

// apply moves the slots to the workers that shall be: only those that must move do, as operators/stream does it.
func (s *sim) apply() {
	for len(s.workers) < s.size {
		s.workers = append(s.workers, &simWorker{})
	}
	s.workers = s.workers[:s.size]
	var alive []int
	for i, w := range s.workers {
		if !w.dead {
			alive = append(alive, i)
		}
	}
	if len(alive) == 0 {
		return
	}
	quota := map[int]int{}
	for i, w := range alive {
		quota[w] = len(s.slots) / len(alive)
		if i < len(s.slots)%len(alive) {
			quota[w]++
		}
	}
	var loose []*simSlot
	for _, x := range s.slots {
		if quota[x.worker] > 0 && x.term > 0 {
			quota[x.worker]--
			continue
		}
		loose = append(loose, x)
	}
	for _, x := range loose {
		for _, w := range alive {
			if quota[w] > 0 {
				quota[w]--
				x.worker, x.term, x.work, x.rows, x.began = w, x.term+1, physical.Work{}, 0, s.now
				break
			}
		}
	}
}

// step is a tenth of a second.
func (s *sim) step() {
	if s.now%time.Second == 0 {
		s.factor = 1 + s.noise*(2*s.rng.Float64()-1)
	}
	dt := simTick.Seconds()
	arrives := s.load(s.now) * s.factor * dt
	for i, x := range s.slots {
		share := 1 / float64(len(s.slots))
		if s.skew > 0 {
			if share = (1 - s.skew) / float64(len(s.slots)-1); i == 0 {
				share = s.skew
			}
		}
		x.backlog += arrives * share
	}
	s.spend(dt)
	s.now += simTick
	for i, x := range s.slots {
		if (s.now+x.phase)%time.Second == 0 && !s.mute[i] {
			x.work.At, x.work.Rows, x.work.Lag = int64(s.now-x.began), int64(x.rows), int64(x.backlog)
			w := x.work
			s.window.Slot(s.task(x.worker), physical.SlotReport{Slot: s.id(i), Term: x.term, State: "running", Work: &w}, s.at())
		}
	}
	if s.now%time.Second == 0 {
		s.decide()
	}
}

// spend gives each slot its time: the CPU that its worker has for it, and what the sink lets through.
func (s *sim) spend(dt float64) {
	asks := make([]float64, len(s.workers)) // cores
	for _, x := range s.slots {
		asks[x.worker] += min(1, x.backlog*s.cost/dt)
	}
	all := slices.Clone(asks) // before the worker's bound
	total := 0.0
	for i := range asks {
		if asks[i] = min(asks[i], s.cores); s.workers[i].dead {
			asks[i] = 0
		}
		total += asks[i]
	}
	squeeze := 1.0 // the machine is shared fairly when it is full
	if free := s.host - s.other; total > free {
		squeeze = free / total
	}
	rows := make([]float64, len(s.slots))
	sum := 0.0
	for i, x := range s.slots {
		want := min(1, x.backlog*s.cost/dt)
		if s.workers[x.worker].dead || want == 0 {
			continue
		}
		got := want * min(1, asks[x.worker]*squeeze/all[x.worker])
		rows[i] = min(x.backlog, got*dt/s.cost)
		sum += rows[i]
	}
	through := 1.0
	if s.sink > 0 && sum > s.sink*dt {
		through = s.sink * dt / sum
	}
	used := 0.0
	for i, x := range s.slots {
		want := min(1, x.backlog*s.cost/dt)
		n := rows[i] * through
		cpu := n * s.cost
		used += cpu
		s.workers[x.worker].usage.CPU += int64(cpu * 1e9)
		busy := cpu
		if rows[i] > 0 && through >= 1 { // on the clock it is busy also while it waits for its turn
			busy = min(dt, max(cpu, want*dt))
		}
		x.work.Busy += int64(busy * 1e9)
		if through < 1 && x.backlog > 0 {
			x.work.Sink += int64((dt - busy) * 1e9)
		}
		x.rows += n
		x.backlog -= n
	}
	for _, w := range s.workers {
		w.usage.At += int64(simTick)
		w.usage.HostIdle += int64(max(0, (s.host-s.other)*dt-used) * 1e9)
	}
}

func (s *sim) task(i int) string { return fmt.Sprintf("workers-%d", i) }
func (s *sim) at() time.Time     { return simStart.Add(s.now) }
func (s *sim) id(i int) checkpoint.Slot {
	return checkpoint.Slot{Pipeline: "p", UID: "u", Stage: "work", Fragment: "f0", Index: i}
}

func (s *sim) decide() {
	f := Fleet{Service: "demo/workers", Workers: s.size, Min: s.min, Max: s.max}
	var tasks []string
	dead := 0
	for i, w := range s.workers {
		if w.dead {
			dead++
			continue
		}
		tasks = append(tasks, s.task(i))
		u := w.usage
		u.Cores, u.Host = s.cores, "m"
		s.window.Worker(s.task(i), u, s.at())
	}
	switch {
	case s.now < s.until:
		f.Changing = "slots move"
	case dead > 0:
		f.Changing = fmt.Sprintf("%d of %d workers are ready", s.size-dead, s.size)
	}
	p := Plan{Stage: Stage{Name: "p/work", Sink: "cassandra serving"}}
	for i := range s.slots {
		p.Expected = append(p.Expected, s.id(i))
	}
	o := s.window.Observe(f, tasks, []Plan{p}, s.at())
	before := s.last
	s.last, s.memory = Decide(Policy{}, o, s.memory)
	if s.last.Want != s.size {
		s.note("%d to %d", s.size, s.last.Want)
		s.changes = append(s.changes, fmt.Sprintf("%s %d>%d", s.now, s.size, s.last.Want))
		s.memory, s.changed = s.memory.Change(s.last), s.last
		s.size = s.last.Want
		s.until = s.now + s.delay
		s.apply()
		return
	}
	if s.last.Verdict != before.Verdict && s.last.Verdict != Hold {
		s.note("%s: %s", s.last.Verdict, s.last.Reason.Under[0].Text)
	}
}

func (s *sim) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf("%5.0fs  %s", s.now.Seconds(), fmt.Sprintf(format, args...)))
}

func (s *sim) run(d time.Duration) {
	for end := s.now + d; s.now < end; {
		s.step()
	}
}

// kill lets a worker die; revive brings it back with counters from zero, as a new process does.
func (s *sim) kill(i int) { s.workers[i].dead = true }

func (s *sim) revive(i int) {
	s.workers[i] = &simWorker{}
	for _, x := range s.slots {
		if x.worker == i {
			x.term, x.work, x.rows, x.began = x.term+1, physical.Work{}, 0, s.now
		}
	}
}

func (s *sim) state() string {
	backlog := 0.0
	for _, x := range s.slots {
		backlog += x.backlog
	}
	return fmt.Sprintf("%5.0fs  %s, backlog %s", s.now.Seconds(), workers(s.size), number(roughly(backlog)))
}

// roughly rounds to two digits, so that a scenario does not change with every rounding in the simulator.
func roughly(v float64) float64 {
	unit := 1.0
	for v/unit >= 100 {
		unit *= 10
	}
	return float64(int(v/unit+0.5)) * unit
}

func (s *sim) drain() string {
	out := strings.Join(append(s.log, s.state()), "\n")
	s.log = nil
	return out + "\n"
}

func constant(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}

// observed is a complete observation of one stage, for tables.
func observed(change func(*Observed)) Observed {
	o := Observed{Now: simStart, Fleet: Fleet{Service: "demo/workers", Workers: 1, Min: 1, Max: 8}, CPU: operators.Know(0.5, simStart), Hottest: 0.5, Cores: 1,
		Free:   operators.Know(10.0, simStart),
		Stages: []Stage{{Name: "p/work", Sink: "cassandra serving", Slots: slices.Repeat([]Slot{{Rate: 1000, Arrival: 1000, Busy: 0.125}}, 4)}}}
	change(&o)
	return o
}
