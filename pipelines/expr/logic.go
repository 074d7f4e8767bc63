package expr

import "github.com/weir-project/weir/pipelines/column"

// logicNode is and/or of three values. Its right side is evaluated only where the left one does not decide.
type logicNode struct {
	a, b   node
	decide bool // the value of the left side that decides: true for or, false for and
	out    vector
	nulls  []bool
	rows   []int32
}

func (t *logicNode) eval(m *machine, s selection) (*vector, error) {
	a, err := t.a.eval(m, s)
	if err != nil {
		return nil, err
	}
	t.out.resize(column.Bool, m.n)
	t.out.null, t.rows = nil, t.rows[:0]
	for _, i := range s.rows {
		t.out.bools[i] = t.decide
		if a.bools[i] != t.decide || a.null != nil && a.null[i] {
			t.rows = append(t.rows, i)
		}
	}
	if len(t.rows) == 0 {
		return &t.out, nil
	}
	open := selection{rows: t.rows, dense: s.dense && len(t.rows) == len(s.rows)}
	b, err := t.b.eval(m, open)
	if err != nil {
		return nil, err
	}
	if a.null == nil && b.null == nil {
		for _, i := range t.rows {
			t.out.bools[i] = b.bools[i]
		}
		return &t.out, nil
	}
	t.merge(m, a, b, s)
	return &t.out, nil
}

// merge fills the open rows where one side may be null: they are null unless the right side decides, or both sides are there.
func (t *logicNode) merge(m *machine, a, b *vector, s selection) {
	t.nulls = sized(t.nulls, m.n)
	for _, i := range s.rows {
		t.nulls[i] = false
	}
	for _, i := range t.rows {
		aNull, bNull := a.null != nil && a.null[i], b.null != nil && b.null[i]
		decided := !bNull && b.bools[i] == t.decide
		t.nulls[i] = !decided && (aNull || bNull)
		t.out.bools[i] = t.decide == decided
	}
	t.out.null = t.nulls
}

// ifNode evaluates each branch for the rows that take it.
type ifNode struct {
	kind             column.Kind
	cond, then, els  node
	out              vector
	nulls            []bool
	thenRows, elRows []int32
}

func (t *ifNode) eval(m *machine, s selection) (*vector, error) {
	c, err := t.cond.eval(m, s)
	if err != nil {
		return nil, err
	}
	t.thenRows, t.elRows = t.thenRows[:0], t.elRows[:0]
	for _, i := range s.rows {
		if c.bools[i] && (c.null == nil || !c.null[i]) {
			t.thenRows = append(t.thenRows, i)
		} else {
			t.elRows = append(t.elRows, i)
		}
	}
	t.out.resize(t.kind, m.n)
	t.out.null = nil
	t.nulls = sized(t.nulls, m.n)
	for _, i := range s.rows {
		t.nulls[i] = false
	}
	if err := t.branch(m, t.then, t.thenRows, s); err != nil {
		return nil, err
	}
	if err := t.branch(m, t.els, t.elRows, s); err != nil {
		return nil, err
	}
	return &t.out, nil
}

// branch copies the values of one branch: its vector may be that of the other branch, or a buffer of the input.
func (t *ifNode) branch(m *machine, n node, rows []int32, s selection) error {
	if len(rows) == 0 {
		return nil
	}
	v, err := n.eval(m, selection{rows: rows, dense: s.dense && len(rows) == len(s.rows)})
	if err != nil {
		return err
	}
	if v.null != nil {
		t.out.null = t.nulls
		for _, i := range rows {
			t.nulls[i] = v.null[i]
		}
	}
	switch t.kind {
	case column.Int64, column.Timestamp:
		copyRows(t.out.ints, v.ints, rows)
	case column.Float64:
		copyRows(t.out.floats, v.floats, rows)
	case column.Bool:
		copyRows(t.out.bools, v.bools, rows)
	default:
		for _, i := range rows {
			off := len(t.out.buf)
			if v.null == nil || !v.null[i] {
				t.out.buf = append(t.out.buf, v.at(i)...)
			}
			t.out.put(i, off)
		}
	}
	return nil
}

func copyRows[T any](dst, src []T, rows []int32) {
	for _, i := range rows {
		dst[i] = src[i]
	}
}
