package beam

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/physical"
)

// chainSpec is a chain of nodes of which each reads the one before it. In is the schema of the first one's input, Readers how many nodes read the last.
type chainSpec struct {
	Nodes   []physical.Node `json:"nodes"`
	In      column.Schema   `json:"in"`
	Readers int             `json:"readers"`
}

// chainFn runs a chain of kernels over each batch. The spec is bytes since it travels in Beam's graph.
type chainFn struct {
	Spec []byte

	spec  chainSpec
	links []link
	in    *column.Batch
}

// link is one kernel of a chain; nil passes on.
type link struct {
	op     physical.Op
	kernel interface {
		Apply(*column.Batch) (*column.Batch, error)
	}
}

// Setup is called by Beam, once for each instance.
func (f *chainFn) Setup() error {
	if err := json.Unmarshal(f.Spec, &f.spec); err != nil {
		return fmt.Errorf("read a chain: %w", err)
	}
	in := f.spec.In
	f.in, f.links = column.NewBatch(&f.spec.In, batchRows), nil
	for _, n := range f.spec.Nodes {
		l, err := newLink(n, in)
		if err != nil {
			return err
		}
		f.links = append(f.links, l)
		in = n.Out
	}
	return nil
}

func newLink(n physical.Node, in column.Schema) (link, error) {
	l := link{op: n.Op}
	var err error
	switch n.Op {
	case physical.OpMap:
		l.kernel, err = kernel.NewMap(n, in)
	case physical.OpFilter:
		l.kernel, err = kernel.NewFilter(n, in)
	case physical.OpTime:
		l.kernel, err = kernel.NewTime(n, in)
	case physical.OpWindowInfo:
		l.kernel, err = kernel.NewWindowInfo(n, in)
	}
	return l, err
}

// ProcessElement is called by Beam for each batch.
func (f *chainFn) ProcessElement(ctx context.Context, element []byte, emit func([]byte)) error {
	flags, err := decode(f.in, element)
	if err != nil {
		return err
	}
	b := f.in
	for _, l := range f.links {
		if l.kernel == nil {
			continue
		}
		before := b.Len()
		if b, err = l.kernel.Apply(b); err != nil {
			return err
		}
		if l.op == physical.OpFilter && flags&flagDerived == 0 {
			count(ctx, filtered, before-b.Len())
		}
		if b.Len() == 0 {
			return nil
		}
	}
	passed(ctx, flags, b.Len(), f.spec.Readers)
	emit(encode(b, flags))
	return nil
}

// passed counts the rows that a node hands to its readers (I2): none of them takes the rows out, several multiply them.
func passed(ctx context.Context, flags byte, rows, readers int) {
	switch {
	case flags&flagDerived != 0:
	case readers == 0:
		count(ctx, filtered, rows)
	default:
		count(ctx, copied, rows*(readers-1))
	}
}

// The counters of checkpoint.Counters, as Beam's: committed ones are those of bundles that succeeded.
var (
	read     = beam.NewCounter("weir", "in")
	out      = beam.NewCounter("weir", "out")
	filtered = beam.NewCounter("weir", "filtered")
	absorbed = beam.NewCounter("weir", "absorbed")
	emitted  = beam.NewCounter("weir", "emitted")
	copied   = beam.NewCounter("weir", "copied")
	written  = beam.NewCounter("weir", "written")
)

func count(ctx context.Context, c beam.Counter, n int) {
	if n != 0 {
		c.Inc(ctx, int64(n))
	}
}
