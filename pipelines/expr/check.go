package expr

import (
	"strings"

	"github.com/weir-project/weir/pipelines/column"
)

// typed is a checked expression: its kernel, its type (Invalid for the literal None), and whether it may be null.
type typed struct {
	node  node
	kind  column.Kind
	null  bool
	konst bool
	off   int
}

// checker gives types to a tree, and folds what is constant.
type checker struct {
	schema column.Schema
	text   string
	fields []string
	err    *Error
}

func (c *checker) stop(off int, hint, format string, args ...any) typed {
	if c.err == nil {
		c.err = fail(off, hint, format, args...)
	}
	return typed{kind: column.Invalid, node: &constNode{isNull: true}, konst: true, null: true, off: off}
}

func (c *checker) check(e *syntax) typed {
	if c.err != nil || e == nil {
		return c.stop(0, "", "expression is incomplete")
	}
	switch e.op {
	case opNone, opBool, opInt, opFloat, opString:
		return c.literal(e)
	case opField:
		return c.field(e)
	case opList:
		return c.stop(e.off, "a list stands only to the right of in", "a list is no value of a column")
	case opNeg, opPos, opNot:
		return c.unary(e)
	case opAnd, opOr:
		return c.logic(e)
	case opIf:
		return c.conditional(e)
	case opIs, opIsNot:
		return c.isNone(e)
	case opIn, opNotIn:
		return c.in(e)
	case opLt, opLe, opGt, opGe, opEq, opNe:
		return c.compare(e)
	case opCall:
		return c.call(e)
	case opMethod:
		return c.method(e)
	}
	return c.arith(e)
}

func (c *checker) literal(e *syntax) typed {
	t := typed{konst: true, off: e.off}
	n := &constNode{}
	switch e.op {
	case opNone:
		n.isNull, t.null = true, true
	case opBool:
		t.kind, n.b = column.Bool, e.i != 0
	case opInt:
		if e.huge {
			return c.stop(e.off, "write it as a float", "9223372036854775808 is not a 64-bit integer")
		}
		t.kind, n.i = column.Int64, e.i
	case opFloat:
		t.kind, n.f = column.Float64, e.f
	default:
		t.kind, n.s = column.String, e.s
	}
	n.kind, t.node = t.kind, n
	return t
}

func (c *checker) field(e *syntax) typed {
	i := c.schema.Index(e.s)
	if i < 0 {
		return c.stop(e.off, nearest(e.s, c.schema.Names()), "unknown field %q", e.s)
	}
	f := c.schema.Fields[i]
	if f.Kind == column.Invalid {
		return c.stop(e.off, "declare its type in the schema", "field %q has no type", e.s)
	}
	known := false
	for _, name := range c.fields {
		known = known || name == e.s
	}
	if !known {
		c.fields = append(c.fields, e.s)
	}
	return typed{node: &fieldNode{col: i}, kind: f.Kind, null: f.Nullable, off: e.off}
}

// strict builds a node over one or two operands and folds it.
func (c *checker) strict(off int, kind column.Kind, run kernel, a typed, b ...typed) typed {
	n := &strictNode{kind: kind, a: a.node, run: run}
	t := typed{node: n, kind: kind, null: a.null, konst: a.konst, off: off}
	if len(b) > 0 {
		n.b = b[0].node
		t.null, t.konst = t.null || b[0].null, t.konst && b[0].konst
	}
	return c.fold(t)
}

// fold evaluates a constant expression once. What fails for its one row is left to fail for the rows that reach it.
func (c *checker) fold(t typed) typed {
	if c.err != nil || !t.konst {
		return t
	}
	m := &machine{n: 1, text: c.text}
	v, err := t.node.eval(m, selection{rows: m.identity(1), dense: true})
	if err != nil {
		return t
	}
	n := &constNode{kind: t.kind, isNull: v.null != nil && v.null[0]}
	t.null = n.isNull
	t.node = n
	if n.isNull {
		return t
	}
	switch t.kind {
	case column.Int64, column.Timestamp:
		n.i = v.ints[0]
	case column.Float64:
		n.f = v.floats[0]
	case column.Bool:
		n.b = v.bools[0]
	default:
		n.s = string(v.at(0))
	}
	return t
}

