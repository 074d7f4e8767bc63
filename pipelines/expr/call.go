package expr

import (
	"strings"
	"unicode"

	"github.com/weir-project/weir/pipelines/column"
)

var arithNames = map[op]string{opAdd: "+", opSub: "-", opMul: "*", opDiv: "/", opFloorDiv: "//", opMod: "%", opPow: "**"}

var intKernels = map[op]kernel{opAdd: addInts, opSub: subInts, opMul: mulInts, opDiv: divInts, opFloorDiv: floorDivInts, opMod: modInts, opPow: powInts}

var floatKernels = map[op]kernel{opAdd: addFloats, opSub: subFloats, opMul: mulFloats, opDiv: divFloats, opFloorDiv: floorDivFloats, opMod: modFloats, opPow: powFloats}

func (c *checker) arith(e *syntax) typed {
	a, b := c.check(e.args[0]), c.check(e.args[1])
	a, b = a.as(b.kind), b.as(a.kind)
	switch {
	case c.err != nil:
		return a
	case e.op == opAdd && a.kind == column.String && b.kind == column.String:
		return c.strict(e.off, column.String, concat, a, b)
	case !isNumber(a.kind) || !isNumber(b.kind):
		return c.badOperands(e, a, b)
	case a.kind == column.Int64 && b.kind == column.Int64:
		return c.intArith(e, a, b)
	}
	return c.strict(e.off, column.Float64, floatKernels[e.op], c.float(a), c.float(b))
}

func (c *checker) badOperands(e *syntax, a, b typed) typed {
	hint := ""
	switch {
	case a.kind == column.String || b.kind == column.String:
		hint = "convert with int(), float() or str()"
	case a.kind == column.Bool || b.kind == column.Bool:
		hint = "convert the boolean with int()"
	}
	return c.stop(e.off, hint, "%s of types %s and %s", arithNames[e.op], a.kind, b.kind)
}

// intArith knows that / gives a float, and that an integer to a negative constant power is one too.
func (c *checker) intArith(e *syntax, a, b typed) typed {
	if e.op == opDiv {
		return c.strict(e.off, column.Float64, divInts, a, b)
	}
	if n, ok := b.node.(*constNode); ok && e.op == opPow && b.konst && n.i < 0 {
		return c.strict(e.off, column.Float64, powFloats, c.float(a), c.float(b))
	}
	return c.strict(e.off, column.Int64, intKernels[e.op], a, b)
}

var functionNames = []string{"abs", "float", "int", "len", "max", "min", "round", "str"}

func (c *checker) call(e *syntax) typed {
	args := make([]typed, len(e.args))
	for i, a := range e.args {
		args[i] = c.check(a)
	}
	if c.err != nil {
		return c.stop(e.off, "", "call")
	}
	atLeast, atMost := 1, 1
	switch e.s {
	case "min", "max":
		atLeast, atMost = 2, 100
	case "round":
		atMost = 2
	case "abs", "float", "int", "len", "str":
	default:
		return c.stop(e.off, nearest(e.s, functionNames), "unknown function %q", e.s)
	}
	if len(args) < atLeast || len(args) > atMost {
		return c.stop(e.off, "", "%s takes %d to %d arguments, not %d", e.s, atLeast, atMost, len(args))
	}
	switch e.s {
	case "min", "max":
		return c.choose(e, args)
	case "round":
		return c.round(e, args)
	}
	k, ok := functions[signature{e.s, args[0].kind}]
	if !ok {
		return c.stop(e.off, "", "%s of a value of type %s is not in the compiled subset", e.s, args[0].kind)
	}
	if k.run == nil {
		return args[0]
	}
	return c.strict(e.off, k.kind, k.run, args[0])
}

type signature struct {
	name string
	kind column.Kind
}

type function struct {
	kind column.Kind
	run  kernel // nil: the value itself
}

var functions = map[signature]function{
	{"abs", column.Int64}:     {column.Int64, absInts},
	{"abs", column.Float64}:   {column.Float64, absFloats},
	{"len", column.String}:    {column.Int64, lenString},
	{"len", column.Bytes}:     {column.Int64, lenBytes},
	{"int", column.Int64}:     {column.Int64, nil},
	{"int", column.Float64}:   {column.Int64, floatsToInts},
	{"int", column.Bool}:      {column.Int64, boolsToInts},
	{"int", column.String}:    {column.Int64, stringsToInts},
	{"float", column.Int64}:   {column.Float64, intsToFloats},
	{"float", column.Float64}: {column.Float64, nil},
	{"float", column.Bool}:    {column.Float64, boolsToFloats},
	{"float", column.String}:  {column.Float64, stringsToFloats},
	{"str", column.Int64}:     {column.String, intsToStrings},
	{"str", column.Float64}:   {column.String, floatsToStrings},
	{"str", column.Bool}:      {column.String, boolsToStrings},
	{"str", column.String}:    {column.String, nil},
}

