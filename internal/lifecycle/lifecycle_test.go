package lifecycle_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/lifecycle"
)

var errBoom = errors.New("boom")

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestTheFirstFailureEndsTheGroup(t *testing.T) {
	g := lifecycle.NewGroup(t.Context())
	g.Go("patient", untilDone)
	g.Go("broken", func(context.Context) error { return errBoom })
	err := g.Wait()
	if !errors.Is(err, errBoom) || err.Error() != "broken: boom" {
		t.Errorf("got %v", err)
	}
	if context.Cause(g.Context()) != err {
		t.Errorf("the others were told %v", context.Cause(g.Context()))
	}
	if g.Go("late", untilDone) {
		t.Error("a group that failed started a member")
	}
}

func TestStopWaitsForAllTellsWhyAndMayBeRepeated(t *testing.T) {
	g := lifecycle.NewGroup(t.Context())
	why := errors.New("why")
	var ended atomic.Int32
	for i := range 8 {
		g.Go(fmt.Sprint("member ", i), func(ctx context.Context) error {
			err := untilDone(ctx)
			if err != why {
				t.Errorf("told %v", err)
			}
			ended.Add(1)
			if i == 0 {
				return ctx.Err() // the plain context.Canceled is an ending too
			}
			return fmt.Errorf("stopped: %w", err)
		})
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := g.Stop(why); err != nil {
				t.Errorf("stopped with %v", err)
			}
			if n := ended.Load(); n != 8 {
				t.Errorf("stopped while only %d of 8 had ended", n)
			}
		})
	}
	wg.Wait()
	if g.Go("late", untilDone) || g.Stop(nil) != nil {
		t.Error("a stopped group lives")
	}
}

func TestAFailureWhileStoppingIsToldStill(t *testing.T) {
	g := lifecycle.NewGroup(t.Context())
	g.Go("careless", func(ctx context.Context) error { <-ctx.Done(); return errBoom })
	if err := g.Stop(nil); !errors.Is(err, errBoom) {
		t.Errorf("got %v", err)
	}
}

func TestAGroupEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	g := lifecycle.NewGroup(ctx)
	g.Go("member", untilDone)
	cancel(errBoom)
	if err := g.Wait(); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestBackoffGrowsToItsMaximum(t *testing.T) {
	b := lifecycle.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second, Factor: 3, Jitter: 0.5}
	for attempt, want := range map[int]time.Duration{-1: 100, 0: 100, 1: 300, 2: 900, 3: 2000, 1000: 2000} {
		if got := b.Next(attempt, 0); got != want*time.Millisecond {
			t.Errorf("attempt %d: %s, want %d ms", attempt, got, want)
		}
	}
	if got := b.Next(3, 0.5); got != 1500*time.Millisecond {
		t.Errorf("half the chance: %s", got)
	}
	if got := (lifecycle.Backoff{}).Next(3, 0.5); got != 0 {
		t.Errorf("the zero value waits %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := lifecycle.Backoff{
			Min:    time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "min")),
			Max:    time.Duration(rapid.Int64Range(int64(time.Hour), int64(time.Hour)*1000).Draw(t, "max")),
			Factor: rapid.Float64Range(1, 10).Draw(t, "factor"), Jitter: rapid.Float64Range(0, 1).Draw(t, "jitter"),
		}
		n, rnd := rapid.IntRange(0, 1<<30).Draw(t, "n"), rapid.Float64Range(0, 1).Draw(t, "rnd")
		if got := b.Next(n, rnd); got < 0 || got > b.Max {
			t.Fatalf("waits %s, beyond %s", got, b.Max)
		}
		if b.Next(n, 0) > b.Next(n+1, 0) {
			t.Fatal("a later wait is shorter")
		}
	})
}

func TestPollAsksUntilDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, asked := time.Now(), 0
		wait := lifecycle.Backoff{Min: time.Second, Max: 3 * time.Second}
		err := lifecycle.Poll(t.Context(), wait, func(context.Context) (bool, string, error) {
			asked++
			return asked == 4, "not yet", nil
		})
		if took := time.Since(began); err != nil || took != 6*time.Second {
			t.Errorf("took %s, %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err = lifecycle.Poll(ctx, wait, func(context.Context) (bool, string, error) { return false, "broker 2 is down", nil })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "broker 2 is down: ") || fault.ExitCode(err) != fault.ExitTimedOut {
			t.Errorf("got %v", err)
		}
		err = lifecycle.Poll(t.Context(), wait, func(context.Context) (bool, string, error) { return false, "", errBoom })
		if err != errBoom {
			t.Errorf("got %v", err)
		}
	})
}

const childMode = "WEIR_LIFECYCLE_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(childMode) == "" {
		os.Exit(m.Run())
	}
	ctx, release := lifecycle.Signals(context.Background())
	fmt.Println("ready")
	<-ctx.Done()
	err := context.Cause(ctx)
	fmt.Println(err)
	if os.Getenv(childMode) == "stubborn" {
		select {}
	}
	release()
	os.Exit(fault.ExitCode(fmt.Errorf("apply: %w", err)))
}

func TestTheFirstSignalCancelsTheSecondEnds(t *testing.T) {
	for _, mode := range []string{"orderly", "stubborn"} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(mode+" "+sig.String(), func(t *testing.T) {
				child := exec.CommandContext(t.Context(), os.Args[0])
				child.Env = append(os.Environ(), childMode+"="+mode)
				out, err := child.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := child.Start(); err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewScanner(out)
				send := func(want string) {
					if !lines.Scan() || lines.Text() != want {
						t.Errorf("child says %q, want %q", lines.Text(), want)
					}
					if err := child.Process.Signal(sig); err != nil && mode == "stubborn" {
						t.Error(err)
					}
				}
				send("ready")
				if mode == "stubborn" {
					send("interrupted by signal: " + sig.String())
				}
				var exit *exec.ExitError
				if err := child.Wait(); !errors.As(err, &exit) || exit.ExitCode() != fault.ExitInterrupted {
					t.Errorf("ended with %v", err)
				}
			})
		}
	}
}

func TestReleaseGivesTheSignalsBack(t *testing.T) {
	ctx, release := lifecycle.Signals(t.Context())
	if ctx.Err() != nil {
		t.Fatal("cancelled without a signal")
	}
	release()
	if context.Cause(ctx) != lifecycle.ErrStopped {
		t.Errorf("cause %v", context.Cause(ctx))
	}
}
