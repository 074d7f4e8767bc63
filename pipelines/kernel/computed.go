package kernel

import (
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/expr"
)

// computed is one column that a program makes, or that the input has already.
type computed struct {
	source  int // of the input; -1 = program
	program *expr.Program
	kind    column.Kind // wanted; differs from the program's where an integer becomes a number
	raw     column.Column
	out     column.Column
}

func compute(src, language string, kind column.Kind, in column.Schema) (computed, error) {
	if i := in.Index(src); i >= 0 && (kind == column.Invalid || in.Fields[i].Kind == kind) {
		return computed{source: i, kind: in.Fields[i].Kind}, nil
	}
	p, err := expr.Compile(src, language, in)
	if err != nil {
		return computed{}, fmt.Errorf("expression %q: %w", src, err)
	}
	have := p.Kind()
	if kind == column.Invalid {
		kind = have
	}
	if have != kind && !(have == column.Int64 && (kind == column.Float64 || kind == column.Timestamp)) {
		return computed{}, fmt.Errorf("expression %q makes values of type %s and not %s", src, have, kind)
	}
	return computed{source: -1, program: p, kind: kind}, nil
}

// eval returns the column for b: a value at each selected row.
func (c *computed) eval(b *column.Batch) (*column.Column, error) {
	if c.source >= 0 {
		return &b.Cols[c.source], nil
	}
	if c.program.Kind() == c.kind {
		return &c.out, c.program.Eval(b, &c.out)
	}
	if err := c.program.Eval(b, &c.raw); err != nil {
		return nil, err
	}
	c.out.Kind = c.kind
	c.out.Null = append(c.out.Null[:0], c.raw.Null...)
	if c.kind == column.Float64 {
		c.out.Floats = c.out.Floats[:0]
		for _, i := range c.raw.Ints {
			c.out.Floats = append(c.out.Floats, float64(i))
		}
	} else {
		c.out.Ints = append(c.out.Ints[:0], c.raw.Ints...)
	}
	return &c.out, nil
}
