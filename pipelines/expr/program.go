package expr

import "github.com/weir-project/weir/pipelines/column"

// Program is a compiled expression. It holds scratch memory, so it is used by one goroutine at a time.
type Program struct {
	root   typed
	fields []string
	m      machine
}

// Compile compiles src, an expression over the fields of in. Language is "generic" (also for ""), or "python". A non-nil error is *Error.
func Compile(src, language string, in column.Schema) (*Program, error) {
	var tree *syntax
	var err *Error
	switch language {
	case "", "generic":
		tree, err = parseGeneric(src, in)
	case "python":
		tree, err = parsePython(src)
	default:
		return nil, fail(0, "write it in generic or python", "language %q is not compiled", language)
	}
	if err != nil {
		return nil, err
	}
	c := &checker{schema: in, text: src}
	root := c.check(tree)
	if c.err == nil && root.kind == column.Invalid {
		c.stop(0, "", "it is always None, so it has no type")
	}
	if c.err != nil {
		return nil, c.err
	}
	return &Program{root: root, fields: c.fields, m: machine{text: src}}, nil
}

// Kind is the type of the values.
func (p *Program) Kind() column.Kind { return p.root.kind }

// Nullable reports whether a value may be null.
func (p *Program) Nullable() bool { return p.root.null }

// Fields names the input fields that it reads, in the order of their first use.
func (p *Program) Fields() []string { return p.fields }

func (p *Program) run(b *column.Batch) (*vector, selection, error) {
	p.m.cols, p.m.n = b.Cols, b.N
	s := selection{rows: b.Sel}
	if b.Sel == nil {
		s = selection{rows: p.m.identity(b.N), dense: true}
	}
	v, err := p.root.node.eval(&p.m, s)
	p.m.cols = nil
	return v, s, err
}

// Eval computes one value a row into out: rows 0 … N-1, of which only the selected ones mean something. A string field's value is not copied:
// out borrows the batch's buffer and is valid as long as it is. A *RowError names the row that has no value; out is then undefined.
func (p *Program) Eval(b *column.Batch, out *column.Column) error {
	v, s, err := p.run(b)
	if err != nil {
		return err
	}
	out.Kind, out.Null = p.root.kind, out.Null[:0]
	switch out.Kind {
	case column.Int64, column.Timestamp:
		out.Ints = fill(out.Ints, v.ints, b.N, s)
	case column.Float64:
		out.Floats = fill(out.Floats, v.floats, b.N, s)
	case column.Bool:
		out.Bools = fill(out.Bools, v.bools, b.N, s)
	default:
		out.Spans = fill(out.Spans, v.spans, b.N, s)
		p.fillBuffer(v, out)
	}
	if v.null != nil {
		out.Null = fill(out.Null, v.null, b.N, s)
		p.clearNulls(out, s)
	}
	return nil
}

// fillBuffer lends the input's buffer where the expression is a field, and copies what the program computed into its scratch memory.
func (p *Program) fillBuffer(v *vector, out *column.Column) {
	if _, field := p.root.node.(*fieldNode); field {
		out.Borrow(v.buf)
		return
	}
	if out.Borrowed {
		out.Buf, out.Borrowed = nil, false
	}
	out.Buf = append(out.Buf[:0], v.buf...)
}

// clearNulls gives the absent values of strings an empty span, so that no reader can run out of the buffer.
func (p *Program) clearNulls(out *column.Column, s selection) {
	if out.Kind != column.String && out.Kind != column.Bytes {
		return
	}
	for _, i := range s.rows {
		if out.Null[i] {
			out.Spans[i] = column.Span{}
		}
	}
}

// fill makes dst n values, those of the selected rows from src and zero elsewhere.
func fill[T any](dst, src []T, n int, s selection) []T {
	dst = sized(dst, n)
	if s.dense {
		copy(dst, src)
		return dst
	}
	clear(dst)
	copyRows(dst, src, s.rows)
	return dst
}

// Filter appends to dst the selected rows for which the expression is true, in order; null is not true. It fails for an expression that is
// no boolean, and with a *RowError.
func (p *Program) Filter(b *column.Batch, dst []int32) ([]int32, error) {
	if p.root.kind != column.Bool {
		return dst, fail(0, "compare it with something", "a filter needs a boolean, not a value of type %s", p.root.kind)
	}
	v, s, err := p.run(b)
	if err != nil {
		return dst, err
	}
	if v.null != nil {
		for _, i := range s.rows {
			if v.bools[i] && !v.null[i] {
				dst = append(dst, i)
			}
		}
		return dst, nil
	}
	// Every row is written and the end moves only for those that count: no branch that depends on the data.
	start := len(dst)
	if need := start + len(s.rows); cap(dst) < need {
		dst = append(make([]int32, 0, need), dst...)
	}
	k, out := 0, dst[start:start+len(s.rows)]
	for _, i := range s.rows {
		out[k] = i
		k += boolInt(v.bools[i])
	}
	return dst[:start+k], nil
}
