package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/physical"
)

// doing is what a slot's loop does. It is always doing one thing: it is one thread.
type doing int

const (
	waiting    doing = iota // for input, and between two tries after an error
	busy                    // transforms, windows that fire, the making of a commit
	committing              // waits for the log
	applying                // waits for the sinks that act after a commit
	kindsOfWork
)

// ledger adds up for how long a slot's loop did what. Only the slot's goroutine touches it.
type ledger struct {
	clock Clock
	now   doing
	since time.Time
	spent [kindsOfWork]time.Duration
}

func newLedger(clock Clock) ledger { return ledger{clock: clock, since: clock.now()} }

// enter begins to do something else and returns what was done until now, to which the caller goes back.
func (l *ledger) enter(d doing) doing {
	now := l.clock.now()
	was := l.now
	l.spent[was] += max(0, now.Sub(l.since))
	l.now, l.since = d, now
	return was
}

// work is what was measured until now.
func (l *ledger) work() physical.Work {
	l.enter(l.now)
	w := physical.Work{Busy: int64(l.spent[busy]), Commit: int64(l.spent[committing]), Sink: int64(l.spent[applying])}
	w.At = w.Busy + w.Commit + w.Sink + int64(l.spent[waiting])
	return w
}

// tailed is a source that knows where its splits end now. A source that does not implement it has a pace, or is read as fast as it goes, or what waits in it
// is unknown.
type tailed interface {
	// End is the position behind the last row of a split that a reader may see now.
	End(ctx context.Context, s connectors.Split) (int64, error)
}

// ends are where the splits of a slot end, as they were read a moment ago.
type ends struct {
	at  time.Time // when they were asked for
	of  map[*split]int64
	err error
}

// staleEnds is the age at which ends say nothing any more: what was read since is known, and what came is not.
const staleEnds = 5 * time.Second

// gauge asks for the ends of a slot's splits, once for each word that it is given, on a goroutine of its own: a broker that does not answer holds nobody up.
type gauge struct {
	ask    chan struct{}
	latest atomic.Pointer[ends]
}

// measures starts asking where any source can tell.
func (a *attempt) measures(ctx context.Context) {
	a.gauge.ask = make(chan struct{}, 1)
	for _, s := range a.sources {
		if _, ok := s.source.(tailed); ok {
			a.wg.Go(func() { a.gauge.run(ctx, a.sources, a.cfg.Clock) })
			a.gauge.poke()
			return
		}
	}
}

func (g *gauge) poke() {
	select {
	case g.ask <- struct{}{}:
	default:
	}
}

func (g *gauge) run(ctx context.Context, sources []*source, clock Clock) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.ask:
		}
		e := &ends{at: clock.now(), of: map[*split]int64{}}
		for _, s := range sources {
			t, ok := s.source.(tailed)
			if !ok {
				continue
			}
			for _, sp := range s.splits {
				end, err := t.End(ctx, sp.split)
				if err != nil {
					e.err = fmt.Errorf("the end of split %s was not read: %w", sp.split.ID, err)
					continue
				}
				e.of[sp] = end
			}
		}
		if ctx.Err() == nil {
			g.latest.Store(e)
		}
	}
}

// input says what stands before the slot: rows that wait, rows that are offered, or why neither is known. It asks for the next ends.
func (a *attempt) input(w *physical.Work) {
	known := a.gauge.latest.Load()
	for _, s := range a.sources {
		if s.source == nil || s.ended() {
			continue
		}
		_, tail := s.source.(tailed)
		switch {
		case tail && known == nil:
			w.Unmeasured = "the ends of its splits have not been read yet"
		case tail && known.err != nil:
			w.Unmeasured = known.err.Error()
		case tail && a.cfg.Clock.now().Sub(known.at) > staleEnds:
			w.Unmeasured = fmt.Sprintf("the ends of its splits were read %s ago, and not since", a.cfg.Clock.now().Sub(known.at).Round(time.Second))
		case tail:
			for _, sp := range s.splits {
				if end, ok := known.of[sp]; ok && !sp.ended {
					w.Lag += max(0, end-sp.position.Offset)
				}
			}
		case s.pace != nil:
			w.Offered += s.pace.rate
		case s.cfg.Bounded:
			w.Greedy = true
		default:
			w.Unmeasured = s.vertex.spec.Path + " cannot tell how many rows wait in it"
		}
	}
	if a.gauge.ask != nil {
		a.gauge.poke()
	}
}

// ended reports whether all splits of the source that the slot owns have ended.
func (s *source) ended() bool {
	for _, sp := range s.splits {
		if !sp.ended {
			return false
		}
	}
	return true
}
