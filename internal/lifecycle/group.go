package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrStopped is the cause that the members of a group see after Stop(nil).
var ErrStopped = errors.New("stopped")

// Group runs named functions that live and end together: the first that fails cancels the others, with its error as cause.
type Group struct {
	ctx    context.Context //nolint:containedctx // the group is what ends it
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards stopped and first; never held while a member runs
	stopped bool
	first   error
}

// NewGroup makes a group whose members end at the latest with ctx. Somebody must call Wait or Stop.
func NewGroup(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

// Context is the one that every member gets.
func (g *Group) Context() context.Context { return g.ctx }

// Go starts run under a name that its error will carry, and reports whether it did: a group that was stopped or has failed
// starts nothing any more. run returns soon after its ctx ends; what it returns then is an ending, not a failure.
func (g *Group) Go(name string, run func(context.Context) error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return false
	}
	g.wg.Go(func() { g.ended(name, run(g.ctx)) })
	return true
}

func (g *Group) ended(name string, err error) {
	if err == nil {
		return
	}
	if g.ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(g.ctx))) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	if g.first == nil {
		g.first = fmt.Errorf("%s: %w", name, err)
		g.cancel(g.first)
	}
}

// Stop cancels the members with the cause (nil means ErrStopped), waits for all of them and returns the first failure, nil if
// there was none. It may be called again, and from several goroutines; only the first cause counts. It must not be called by
// a member, which it would wait for.
func (g *Group) Stop(cause error) error {
	if cause == nil {
		cause = ErrStopped
	}
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.cancel(cause)
	return g.Wait()
}

// Wait waits until every member has returned, and returns the first failure. When the group's context was ended from outside
// before all were done, and nothing failed, it returns nil: the caller who ended it knows.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	g.cancel(ErrStopped) // releases the context; a no-op when it has ended already
	return g.first
}
