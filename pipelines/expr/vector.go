package expr

import (
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
)

// RowError is what an expression cannot compute for one row: the row may go to dead letters and the batch be evaluated without it.
type RowError struct {
	Row  int // in the batch
	Expr string
	Msg  string
}

func (e *RowError) Error() string {
	return fmt.Sprintf("evaluate expression %.200q: row %d: %s", e.Expr, e.Row, e.Msg)
}

// vector is one value a row. Where null is not nil, null[i] says that row i has none, and its value is garbage.
type vector struct {
	ints   []int64
	floats []float64
	bools  []bool
	spans  []column.Span
	buf    []byte
	null   []bool
}

func (v *vector) at(i int32) []byte {
	s := v.spans[i]
	return v.buf[s.Off : s.Off+s.Len]
}

// put makes what was appended to buf since off the value of row i.
func (v *vector) put(i int32, off int) {
	v.spans[i] = column.Span{Off: uint32(off), Len: uint32(len(v.buf) - off)}
}

func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

func (v *vector) resize(kind column.Kind, n int) {
	switch kind {
	case column.Int64, column.Timestamp:
		v.ints = sized(v.ints, n)
	case column.Float64:
		v.floats = sized(v.floats, n)
	case column.Bool:
		v.bools = sized(v.bools, n)
	case column.String, column.Bytes:
		v.spans, v.buf = sized(v.spans, n), v.buf[:0]
	}
}

// selection is the rows to compute, in order. A dense one is all rows 0 … len-1, so that a kernel can run without it.
type selection struct {
	rows  []int32
	dense bool
}

// machine is one evaluation over a batch.
type machine struct {
	cols []column.Column
	n    int
	text string
	all  []int32
}

func (m *machine) fail(row int32, format string, args ...any) error {
	return &RowError{Row: int(row), Expr: m.text, Msg: fmt.Sprintf(format, args...)}
}

func (m *machine) identity(n int) []int32 {
	for len(m.all) < n {
		m.all = append(m.all, int32(len(m.all)))
	}
	return m.all[:n]
}

// node computes its vector for the rows of a selection. The vector is the node's own until it is evaluated again.
type node interface {
	eval(m *machine, s selection) (*vector, error)
}

// fieldNode is an input column.
type fieldNode struct {
	col int
	out vector
}

func (f *fieldNode) eval(m *machine, _ selection) (*vector, error) {
	c := &m.cols[f.col]
	f.out = vector{ints: c.Ints, floats: c.Floats, bools: c.Bools, spans: c.Spans, buf: c.Buf}
	if len(c.Null) > 0 {
		f.out.null = c.Null
	}
	return &f.out, nil
}

// constNode is one value for every row.
type constNode struct {
	kind   column.Kind
	isNull bool
	i      int64
	f      float64
	b      bool
	s      string
	filled int
	out    vector
}

func (c *constNode) eval(m *machine, _ selection) (*vector, error) {
	if c.filled < m.n {
		c.fill(m.n)
	}
	return &c.out, nil
}

func (c *constNode) fill(n int) {
	c.filled = n
	c.out.resize(c.kind, n)
	c.out.buf = append(c.out.buf[:0], c.s...)
	for i := range c.out.ints {
		c.out.ints[i] = c.i
	}
	for i := range c.out.floats {
		c.out.floats[i] = c.f
	}
	for i := range c.out.bools {
		c.out.bools[i] = c.b
	}
	for i := range c.out.spans {
		c.out.spans[i] = column.Span{Len: uint32(len(c.s))}
	}
	if c.isNull {
		c.out.null = sized(c.out.null, n)
		for i := range c.out.null {
			c.out.null[i] = true
		}
	}
}

// kernel computes out from a and b (b is a where there is one operand) for the rows of s, none of which is null.
type kernel func(m *machine, s selection, a, b, out *vector) error

// strictNode is null where an operand is, and runs its kernel over the other rows only.
type strictNode struct {
	kind  column.Kind
	a, b  node // b is nil for one operand
	run   kernel
	out   vector
	nulls []bool
	rows  []int32
}

func (t *strictNode) eval(m *machine, s selection) (*vector, error) {
	a, err := t.a.eval(m, s)
	if err != nil {
		return nil, err
	}
	b := a
	if t.b != nil {
		if b, err = t.b.eval(m, s); err != nil {
			return nil, err
		}
	}
	t.out.resize(t.kind, m.n)
	t.out.null = nil
	if a.null != nil || b.null != nil {
		s = t.present(m, s, a, b)
	}
	if err := t.run(m, s, a, b, &t.out); err != nil {
		return nil, err
	}
	return &t.out, nil
}

// present marks the rows that are null and returns the others.
func (t *strictNode) present(m *machine, s selection, a, b *vector) selection {
	t.nulls, t.rows = sized(t.nulls, m.n), t.rows[:0]
	for _, i := range s.rows {
		null := a.null != nil && a.null[i] || b.null != nil && b.null[i]
		t.nulls[i] = null
		if !null {
			t.rows = append(t.rows, i)
		}
	}
	if len(t.rows) == len(s.rows) {
		return s
	}
	t.out.null = t.nulls
	return selection{rows: t.rows}
}

// isNullNode is x is None, or x is not None.
type isNullNode struct {
	a   node
	not bool
	out vector
}

func (t *isNullNode) eval(m *machine, s selection) (*vector, error) {
	a, err := t.a.eval(m, s)
	if err != nil {
		return nil, err
	}
	t.out.resize(column.Bool, m.n)
	for _, i := range s.rows {
		t.out.bools[i] = (a.null != nil && a.null[i]) != t.not
	}
	return &t.out, nil
}
