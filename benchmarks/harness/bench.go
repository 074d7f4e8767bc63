package harness

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// System is one that is measured: Weir, or a peer.
type System struct {
	Name      string
	Guarantee string // what it promises of its output, where it writes a log
	Version   string
	// Prepare makes one run's place and says what to run. Nothing of it is measured.
	Prepare func(ctx context.Context) (Command, error)
	// Start says how to run the system on next to nothing, so that the cost of its start can be told from that of its work; nil where it is not known.
	Start func(ctx context.Context) (Command, error)
	// Check returns the hash of what the run wrote, and clears it away.
	Check func(ctx context.Context) (string, error)
}

// Bench is one workload on some systems. The first system is Weir; one of its name again is the A/A run.
type Bench struct {
	Workload, Title string
	Events          int
	Truth           string // hash of the right output
	Systems         []System
	Rounds          int
	Starts          int                          // how often a start is measured; 0: three times
	Warm            bool                         // one round more, which does not count
	Aside           func() (time.Duration, bool) // CPU so far of a service that all of them use; nil: none
	Tell            func(line string)            // of every run; nil: nobody
}

// Spread is the median of the rounds with the least and the most.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Measured is what one system took. The plain numbers are medians of its valid runs.
type Measured struct {
	Name                string   `json:"name"`
	Version             string   `json:"version,omitempty"`
	Guarantee           string   `json:"guarantee,omitempty"`
	CPUSeconds          float64  `json:"cpu_seconds"`
	WallSeconds         float64  `json:"wall_seconds"`
	EventsPerCoreSecond float64  `json:"events_per_core_second"`
	PeakRSS             int64    `json:"peak_rss_bytes"`
	OutputHash          string   `json:"output_hash"`
	CPUPerMillion       Spread   `json:"cpu_seconds_per_million_events"`
	EventsPerSecond     Spread   `json:"events_per_second"`
	StartCPU            float64  `json:"start_cpu_seconds"` // of a run on next to nothing, the least of three; it is in all the others too
	WithoutStart        float64  `json:"cpu_seconds_per_million_events_without_start"`
	ServiceCPU          *float64 `json:"service_cpu_seconds,omitempty"` // of the broker meanwhile
	Runs                int      `json:"runs"`                          // that count
	Void                []string `json:"void,omitempty"`                // why others do not
}

// Result is one workload's.
type Result struct {
	Workload string     `json:"workload"`
	Title    string     `json:"title"`
	Events   int        `json:"events"`
	Rounds   int        `json:"rounds"`
	Truth    string     `json:"truth"`
	Measured            // Weir
	Again    *Measured  `json:"again,omitempty"` // Weir once more: what differs is noise
	Peers    []Measured `json:"peers"`
	Skipped  []string   `json:"skipped,omitempty"` // peers that could not run here, and why
}

// Void counts the runs that do not count.
func (r Result) VoidRuns() []string {
	out := slices.Clone(r.Void)
	if r.Again != nil {
		out = append(out, r.Again.Void...)
	}
	for _, p := range r.Peers {
		out = append(out, p.Void...)
	}
	return out
}

// run is one measured run that counts.
type run struct {
	Usage
	service    time.Duration
	hasService bool
}

// Run runs every system once a round, each round beginning with another, so that no system always follows the same one. A run that fails or whose output
// is not the truth is void: told, and not counted. The error is ctx's, or of a place that could not be prepared.
func (b Bench) Run(ctx context.Context) (Result, error) {
	runs, void, starts := make([][]run, len(b.Systems)), make([][]string, len(b.Systems)), make([]float64, len(b.Systems))
	for i, s := range b.Systems {
		var err error
		if starts[i], err = b.start(ctx, s); err != nil {
			return Result{}, fmt.Errorf("%s, %s: measure its start: %w", b.Workload, s.Name, err)
		}
	}
	rounds := b.Rounds
	first := 0
	if b.Warm {
		first = -1
	}
	for round := first; round < rounds; round++ {
		for k := range b.Systems {
			i := (k + max(round, 0)) % len(b.Systems)
			r, why, err := b.once(ctx, b.Systems[i])
			if err != nil {
				return Result{}, fmt.Errorf("%s, %s: %w", b.Workload, b.Systems[i].Name, err)
			}
			switch {
			case why != "":
				void[i] = append(void[i], fmt.Sprintf("%s, round %d: %s", b.Systems[i].Name, round+1, why))
			case round >= 0:
				runs[i] = append(runs[i], r)
			}
			b.tell(round, b.Systems[i], r, why)
		}
	}
	return b.result(runs, void, starts), nil
}

