package lifecycle

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/weir-project/weir/internal/fault"
)

// Interrupted is the cause with which Signals cancels its context.
type Interrupted struct{ Signal os.Signal }

// Error names the signal.
func (i Interrupted) Error() string { return fmt.Sprintf("interrupted by signal: %v", i.Signal) }

// Unwrap makes errors.Is(err, context.Canceled) true, as for every other cancellation.
func (i Interrupted) Unwrap() error { return context.Canceled }

// Signals returns a context that the first SIGINT or SIGTERM cancels with an Interrupted cause; the second ends the process
// with exit code 130, for a person who will not wait for an orderly end. release gives the signals back and must be called
// once; it waits for the goroutine behind it.
func Signals(ctx context.Context) (interrupted context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			select {
			case s := <-signals:
				if !first {
					os.Exit(fault.ExitInterrupted)
				}
				cancel(Interrupted{Signal: s})
			case <-quit:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(quit)
		<-done
		cancel(ErrStopped)
	}
}
