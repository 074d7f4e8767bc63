package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/physical"
)

// lookup joins rows to a side input (ADR 9). The side input is a flow of its own, run from its sources to its end before the slot reads its
// first row, at every recovery: it has no positions, no state and no part in the commit.
type lookup struct {
	side   *flow
	kernel *kernel.Lookup
}

func newLookup(v *vertex, operator func(*vertex) (operator, error)) (*lookup, error) {
	cfg, err := kernel.Config[physical.LookupConfig](v.spec)
	if err != nil {
		return nil, err
	}
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	l := &lookup{}
	if l.kernel, err = kernel.NewLookup(v.spec, in, newSeed()); err != nil {
		return nil, err
	}
	if l.side, err = wire(cfg.Side); err != nil {
		return nil, v.fail(fmt.Errorf("side input: %w", err))
	}
	for _, n := range l.side.nodes {
		if n.op, err = operator(n); err != nil {
			return nil, err
		}
	}
	last := l.side.nodes[len(l.side.nodes)-1]
	last.outs = append(last.outs, &vertex{flow: l.side, op: gather{l.kernel}, spec: v.spec})
	return l, nil
}

// gather is the end of a side input: rows go into the table.
type gather struct{ side *kernel.Lookup }

func (g gather) process(v *vertex, b *column.Batch, _ pass) error { return g.side.Add(b) }

// load runs the side input to its end. connect opens a source.
func (l *lookup) load(ctx context.Context, v *vertex, connect func(context.Context, *source) error, clock Clock) error {
	for _, n := range l.side.nodes { // what rows will be looked up in, before the rows
		if op, ok := n.op.(*lookup); ok {
			if err := op.load(ctx, n, connect, clock); err != nil {
				return err
			}
		}
	}
	for _, n := range l.side.nodes {
		if op, ok := n.op.(*source); ok {
			if err := loadSource(ctx, n, op, connect); err != nil {
				return v.fail(fmt.Errorf("read side input %s: %w", n.spec.Path, err))
			}
		}
	}
	if err := l.side.advance(clock.now()); err != nil { // no splits: all has ended, and what combines fires
		return v.fail(fmt.Errorf("side input: %w", err))
	}
	return nil
}

// loadSource pushes all rows of a source, split after split.
func loadSource(ctx context.Context, n *vertex, s *source, connect func(context.Context, *source) error) (err error) {
	if err := connect(ctx, s); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.source.Close()) }()
	splits, err := s.source.Splits(ctx)
	if err != nil {
		return fmt.Errorf("list the splits: %w", err)
	}
	for _, sp := range splits {
		if err := loadSplit(ctx, n, s, sp); err != nil {
			return fmt.Errorf("split %s: %w", sp.ID, err)
		}
	}
	return nil
}

func loadSplit(ctx context.Context, n *vertex, s *source, sp connectors.Split) (err error) {
	r, err := s.source.Open(ctx, sp, checkpoint.Position{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b := column.NewBatch(&s.cfg.Schema, BatchRows)
	for {
		b.Reset()
		_, err := r.Read(ctx, b, BatchRows)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for len(b.Times) < b.N {
			b.Times = append(b.Times, column.MinTime)
		}
		if perr := n.emit(b, pass{split: -1, derived: true}); perr != nil {
			return perr
		}
		if err != nil {
			return nil
		}
	}
}

func (l *lookup) process(v *vertex, b *column.Batch, p pass) error {
	dropped, copied, err := l.kernel.Apply(b, BatchRows, func(out *column.Batch) error { return v.emit(out, p) })
	if !p.derived {
		v.flow.counters.Filtered += int64(dropped)
		v.flow.counters.Copied += int64(copied)
	}
	return err
}

// connect opens a source where there is no channel's watermark to follow.
func (a *attempt) connect(ctx context.Context, s *source) (err error) {
	if s.channel == nil && s.cfg.Connector == "create" {
		s.source, err = NewCreateSource(s.cfg)
	} else {
		s.source, err = a.cfg.Connections.Source(ctx, s.cfg, s.channel)
	}
	if err != nil {
		return fmt.Errorf("open the source: %w", err)
	}
	return nil
}

// loadSides reads the side inputs.
func (a *attempt) loadSides(ctx context.Context) error {
	for _, v := range a.flow.nodes {
		if l, ok := v.op.(*lookup); ok {
			if err := l.load(ctx, v, a.connect, a.cfg.Clock); err != nil {
				return err
			}
		}
	}
	return nil
}
