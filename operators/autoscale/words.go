package autoscale

import (
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/evaluate"
)

// Policy holds the numbers of the rule. A zero field is its default.
type Policy struct {
	// Utilisation is the share of the workers' CPU that shall be in use: 0.7, as Flink's autoscaler aims at.
	Utilisation float64
	// High is the share above which workers are added: 0.85. Between what Utilisation asks for and High nothing changes (the dead band; Flink's is 0.4 to 1.0).
	High float64
	// CatchUp is the time in which a backlog shall be worked off: 30 s. Flink's default is 30 min, because a rescale there costs minutes; here it moves slots.
	CatchUp time.Duration
	// CoolDown is the time after a change in which none follows: 5 s. The measurements begin anew behind a change anyway (DS2's warm-up).
	CoolDown time.Duration
	// ScaleInAfter is for how long fewer workers must have been enough: 60 s. The largest size that was needed meanwhile counts (FLINK-36018, FLINK-36535).
	ScaleInAfter time.Duration
	// MaxOut and MaxIn are the factors by which one change may grow and shrink the fleet: 4 and 2. An estimate that is wrong is then wrong for a window only.
	MaxOut, MaxIn float64
	// Blocked is the share of its time which a stage that falls behind must wait for its commits and sinks to be called bounded by them: 0.5.
	Blocked float64
	// Gain is the least share of the expected gain that a scale-out must have brought (Flink's ineffective scaling detection: 0.1), else
	// none follows for Ineffective: 10 min.
	Gain        float64
	Ineffective time.Duration
}

func (p Policy) withDefaults() Policy {
	set := func(v *float64, d float64) {
		if *v <= 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&p.Utilisation, 0.7)
	set(&p.High, 0.85)
	set(&p.MaxOut, 4)
	set(&p.MaxIn, 2)
	set(&p.Blocked, 0.5)
	set(&p.Gain, 0.1)
	wait(&p.CatchUp, 30*time.Second)
	wait(&p.CoolDown, 5*time.Second)
	wait(&p.ScaleInAfter, time.Minute)
	wait(&p.Ineffective, 10*time.Minute)
	return p
}

// Observed is what is known of a fleet at one time: averages over the window.
type Observed struct {
	Now time.Time
	Fleet
	CPU     operators.Fact[float64] // cores' worth of time that all workers spend
	Hottest float64                 // of one worker: the share of the cores it may use that it uses
	Cores   float64                 // that one worker may use
	Free    operators.Fact[float64] // cores that the machines of the workers have left
	Stages  []Stage                 // those that run, those that write before those that read
	Waits   string                  // why there are no averages yet, if there are none
}

// Fleet is the service as its operator knows it.
type Fleet struct {
	Service  string // stack/service
	Workers  int    // that it shall have now
	Min, Max int
	Changing string // what change is under way; empty: none
}

// Stage is what its slots measured.
type Stage struct {
	Name       string // pipeline/stage
	MaxWorkers int    // that may host its slots; 0: all
	From       []string
	Sink       string // what its slots wait for when they wait for their sink: "cassandra serving"
	Slots      []Slot
	Unknown    string // why its input is not known; empty: it is
}

// Slot is one slot's averages.
type Slot struct {
	Index   int
	Rate    float64 // rows a second that it processed
	Arrival float64 // rows a second that came or were offered (median over the window, so that one odd second moves nothing)
	Lag     float64 // rows that stand before it
	Busy    float64 // share of its time in its transforms
	Blocked float64 // share of its time in commits and sinks
	InSink  float64 // of Blocked, the part in sinks that act after the commit
	Greedy  bool    // it reads a bounded source as fast as it goes: what arrives is what it takes
}

// Reason is a tree of causes.
type Reason = evaluate.Reason

// Verdict says in a word what was decided.
type Verdict string

const (
	Hold    Verdict = "hold"    // the size fits, or nothing may change now
	Out     Verdict = "out"     // more workers
	In      Verdict = "in"      // fewer
	Refused Verdict = "refused" // the load asks for more, and more would not help
	Unknown Verdict = "unknown" // a fact is missing: nothing changes
)

// Decision is the answer, with what it was made from.
type Decision struct {
	At      time.Time `json:"at"`
	Verdict Verdict   `json:"verdict"`
	Workers int       `json:"workers"`
	Want    int       `json:"want"`
	Needs   int       `json:"needs"` // that the load asks for, before min, max and the length of a step
	Reason  Reason    `json:"reason"`
	Stages  []Numbers `json:"stages,omitempty"`
	Next    string    `json:"next,omitempty"` // what to type next; empty: there is nothing to do
}

// Numbers are a stage's part in a decision.
type Numbers struct {
	Stage   string  `json:"stage"`
	Slots   int     `json:"slots"`
	Rate    float64 `json:"rows_per_second"`
	Arrival float64 `json:"arriving_per_second"`
	Target  float64 `json:"target_per_second"` // Arrival, and the backlog's part
	Lag     float64 `json:"lag_rows"`
	Busy    float64 `json:"busy"`
	Blocked float64 `json:"blocked"`
	Cores   float64 `json:"cores"`           // that it uses
	Needs   float64 `json:"needs_cores"`     // that Target needs
	Bound   string  `json:"bound,omitempty"` // what a stage that falls behind is bounded by: cpu, sink, machine, slot, unclear
}

// Memory is what one decision leaves to the next. It prints as JSON: the caller stores it when it carries a change out.
type Memory struct {
	Changed time.Time `json:"changed,omitzero"` // when the size changed last
	Grown   *Growth   `json:"grown,omitempty"`  // the last scale-out, until it was judged
	Vain    *Growth   `json:"vain,omitempty"`   // one that brought nothing
	wanted  []mark    // sizes that were needed lately; a server that restarts waits for the whole of ScaleInAfter again
	workers int       // at which wanted was noted
	held    time.Time // since when a stage falls behind for another reason than the workers
}

// Growth is a scale-out and the rate before it.
type Growth struct {
	At     time.Time `json:"at"`
	From   int       `json:"from"`
	To     int       `json:"to"`
	Rate   float64   `json:"rate"`             // rows a second of all stages, before
	After  float64   `json:"after,omitempty"`  // and after
	Target float64   `json:"target,omitempty"` // that was asked for then
}

type mark struct {
	at   time.Time
	want int
}

// Change is the memory after the decision was carried out.
func (m Memory) Change(d Decision) Memory {
	m.Changed, m.wanted, m.held, m.Grown = d.At, nil, time.Time{}, nil
	if d.Verdict == Out {
		m.Grown = &Growth{At: d.At, From: d.Workers, To: d.Want}
		for _, n := range d.Stages {
			m.Grown.Rate += n.Rate
			m.Grown.Target += n.Target
		}
	}
	return m
}
