package lifecycle

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Backoff says how long to wait before a new attempt. The zero value never waits.
type Backoff struct {
	Min    time.Duration // the first wait
	Max    time.Duration // no wait is longer
	Factor float64       // each wait is this many times the one before; 2 when zero
	Jitter float64       // share of the wait that is left to chance, 0 to 1
}

// Next is the wait before attempt number attempt (0 is the first repetition). rnd in [0, 1) is the chance: the result lies
// between (1-Jitter) and 1 times the nominal wait, so that Max holds and many clients do not come back at once.
func (b Backoff) Next(attempt int, rnd float64) time.Duration {
	if b.Min <= 0 {
		return 0 // and not zero times an infinite power, which is no number
	}
	factor := b.Factor
	if factor == 0 {
		factor = 2
	}
	wait := min(float64(b.Min)*math.Pow(factor, float64(max(0, attempt))), float64(b.Max))
	wait *= 1 - min(max(b.Jitter, 0), 1)*min(max(rnd, 0), 1)
	return time.Duration(max(0, wait))
}

// Sleep waits for d, or returns the cause of ctx's end, whichever comes first. Under testing/synctest it takes no real time.
func Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Poll asks until done: it calls ask at once and then after each wait of the back-off, with no jitter, until ask says true,
// fails, or ctx ends. The error of an ended ctx says what ask was last about: its reason is for the reader of the timeout.
func Poll(ctx context.Context, wait Backoff, ask func(context.Context) (done bool, reason string, err error)) error {
	for attempt := 0; ; attempt++ {
		done, reason, err := ask(ctx)
		if err != nil || done {
			return err
		}
		if err := Sleep(ctx, wait.Next(attempt, 0)); err != nil {
			return fmt.Errorf("%s: %w", reason, err)
		}
	}
}
