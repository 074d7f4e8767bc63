package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/watermark"
)

// flow is the running graph of a fragment. Batches are pushed through it: a node is called with a batch, works on it and calls the nodes behind it
// before it returns. A batch is read-only to all of them, so a fan-out shares it; a filter puts its own selection into a copy of the header.
type flow struct {
	nodes    []*vertex // in topological order
	counters checkpoint.Counters
	scratch  []watermark.Input
	now      time.Time // of the batch or watermark that is being processed
}

// vertex is one node with its place in the graph.
type vertex struct {
	flow *flow
	spec physical.Node
	op   operator
	ins  []*vertex
	outs []*vertex
	mark column.Time // output watermark; never goes back
	idle bool
}

// pass is what travels with a batch beside its rows.
type pass struct {
	split   int  // index of the split that the rows come from; -1 behind a combine
	derived bool // the rows left a combine
}

// operator is what a vertex does with rows.
type operator interface {
	// process works on b, which it must not change, and hands what comes out to v.emit.
	process(v *vertex, b *column.Batch, p pass) error
}

// marker is an operator that has an own opinion about its watermark. in is the least of the inputs.
type marker interface {
	advance(v *vertex, in column.Time, idle bool) (column.Time, bool, error)
}

// finisher is an operator that acts on the end of a bounded input, before the last commit.
type finisher interface {
	finish(ctx context.Context) error
}

// shower is an operator that prints after the last commit.
type shower interface{ show() error }

// emit counts what comes out of v and pushes it on.
func (v *vertex) emit(b *column.Batch, p pass) error {
	n := int64(b.Len())
	if n == 0 {
		return nil
	}
	if !p.derived {
		if len(v.outs) == 0 {
			v.flow.counters.Filtered += n // nobody reads it
		} else {
			v.flow.counters.Copied += n * int64(len(v.outs)-1)
		}
	}
	for _, out := range v.outs {
		if err := out.op.process(out, b, p); err != nil {
			return err
		}
	}
	return nil
}

// advance brings every node's watermark up to date, firing windows on the way.
func (f *flow) advance(now time.Time) error {
	f.now = now
	for _, v := range f.nodes {
		in, idle := column.MinTime, false
		if len(v.ins) > 0 {
			f.scratch = f.scratch[:0]
			for _, i := range v.ins {
				f.scratch = append(f.scratch, watermark.Input{Mark: i.mark, Idle: i.idle})
			}
			in, idle = watermark.Min(f.scratch, column.MinTime)
		}
		if m, ok := v.op.(marker); ok {
			var err error
			if in, idle, err = m.advance(v, in, idle); err != nil {
				return v.fail(err)
			}
		}
		v.mark, v.idle = max(v.mark, in), idle
	}
	return nil
}

// watermark is that of the slot: the least of the nodes that nothing reads.
func (f *flow) watermark() column.Time {
	mark := column.MaxTime
	for _, v := range f.nodes {
		if len(v.outs) == 0 {
			mark = min(mark, v.mark)
		}
	}
	return mark
}

// conserved checks I2.
func (f *flow) conserved() error {
	c := f.counters
	if c.In+c.Copied != c.Out+c.Filtered+c.Late+c.DeadLettered+c.Absorbed {
		return &conservationError{c}
	}
	return nil
}

// conservationError is a violation of I2: rows were lost or made. It stops the slot, since going on would commit a wrong result.
type conservationError struct{ c checkpoint.Counters }

func (e *conservationError) Error() string {
	c := e.c
	return fmt.Sprintf("conservation of rows (I2) is violated: in %d + copied %d is not out %d + filtered %d + late %d + dead-lettered %d + absorbed %d; this is a defect of the engine, nothing was committed",
		c.In, c.Copied, c.Out, c.Filtered, c.Late, c.DeadLettered, c.Absorbed)
}

func (v *vertex) fail(err error) error {
	return fmt.Errorf("%s: %w", v.spec.Path, err)
}

// wire makes the vertices of a fragment and connects them, without operators.
func wire(nodes []physical.Node) (*flow, error) {
	f := &flow{}
	byPath := map[string]*vertex{}
	for _, n := range nodes {
		v := &vertex{flow: f, spec: n, mark: column.MinTime}
		for _, name := range n.Inputs {
			in := byPath[name]
			if in == nil {
				if i := strings.LastIndexByte(name, '.'); i > 0 {
					in = byPath[name[:i]]
				}
			}
			if in == nil {
				return nil, fmt.Errorf("%s: input %q is not a node before it in the fragment", n.Path, name)
			}
			v.ins = append(v.ins, in)
			in.outs = append(in.outs, v)
		}
		if byPath[n.Path] != nil {
			return nil, fmt.Errorf("%s: two nodes of the fragment have this path", n.Path)
		}
		byPath[n.Path] = v
		f.nodes = append(f.nodes, v)
	}
	return f, nil
}

// input is the schema of what comes into a vertex: the first input's (all inputs of a flatten have one).
func (v *vertex) input() (column.Schema, error) {
	if len(v.ins) == 0 {
		return column.Schema{}, fmt.Errorf("%s: %s has no input", v.spec.Path, v.spec.Op)
	}
	return v.ins[0].spec.Out, nil
}
