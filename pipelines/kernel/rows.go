package kernel

import (
	"errors"
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/expr"
	"github.com/weir-project/weir/pipelines/physical"
)

// Map computes the columns of its output. Columns that only change their name or place are shared with the input.
type Map struct {
	node   physical.Node
	fields []computed
	out    column.Batch
}

// NewMap makes the kernel of a map node; in is the schema of its input.
func NewMap(n physical.Node, in column.Schema) (*Map, error) {
	cfg, err := Config[physical.MapConfig](n)
	if err != nil {
		return nil, err
	}
	m := &Map{node: n}
	m.out.Schema = &m.node.Out
	for _, f := range cfg.Fields {
		c, err := compute(f.Expr, f.Language, f.Kind, in)
		if err != nil {
			return nil, wrong(n, fmt.Errorf("field %s: %w", f.Name, err))
		}
		m.fields = append(m.fields, c)
	}
	m.out.Cols = make([]column.Column, len(m.fields))
	return m, nil
}

// Apply returns the mapped batch.
func (m *Map) Apply(b *column.Batch) (*column.Batch, error) {
	m.out.N, m.out.Sel, m.out.Times = b.N, b.Sel, b.Times
	for i := range m.fields {
		c, err := m.fields[i].eval(b)
		if err != nil {
			return nil, wrong(m.node, err)
		}
		m.out.Cols[i] = *c
	}
	return &m.out, nil
}

// Filter narrows the selection.
type Filter struct {
	node    physical.Node
	program *expr.Program
	sel     []int32
	out     column.Batch
}

// NewFilter makes the kernel of a filter node; in is the schema of its input.
func NewFilter(n physical.Node, in column.Schema) (*Filter, error) {
	cfg, err := Config[physical.FilterConfig](n)
	if err != nil {
		return nil, err
	}
	p, err := expr.Compile(cfg.Keep, cfg.Language, in)
	if err != nil {
		return nil, wrong(n, fmt.Errorf("keep %q: %w", cfg.Keep, err))
	}
	if p.Kind() != column.Bool {
		return nil, wrong(n, fmt.Errorf("keep %q makes values of type %s and not boolean", cfg.Keep, p.Kind()))
	}
	return &Filter{node: n, program: p}, nil
}

// Apply returns b with the rows that stay selected; there may be none.
func (f *Filter) Apply(b *column.Batch) (*column.Batch, error) {
	var err error
	if f.sel, err = f.program.Filter(b, f.sel[:0]); err != nil {
		return nil, wrong(f.node, err)
	}
	f.out = *b
	if f.out.Sel = f.sel; f.sel == nil {
		f.out.Sel = []int32{} // nil would select all
	}
	return &f.out, nil
}

// Time assigns event times.
type Time struct {
	node   physical.Node
	at     computed
	times  []column.Time
	latest column.Time
	out    column.Batch
}

// NewTime makes the kernel of a node that assigns event times; in is the schema of its input.
func NewTime(n physical.Node, in column.Schema) (*Time, error) {
	cfg, err := Config[physical.TimeConfig](n)
	if err != nil {
		return nil, err
	}
	c, err := compute(cfg.Timestamp, cfg.Language, column.Invalid, in)
	if err != nil {
		return nil, wrong(n, err)
	}
	switch c.kind {
	case column.Int64, column.Float64, column.Timestamp:
	default:
		return nil, wrong(n, fmt.Errorf("timestamp %q is of type %s; it must be a timestamp, or a number of seconds since 1970", cfg.Timestamp, c.kind))
	}
	return &Time{node: n, at: c}, nil
}

// Apply returns b with the event times that were assigned.
func (t *Time) Apply(b *column.Batch) (*column.Batch, error) {
	c, err := t.at.eval(b)
	if err == nil {
		err = t.assign(b, c)
	}
	if err != nil {
		return nil, wrong(t.node, err)
	}
	t.out = *b
	t.out.Times = t.times
	return &t.out, nil
}

// Latest is the latest time of the last Apply, MinTime if it had no rows.
func (t *Time) Latest() column.Time { return t.latest }

var errNoTime = errors.New("the timestamp of a row is null; filter such rows out before")

func (t *Time) assign(b *column.Batch, c *column.Column) error {
	if cap(t.times) < b.N {
		t.times = make([]column.Time, b.N)
	}
	t.times, t.latest = t.times[:b.N], column.MinTime
	for i := range b.Len() {
		row := i
		if b.Sel != nil {
			row = int(b.Sel[i])
		}
		if c.IsNull(row) {
			return errNoTime
		}
		at, ok := eventTime(c, row)
		if !ok {
			return fmt.Errorf("the timestamp of a row, %v, is beyond event time; is it in seconds?", valueAt(c, row))
		}
		t.times[row] = at
		t.latest = max(t.latest, at)
	}
	return nil
}

// maxSeconds keeps microseconds within an int64, and away from the ends that mean "before all" and "after all".
const maxSeconds = 9_000_000_000_000

func eventTime(c *column.Column, row int) (column.Time, bool) {
	switch c.Kind {
	case column.Timestamp:
		return c.Ints[row], true
	case column.Int64:
		s := c.Ints[row]
		return s * 1e6, s >= -maxSeconds && s <= maxSeconds
	}
	s := c.Floats[row]
	return column.Time(s * 1e6), s >= -maxSeconds && s <= maxSeconds
}