func boolsToFloats(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		out.floats[i] = float64(boolInt(a.bools[i]))
	}
	return nil
}

func (c *checker) choose(e *syntax, args []typed) typed {
	o := opLt
	if e.s == "max" {
		o = opGt
	}
	float := false
	for _, a := range args {
		float = float || a.kind == column.Float64
	}
	out := args[0]
	for i, b := range args {
		if float {
			b = c.float(b)
		}
		if i == 0 {
			out = b
			continue
		}
		out, b = out.as(b.kind), b.as(out.kind)
		switch {
		case out.kind != b.kind || !isNumber(b.kind) && b.kind != column.Timestamp:
			return c.stop(e.off, "", "%s of types %s and %s is not in the compiled subset", e.s, out.kind, b.kind)
		case float:
			out = c.strict(e.off, column.Float64, chooseFloats(o), out, b)
		default:
			out = c.strict(e.off, b.kind, chooseInts(o), out, b)
		}
	}
	return out
}

func (c *checker) round(e *syntax, args []typed) typed {
	a := args[0]
	if !isNumber(a.kind) {
		return c.stop(e.off, "", "round of a value of type %s", a.kind)
	}
	if len(args) == 1 {
		if a.kind == column.Int64 {
			return a
		}
		return c.strict(e.off, column.Int64, roundFloats, a)
	}
	n, ok := args[1].node.(*constNode)
	if !ok || args[1].kind != column.Int64 || n.i > 400 || n.i < -400 {
		return c.stop(args[1].off, "write the number of digits", "the digits of round are not a constant between -400 and 400")
	}
	digits := int(n.i)
	switch {
	case a.kind == column.Int64 && digits >= 0:
		return a
	case a.kind == column.Int64:
		return c.strict(e.off, column.Int64, roundIntsTo(digits), a)
	case digits < 0:
		return c.stop(args[1].off, "round to an integer first: round(round(x), "+"-n)", "round of a float to %d digits is not in the compiled subset", digits)
	}
	return c.strict(e.off, column.Float64, roundFloatsTo(digits), a)
}

var methodNames = []string{"endswith", "lower", "lstrip", "rstrip", "startswith", "strip", "upper"}

func (c *checker) method(e *syntax) typed {
	self := c.check(e.args[0])
	if c.err != nil {
		return self
	}
	if self.kind != column.String {
		return c.stop(e.off, "convert with str()", "method %s of a value of type %s", e.s, self.kind)
	}
	args := e.args[1:]
	switch e.s {
	case "upper", "lower":
		if len(args) > 0 {
			return c.stop(e.off, "", "%s takes no argument", e.s)
		}
		if e.s == "upper" {
			return c.strict(e.off, column.String, mapRunes(unicode.ToUpper), self)
		}
		return c.strict(e.off, column.String, mapRunes(unicode.ToLower), self)
	case "strip", "lstrip", "rstrip":
		return c.strip(e, self, args)
	case "startswith", "endswith":
		return c.affix(e, self, args)
	}
	return c.stop(e.off, nearest(e.s, methodNames), "unknown method %q of a string", e.s)
}

func (c *checker) strip(e *syntax, self typed, args []*syntax) typed {
	var set map[rune]bool
	if len(args) == 1 {
		arg := c.check(args[0])
		n, ok := arg.node.(*constNode)
		if c.err == nil && (!ok || arg.kind != column.String) {
			return c.stop(arg.off, "write the characters as a literal", "the argument of %s is not a constant string", e.s)
		}
		set = map[rune]bool{}
		if ok {
			for _, r := range n.s {
				set[r] = true
			}
		}
	} else if len(args) > 1 {
		return c.stop(e.off, "", "%s takes one argument at most, not %d", e.s, len(args))
	}
	return c.strict(e.off, column.String, strip(!strings.HasPrefix(e.s, "r"), !strings.HasPrefix(e.s, "l"), set), self)
}

func (c *checker) affix(e *syntax, self typed, args []*syntax) typed {
	if len(args) != 1 {
		return c.stop(e.off, "", "%s takes one argument, not %d", e.s, len(args))
	}
	arg := c.check(args[0]).as(column.String)
	if arg.kind != column.String {
		return c.stop(arg.off, "", "the argument of %s has type %s, not string", e.s, arg.kind)
	}
	if e.s == "startswith" {
		return c.strict(e.off, column.Bool, startsWith, self, arg)
	}
	return c.strict(e.off, column.Bool, endsWith, self, arg)
}