// as gives None a type.
func (t typed) as(kind column.Kind) typed {
	if t.kind == column.Invalid {
		t.kind, t.node = kind, &constNode{kind: kind, isNull: true}
	}
	return t
}

func isNumber(k column.Kind) bool { return k == column.Int64 || k == column.Float64 }

// float makes an integer a float.
func (c *checker) float(t typed) typed {
	if t.kind == column.Int64 {
		return c.strict(t.off, column.Float64, intsToFloats, t)
	}
	return t.as(column.Float64)
}

// unify brings two values to one type: None takes the other's, an integer beside a float becomes a float.
func (c *checker) unify(a, b typed) (typed, typed, bool) {
	a, b = a.as(b.kind), b.as(a.kind)
	if isNumber(a.kind) && isNumber(b.kind) && a.kind != b.kind {
		a, b = c.float(a), c.float(b)
	}
	return a, b, a.kind == b.kind
}

func (c *checker) unary(e *syntax) typed {
	a := c.check(e.args[0])
	if e.op == opNot {
		return c.strict(e.off, column.Bool, notBool, c.boolean(a, "not"))
	}
	a = a.as(column.Int64)
	if !isNumber(a.kind) {
		return c.stop(e.off, "", "a sign stands before a value of type %s", a.kind)
	}
	switch {
	case e.op == opPos:
		return a
	case a.kind == column.Int64:
		return c.strict(e.off, a.kind, negInts, a)
	}
	return c.strict(e.off, a.kind, negFloats, a)
}

func (c *checker) boolean(t typed, where string) typed {
	t = t.as(column.Bool)
	if t.kind == column.Bool {
		return t
	}
	hint := "compare it with something"
	switch t.kind {
	case column.Int64, column.Float64:
		hint = "write x != 0"
	case column.String:
		hint = "write x != ''"
	}
	return c.stop(t.off, hint, "%s needs a boolean, not a value of type %s", where, t.kind)
}

func (c *checker) logic(e *syntax) typed {
	word := map[op]string{opAnd: "and", opOr: "or"}[e.op]
	a, b := c.boolean(c.check(e.args[0]), word), c.boolean(c.check(e.args[1]), word)
	return c.fold(typed{node: &logicNode{a: a.node, b: b.node, decide: e.op == opOr}, kind: column.Bool,
		null: a.null || b.null, konst: a.konst && b.konst, off: e.off})
}

func (c *checker) conditional(e *syntax) typed {
	cond := c.boolean(c.check(e.args[0]), "if")
	then, els, ok := c.unify(c.check(e.args[1]), c.check(e.args[2]))
	if !ok {
		return c.stop(e.off, "convert one of them with str(), int() or float()", "the branches of if have types %s and %s", then.kind, els.kind)
	}
	if then.kind == column.Invalid {
		return typed{node: then.node, null: true, konst: true, off: e.off}
	}
	return c.fold(typed{node: &ifNode{kind: then.kind, cond: cond.node, then: then.node, els: els.node}, kind: then.kind,
		null: then.null || els.null, konst: cond.konst && then.konst && els.konst, off: e.off})
}

func (c *checker) isNone(e *syntax) typed {
	if e.args[1] == nil || e.args[1].op != opNone {
		return c.stop(e.off, "compare values with ==", "is compares with None only")
	}
	return c.none(e.off, c.check(e.args[0]), e.op == opIsNot)
}

func (c *checker) none(off int, a typed, not bool) typed {
	a = a.as(column.Bool)
	return c.fold(typed{node: &isNullNode{a: a.node, not: not}, kind: column.Bool, konst: a.konst, off: off})
}

