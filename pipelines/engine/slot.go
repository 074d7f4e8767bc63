package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/state"
)

// SlotConfig describes one slot of a fragment to run.
type SlotConfig struct {
	Slot     checkpoint.Slot
	Fragment physical.Fragment
	Channels map[string]physical.Channel
	Run      uint64
	Term     uint64

	// Splits of bounded sources that this slot owns, listed once per run (C8). For a read node that none of them names the slot lists the source's
	// splits itself and owns those whose index, modulo the fragment's slots, is its own; for the partitions of a Kafka channel it always does.
	Splits []physical.SplitOf
	// Writers says how many slots write each Kafka channel, of all stages. A channel that is missing is written by this fragment's slots alone.
	Writers map[string]int

	// Engine and Runner are the stage's: empty or native is this engine, another is asked of Connections (Elsewhere).
	Engine, Runner string

	CommitInterval time.Duration // 1 s
	Connections    Connections
	Clock          Clock
	Log            *slog.Logger // slog.Default
	Out            io.Writer    // where log nodes print; nil prints to Log
	// Report is told of every change of state and once a commit interval, from the slot's goroutine; it must not block. It may be nil.
	Report func(physical.SlotReport)
	// FailFast makes Run return the first error, as a person at a terminal expects. Otherwise the slot waits and tries again, for ever.
	FailFast bool
}

func (c SlotConfig) withDefaults() SlotConfig {
	if c.CommitInterval <= 0 {
		c.CommitInterval = time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Report == nil {
		c.Report = func(physical.SlotReport) {}
	}
	if c.Fragment.Slots <= 0 {
		c.Fragment.Slots = 1
	}
	c.Log = c.Log.With("slot", c.Slot.String(), "run", c.Run, "term", c.Term)
	return c
}

// The states of a slot.
//
//	starting ──> running ──> ended
//	   │  ^         │
//	   v  │         │
//	 waiting <──────┘          (any error: back off, recover, go on)
//	starting, running ──> failed (a defect, or an assertion that does not hold: trying again cannot help)
const (
	StateStarting = "starting"
	StateRunning  = "running"
	StateWaiting  = "waiting"
	StateEnded    = "ended"
	StateFailed   = "failed"
	StateFenced   = "fenced" // told by a worker: another owner took the slot over
)

// Slot runs one slot under one term.
type Slot struct {
	cfg      SlotConfig
	stop     chan struct{}
	stopOnce sync.Once
	report   physical.SlotReport  // of the latest state; only Run's goroutine touches it
	commits  []time.Duration      // the latest ones, for the median
	ledger   ledger               // of all attempts
	rows     int64                // that were read, in all attempts
	input    func(*physical.Work) // of the present attempt; nil: it does not read yet
}

// NewSlot makes a slot; Run runs it.
func NewSlot(cfg SlotConfig) *Slot {
	cfg = cfg.withDefaults()
	return &Slot{cfg: cfg, stop: make(chan struct{}),
		report: physical.SlotReport{Slot: cfg.Slot, Term: cfg.Term, State: StateStarting, Watermark: column.MinTime}}
}

// Stop makes Run commit what it has and return nil. It returns at once, and may be called more than once.
func (s *Slot) Stop() { s.stopOnce.Do(func() { close(s.stop) }) }

// errStopped ends an attempt after Stop.
var errStopped = errors.New("slot was stopped")

// Run runs the slot until its input has ended (nil), Stop (nil), a higher term took over (checkpoint.ErrFenced), ctx ends (its cause), or an error
// that trying again cannot help.
func (s *Slot) Run(ctx context.Context) error {
	s.ledger = newLedger(s.cfg.Clock)
	wait := lifecycle.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second, Jitter: 0.5}
	for tries := 0; ; tries++ {
		s.tell(StateStarting, "")
		epoch := s.report.Epoch
		err := s.attempt(ctx)
		switch {
		case err == nil:
			s.tell(StateEnded, "")
			return nil
		case errors.Is(err, errStopped):
			return nil
		case errors.Is(err, checkpoint.ErrFenced):
			return checkpoint.ErrFenced
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case s.cfg.FailFast || hopeless(err):
			s.tell(StateFailed, err.Error())
			return fmt.Errorf("run slot %s: %w", s.cfg.Slot, err)
		}
		if s.report.Epoch > epoch { // it got somewhere
			tries = 0
		}
		d := wait.Next(tries, rand.Float64()) //nolint:gosec // chance, not a secret
		s.cfg.Log.Warn("slot waits after an error", "error", err, "wait", d)
		s.tell(StateWaiting, err.Error())
		if stopped := s.sleep(ctx, d); stopped {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// hopeless reports errors that would come again however often the slot recovers.
func hopeless(err error) bool {
	var law *conservationError
	var assertion *AssertionError
	var big *state.TooBigError
	return errors.As(err, &law) || errors.As(err, &assertion) || errors.As(err, &big)
}

// sleep waits, and reports whether Stop came meanwhile.
func (s *Slot) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-s.stop:
		return true
	}
	return false
}

func (s *Slot) tell(state, reason string) {
	s.report.State, s.report.Reason = state, reason
	s.measure()
	s.cfg.Report(s.report)
}

// measure puts what the slot measured into its report, once it reads.
func (s *Slot) measure() {
	if s.input == nil {
		return
	}
	w := s.ledger.work()
	w.Rows = s.rows
	s.input(&w)
	s.report.Work, s.report.BusyNanos = &w, w.Busy
}

// attempt is one life between two recoveries.
func (s *Slot) attempt(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	a := &attempt{slot: s, cfg: &s.cfg, cancel: cancel}
	defer func() {
		s.measure()
		s.input = nil
		s.ledger.enter(waiting)
		if cerr := a.close(); err == nil && cerr != nil {
			// What was committed stays; nothing is lost by a connection that does not close.
			s.cfg.Log.Warn("slot did not close cleanly", "error", cerr)
		}
	}()
	if err := a.open(ctx); err != nil {
		return err
	}
	if a.progress.Ended {
		return a.settleEnded(ctx)
	}
	if s.cfg.foreign() {
		s.tell(StateRunning, "")
		return a.elsewhere(ctx)
	}
	if err := a.start(ctx); err != nil {
		return err
	}
	s.tell(StateRunning, "")
	return a.loop(ctx)
}

// committed notes a commit for the next report.
func (s *Slot) committed(p *checkpoint.Progress, took time.Duration) {
	s.report.Epoch, s.report.Watermark, s.report.Counters = p.Epoch, p.Watermark, p.Counters
	if s.commits = append(s.commits, took); len(s.commits) > 64 {
		s.commits = append(s.commits[:0], s.commits[len(s.commits)-64:]...)
	}
	s.report.CommitP50 = int64(median(s.commits))
}