// start is the least CPU of a few runs on next to nothing, in seconds; what fails here fails in the rounds too, and is told there.
func (b Bench) start(ctx context.Context, s System) (float64, error) {
	if s.Start == nil {
		return 0, nil
	}
	var took []float64
	for range cmp.Or(b.Starts, 3) {
		c, err := s.Start(ctx)
		if err != nil {
			return 0, err
		}
		u, err := Run(ctx, c)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err == nil {
			took = append(took, u.CPU.Seconds())
		}
	}
	if len(took) == 0 {
		return 0, nil
	}
	return slices.Min(took), nil
}

func (b Bench) tell(round int, s System, r run, why string) {
	if b.Tell == nil {
		return
	}
	when := fmt.Sprintf("round %d of %d", round+1, b.Rounds)
	if round < 0 {
		when = "warm-up"
	}
	if why != "" {
		b.Tell(fmt.Sprintf("%s, %s, %s: void: %s", b.Workload, when, s.Name, why))
		return
	}
	b.Tell(fmt.Sprintf("%s, %s, %s: %.2f CPU-s, %.2f s", b.Workload, when, s.Name, r.CPU.Seconds(), r.Wall.Seconds()))
}

// once runs a system; why says what makes the run void.
func (b Bench) once(ctx context.Context, s System) (r run, why string, err error) {
	c, err := s.Prepare(ctx)
	if err != nil {
		return r, "", fmt.Errorf("prepare a run: %w", err)
	}
	before, known := b.aside()
	r.Usage, err = Run(ctx, c)
	if after, still := b.aside(); known && still {
		r.service, r.hasService = after-before, true
	}
	if r.Aside != nil {
		r.service, r.hasService = *r.Aside, true
	}
	if ctx.Err() != nil {
		return r, "", context.Cause(ctx)
	}
	hash, cerr := s.Check(ctx)
	switch {
	case err != nil:
		return r, err.Error(), nil //nolint:nilerr // it makes this run void, and the bench goes on
	case cerr != nil:
		return r, fmt.Sprintf("its output cannot be read: %s", cerr), nil
	case hash != b.Truth:
		return r, fmt.Sprintf("its output is wrong: hash %s, the truth is %s", hash, b.Truth), nil
	}
	return r, "", nil
}

func (b Bench) aside() (time.Duration, bool) {
	if b.Aside == nil {
		return 0, false
	}
	return b.Aside()
}

func (b Bench) result(runs [][]run, void [][]string, starts []float64) Result {
	out := Result{Workload: b.Workload, Title: b.Title, Events: b.Events, Rounds: b.Rounds, Truth: b.Truth, Peers: []Measured{}}
	for i, s := range b.Systems {
		m := b.measured(s, runs[i], void[i])
		if m.StartCPU = starts[i]; m.Runs > 0 {
			m.WithoutStart = (m.CPUSeconds - m.StartCPU) / float64(b.Events) * 1e6
		}
		switch {
		case i == 0:
			out.Measured = m
		case s.Name == b.Systems[0].Name:
			out.Again = &m
		default:
			out.Peers = append(out.Peers, m)
		}
	}
	return out
}

func (b Bench) measured(s System, runs []run, void []string) Measured {
	m := Measured{Name: s.Name, Version: s.Version, Guarantee: s.Guarantee, Runs: len(runs), Void: void}
	if len(runs) == 0 {
		return m
	}
	m.OutputHash = b.Truth
	n := float64(b.Events)
	m.CPUSeconds = spread(runs, func(r run) float64 { return r.CPU.Seconds() }).Median
	m.WallSeconds = spread(runs, func(r run) float64 { return r.Wall.Seconds() }).Median
	m.EventsPerCoreSecond = rate(n, m.CPUSeconds)
	m.PeakRSS = int64(spread(runs, func(r run) float64 { return float64(r.PeakRSS) }).Median)
	m.CPUPerMillion = spread(runs, func(r run) float64 { return r.CPU.Seconds() / n * 1e6 })
	m.EventsPerSecond = spread(runs, func(r run) float64 { return rate(n, r.Wall.Seconds()) })
	if runs[0].hasService {
		v := spread(runs, func(r run) float64 { return r.service.Seconds() }).Median
		m.ServiceCPU = &v
	}
	return m
}

// rate is events a second; 0 where the time is too short for the clock.
func rate(events, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return events / seconds
}

func spread(runs []run, of func(run) float64) Spread {
	var v []float64
	for _, r := range runs {
		v = append(v, of(r))
	}
	slices.Sort(v)
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (mid + v[len(v)/2-1]) / 2
	}
	return Spread{Median: mid, Min: v[0], Max: v[len(v)-1]}
}
