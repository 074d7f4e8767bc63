package beam

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/physical"
)

// sinkFn gives all rows of a node that makes one whole of them (a file, a table, a comparison) to it. Beam groups them under one key, so a bundle that is
// repeated begins anew, and the last success counts.
type sinkFn struct {
	Node string
	Last bool // nothing reads the node: its rows leave the pipeline here
}

// ProcessElement is called by Beam once, with all batches.
func (f *sinkFn) ProcessElement(ctx context.Context, _ []byte, batches func(*[]byte) bool) error {
	s, err := running.sink(f.Node)
	if err != nil {
		return err
	}
	w, err := s.begin(ctx)
	if err != nil {
		return err
	}
	b := column.NewBatch(&s.in, batchRows)
	var element []byte
	for batches(&element) {
		flags, err := decode(b, element)
		if err == nil && b.Len() > 0 {
			err = w.add(b)
		}
		if err != nil {
			return errors.Join(err, w.close())
		}
		if f.Last {
			count(ctx, written, b.Len())
			if flags&flagDerived == 0 {
				count(ctx, out, b.Len())
			}
		}
	}
	r, err := w.finish(ctx)
	if err = errors.Join(err, w.close()); err != nil {
		return fmt.Errorf("%s: %w", f.Node, err)
	}
	running.finished(f.Node, r)
	return nil
}

// whole is one attempt to make a sink's whole.
type whole interface {
	add(b *column.Batch) error
	finish(ctx context.Context) (sinkResult, error)
	close() error
}

// sinkResult is what a sink has made.
type sinkResult struct {
	entries  [][]byte
	printed  string
	asserted *kernel.AssertionError
}

// sink is a node that writes, prints or compares.
type sink struct {
	node physical.Node
	in   column.Schema
	open func(ctx context.Context) (connectors.Outbox, error) // of a write node
}

func (s *sink) begin(ctx context.Context) (whole, error) {
	switch s.node.Op {
	case physical.OpAssert:
		a, err := kernel.NewAssertion(s.node)
		return &compared{a}, err
	case physical.OpLog:
		p, err := kernel.NewPrinter(s.node, s.in)
		return &printed{printer: p}, err
	}
	if s.open == nil {
		return discarded{}, nil
	}
	o, err := s.open(ctx)
	return &staged{outbox: o}, err
}

type compared struct{ a *kernel.Assertion }

func (c *compared) add(b *column.Batch) error { return c.a.Add(b) }
func (c *compared) close() error              { return nil }
func (c *compared) finish(context.Context) (sinkResult, error) {
	var r sinkResult
	err := c.a.Check()
	if errors.As(err, &r.asserted) { // a result, not a failure: running it again cannot help
		return r, nil
	}
	return r, err
}

type printed struct {
	printer *kernel.Printer
	lines   []byte
}

func (p *printed) add(b *column.Batch) error {
	if p.printer.Whole() {
		p.printer.Add(b)
		return nil
	}
	var err error
	b.Rows(func(row int) {
		if err == nil {
			p.lines, err = p.printer.AppendRow(p.lines, b, row)
		}
	})
	return err
}
func (p *printed) close() error { return nil }
func (p *printed) finish(context.Context) (sinkResult, error) {
	if p.printer.Whole() {
		return sinkResult{printed: p.printer.Table()}, nil
	}
	return sinkResult{printed: string(p.lines)}, nil
}

type staged struct {
	outbox  connectors.Outbox
	entries [][]byte
}

var errTime = errors.New("its sink asks for write timestamps, which a stage on Beam does not have")

func (s *staged) add(b *column.Batch) error {
	asked := false
	entries, err := s.outbox.Stage(b, func() int64 { asked = true; return 0 })
	if err == nil && asked {
		err = errTime
	}
	s.entries = append(s.entries, entries...)
	return err
}
func (s *staged) close() error { return s.outbox.Close() }
func (s *staged) finish(ctx context.Context) (sinkResult, error) {
	entries, err := s.outbox.Finish(ctx)
	return sinkResult{entries: append(s.entries, entries...)}, err
}

type discarded struct{}

func (discarded) add(*column.Batch) error                    { return nil }
func (discarded) close() error                               { return nil }
func (discarded) finish(context.Context) (sinkResult, error) { return sinkResult{}, nil }
