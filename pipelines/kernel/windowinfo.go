package kernel

import (
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/window"
)

// WindowInfo makes windowing visible as columns behind those of the input.
type WindowInfo struct {
	node   physical.Node
	window window.Assigner
	of     []func(window.Assigner, column.Time) column.Time // nil where the column is the input's
	source []int
	own    []column.Column
	out    column.Batch
}

var windowFields = map[string]func(window.Assigner, column.Time) column.Time{
	"timestamp":    func(_ window.Assigner, t column.Time) column.Time { return t },
	"window_start": func(a window.Assigner, t column.Time) column.Time { return a.Start(t) },
	"window_end":   func(a window.Assigner, t column.Time) column.Time { return a.End(a.Start(t)) },
}

// NewWindowInfo makes the kernel of a node that extracts windowing; in is the schema of its input.
func NewWindowInfo(n physical.Node, in column.Schema) (*WindowInfo, error) {
	cfg, err := Config[physical.WindowInfoConfig](n)
	if err != nil {
		return nil, err
	}
	w := &WindowInfo{node: n}
	if w.window, err = window.New(cfg.Window); err != nil {
		return nil, wrong(n, err)
	}
	of := map[string]string{}
	for _, f := range cfg.Fields {
		of[f.Name] = f.Of
	}
	for _, f := range n.Out.Fields {
		fn, source := windowFields[of[f.Name]], -1
		if fn == nil {
			if source = in.Index(f.Name); source < 0 || of[f.Name] != "" {
				return nil, wrong(n, fmt.Errorf("column %s is neither of the input nor one of timestamp, window_start, window_end (it is %q)", f.Name, of[f.Name]))
			}
		}
		w.of, w.source = append(w.of, fn), append(w.source, source)
	}
	w.own = make([]column.Column, len(w.of))
	w.out.Schema, w.out.Cols = &w.node.Out, make([]column.Column, len(w.of))
	return w, nil
}

// Apply returns b with the windowing as columns.
func (w *WindowInfo) Apply(b *column.Batch) (*column.Batch, error) {
	w.out.N, w.out.Sel, w.out.Times = b.N, b.Sel, b.Times
	for i, of := range w.of {
		if of == nil {
			w.out.Cols[i] = b.Cols[w.source[i]]
			continue
		}
		c := &w.own[i]
		c.Kind = w.out.Schema.Fields[i].Kind
		if cap(c.Ints) < b.N {
			c.Ints = make([]int64, b.N)
		}
		c.Ints = c.Ints[:b.N]
		if b.Sel == nil {
			for r := range b.N {
				c.Ints[r] = of(w.window, b.Times[r])
			}
		} else {
			for _, r := range b.Sel {
				c.Ints[r] = of(w.window, b.Times[r])
			}
		}
		w.out.Cols[i] = *c
	}
	return &w.out, nil
}
