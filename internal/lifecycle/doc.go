// Package lifecycle owns goroutines: whoever starts one waits for it, and the cause of a cancellation says why.
//
//	ctx, release := lifecycle.Signals(context.Background())
//	defer release()
//	group := lifecycle.NewGroup(ctx)
//	group.Go("agent link", func(ctx context.Context) error { return loop.Run(ctx) })
//	group.Go("reconciler", reconciler.Run)
//	return group.Wait() // the first failure, after all of them have returned
//
// It never starts a goroutine that nobody waits for, never recovers a panic (a program in an unknown state stops), never logs,
// and decides no time or chance in Backoff, which is a pure value.
package lifecycle