func (c *checker) compare(e *syntax) typed {
	a, b := c.check(e.args[0]), c.check(e.args[1])
	return c.comparison(e.op, e.off, a, b)
}

var mirrored = map[op]op{opLt: opGt, opLe: opGe, opGt: opLt, opGe: opLe, opEq: opEq, opNe: opNe}

func (c *checker) comparison(o op, off int, a, b typed) typed {
	aNone, bNone := a.kind == column.Invalid, b.kind == column.Invalid
	if (o == opEq || o == opNe) && (aNone || bNone) {
		if aNone {
			a = b
		}
		return c.none(off, a, o == opNe)
	}
	a, b = a.as(b.kind), b.as(a.kind)
	switch {
	case a.kind == column.Int64 && b.kind == column.Float64:
		return c.mixed(o, off, a, b)
	case a.kind == column.Float64 && b.kind == column.Int64:
		return c.mixed(mirrored[o], off, b, a)
	case a.kind != b.kind:
		return c.stop(off, "convert one of them with str(), int() or float()", "comparison of types %s and %s", a.kind, b.kind)
	}
	switch a.kind {
	case column.Int64, column.Timestamp:
		return c.strict(off, column.Bool, compareInts(o), a, b)
	case column.Float64:
		return c.strict(off, column.Bool, compareFloats(o), a, b)
	case column.Bool:
		return c.strict(off, column.Bool, compareBools(o), a, b)
	case column.String, column.Bytes:
		return c.strict(off, column.Bool, compareStrings(o), a, b)
	}
	return c.stop(off, "test for None with is None", "None has no order")
}

// mixed compares an integer with a float. A constant integer that a float holds exactly is one.
func (c *checker) mixed(o op, off int, i, f typed) typed {
	if n, ok := i.node.(*constNode); ok && i.konst && n.i >= -1<<53 && n.i <= 1<<53 {
		return c.strict(off, column.Bool, compareFloats(o), c.float(i), f)
	}
	return c.strict(off, column.Bool, compareMixed(o), i, f)
}

func (c *checker) in(e *syntax) typed {
	a := c.check(e.args[0])
	out := typed{}
	list := e.args[1]
	if list != nil && list.op == opList {
		out = typed{node: &constNode{kind: column.Bool}, kind: column.Bool, konst: true, off: e.off}
		for i, item := range list.args {
			one := c.comparison(opEq, e.off, a, c.check(item))
			if i == 0 {
				out = one
				continue
			}
			out = c.fold(typed{node: &logicNode{a: out.node, b: one.node, decide: true}, kind: column.Bool,
				null: out.null || one.null, konst: out.konst && one.konst, off: e.off})
		}
	} else {
		b := c.check(list)
		a, b = a.as(column.String), b.as(column.String)
		if a.kind != column.String || b.kind != column.String {
			return c.stop(e.off, "write a list: x in (1, 2)", "in needs two strings, or a list on its right, not %s and %s", a.kind, b.kind)
		}
		out = c.strict(e.off, column.Bool, contains, a, b)
	}
	if e.op == opNotIn {
		return c.strict(e.off, column.Bool, notBool, out)
	}
	return out
}

// nearest is a hint that names the most similar candidate, or lists what there is.
func nearest(name string, candidates []string) string {
	best, distance := "", 3
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d < distance && d < len(name) {
			best, distance = c, d
		}
	}
	switch {
	case best != "":
		return "did you mean " + best + "?"
	case len(candidates) == 0:
		return "there are none"
	case len(candidates) > 20:
		candidates = append(candidates[:20:20], "…")
	}
	return "there are: " + strings.Join(candidates, ", ")
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 0; i < len(a); i++ {
		diagonal := row[0]
		row[0] = i + 1
		for j := 0; j < len(b); j++ {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
