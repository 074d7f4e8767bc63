package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/weir-project/weir/pipelines/physical"
)

// Elsewhere is what Connections also are where stages may name another engine: it runs a bounded fragment as a whole, in a process of its own, and returns
// what that staged. It blocks until the end, and returns early when ctx ends; it leaves no process behind.
type Elsewhere interface {
	RunJob(ctx context.Context, job physical.Job) (physical.JobResult, error)
}

// runJob passes a job through connections that wrap others.
func runJob(ctx context.Context, c Connections, job physical.Job) (physical.JobResult, error) {
	if e, ok := c.(Elsewhere); ok {
		return e.RunJob(ctx, job)
	}
	return physical.JobResult{}, fmt.Errorf("run on another engine: this process starts none")
}

// foreign reports whether another engine runs the fragment.
func (c *SlotConfig) foreign() bool { return c.Engine != "" && c.Engine != physical.EngineNative }

// elsewhere has another engine do the work of the whole input, and commits what it staged, at once: the slot is taken over, fenced, committed and applied
// as any other, so what holds for a native sink holds here. Until the commit nothing is visible, and whoever takes the slot over begins anew.
func (a *attempt) elsewhere(ctx context.Context) error {
	job := physical.Job{Version: physical.JobVersion, Runner: a.cfg.Runner, Slot: a.cfg.Slot, Fragment: a.cfg.Fragment, Channels: a.cfg.Channels, Splits: a.cfg.Splits}
	res, err := a.await(ctx, job)
	if err != nil {
		return err
	}
	if res.Asserted != nil {
		return &AssertionError{Node: res.Asserted.Node, Missing: res.Asserted.Missing, Unexpected: res.Asserted.Unexpected}
	}
	if res.Version != physical.JobVersion {
		return fmt.Errorf("run on %s: its result has version %d and not %d; build both programs anew", a.cfg.Engine, res.Version, physical.JobVersion)
	}
	for _, e := range res.Outbox {
		s := a.sinks[e.Node]
		if s == nil {
			return fmt.Errorf("run on %s: it staged for %s, which is no sink of the fragment", a.cfg.Engine, e.Node)
		}
		if err := s.add([][]byte{e.Entry}); err != nil {
			return err
		}
	}
	a.flow.counters, a.moved = res.Counters, true
	if err := a.flow.advance(a.cfg.Clock.now()); err != nil { // no splits were opened, so this is the end of event time
		return err
	}
	if err := a.commit(ctx, last); err != nil {
		return err
	}
	if err := a.show(res.Printed); err != nil {
		return err
	}
	return a.settleEnded(ctx)
}

// await runs the job until it is done or the slot is stopped.
func (a *attempt) await(ctx context.Context, job physical.Job) (physical.JobResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.wg.Go(func() {
		select {
		case <-a.slot.stop:
			cancel(errStopped)
		case <-ctx.Done():
		}
	})
	res, err := runJob(ctx, a.cfg.Connections, job)
	if err != nil && errors.Is(context.Cause(ctx), errStopped) {
		return res, errStopped
	}
	return res, err
}

// show prints what log nodes of another engine printed.
func (a *attempt) show(text string) error {
	if text == "" {
		return nil
	}
	if a.cfg.Out == nil {
		for line := range strings.Lines(text) {
			a.cfg.Log.Info("row", "row", strings.TrimSuffix(line, "\n"))
		}
		return nil
	}
	if _, err := io.WriteString(a.cfg.Out, text); err != nil {
		return fmt.Errorf("print rows: %w", err)
	}
	return nil
}
