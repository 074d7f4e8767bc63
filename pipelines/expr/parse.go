package expr

import "math"

// op is what a syntax node does.
type op uint8

const (
	opNone op = iota
	opBool
	opInt
	opFloat
	opString
	opField
	opList
	opAdd
	opSub
	opMul
	opDiv
	opFloorDiv
	opMod
	opPow
	opNeg
	opPos
	opNot
	opAnd
	opOr
	opLt
	opLe
	opGt
	opGe
	opEq
	opNe
	opIn
	opNotIn
	opIs
	opIsNot
	opIf // args: condition, then, else
	opCall
	opMethod // args[0] is the receiver
)

// syntax is a node of the tree. i holds an integer or a boolean, f a float, s a name or a string.
type syntax struct {
	op   op
	off  int
	args []*syntax
	i    int64
	f    float64
	s    string
	huge bool // the integer 2^63, which only a minus before it makes valid
}

const (
	maxSource = 64 << 10
	maxDepth  = 200
	maxNodes  = 5000
)

type parser struct {
	src   string
	off   int
	tok   token
	depth int
	nodes int
	err   *Error
}

// parsePython reads a whole expression.
func parsePython(src string) (*syntax, *Error) {
	if len(src) > maxSource {
		return nil, fail(0, "split it over several fields", "expression has %d bytes, more than %d", len(src), maxSource)
	}
	p := &parser{src: src}
	p.next()
	e := p.ternary()
	if p.err == nil && p.tok.kind != tokEnd {
		p.unexpected("an operator or the end")
	}
	if p.err != nil {
		return nil, p.err
	}
	return e, nil
}

func (p *parser) next() {
	if p.err != nil {
		return
	}
	t, off, err := lex(p.src, p.off)
	if err != nil {
		p.stop(err)
		return
	}
	p.tok, p.off = t, off
}

// stop keeps the first error and makes every rule return.
func (p *parser) stop(err *Error) {
	if p.err == nil {
		p.err = err
	}
	p.tok = token{kind: tokEnd, off: len(p.src)}
}

func (p *parser) unexpected(want string) {
	hint := ""
	if p.tok.kind == tokOp {
		switch p.tok.text {
		case "=", ":=":
			hint = "compare with =="
		case "&", "|", "^", "~", "<<", ">>", "@":
			hint = "bitwise operators are not in the compiled subset; write and, or, not"
		case "[", "{", ":":
			hint = "indexing, slices and collections are not in the compiled subset"
		}
	}
	if p.tok.kind == tokName {
		switch p.tok.text {
		case "for", "lambda", "import", "def", "await", "yield":
			hint = p.tok.text + " is not in the compiled subset of Python"
		}
	}
	p.stop(fail(p.tok.off, hint, "expected %s, found %s", want, p.tok))
}

func (p *parser) is(kind tokenKind, text string) bool {
	return p.tok.kind == kind && p.tok.text == text
}

func (p *parser) accept(kind tokenKind, text string) bool {
	if p.err != nil || !p.is(kind, text) {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(kind tokenKind, text string) {
	if p.err == nil && !p.accept(kind, text) {
		p.unexpected("'" + text + "'")
	}
}

func (p *parser) node(o op, off int, args ...*syntax) *syntax {
	if p.nodes++; p.nodes > maxNodes {
		p.stop(fail(off, "split it over several fields", "expression has more than %d parts", maxNodes))
	}
	return &syntax{op: o, off: off, args: args}
}

func (p *parser) enter() bool {
	if p.depth++; p.depth > maxDepth {
		p.stop(fail(p.tok.off, "split it over several fields", "expression is nested more than %d deep", maxDepth))
	}
	return p.err == nil
}

func (p *parser) ternary() *syntax {
	defer func() { p.depth-- }()
	if !p.enter() {
		return nil
	}
	then := p.or()
	off := p.tok.off
	if !p.accept(tokName, "if") {
		return then
	}
	cond := p.or()
	p.expect(tokName, "else")
	return p.node(opIf, off, cond, then, p.ternary())
}

func (p *parser) or() *syntax {
	e := p.and()
	for off := p.tok.off; p.accept(tokName, "or"); off = p.tok.off {
		e = p.node(opOr, off, e, p.and())
	}
	return e
}

func (p *parser) and() *syntax {
	e := p.not()
	for off := p.tok.off; p.accept(tokName, "and"); off = p.tok.off {
		e = p.node(opAnd, off, e, p.not())
	}
	return e
}

func (p *parser) not() *syntax {
	off := p.tok.off
	if !p.accept(tokName, "not") {
		return p.comparison()
	}
	defer func() { p.depth-- }()
	if !p.enter() {
		return nil
	}
	return p.node(opNot, off, p.not())
}

var comparisons = map[string]op{"<": opLt, "<=": opLe, ">": opGt, ">=": opGe, "==": opEq, "!=": opNe}

func (p *parser) compareOp() (op, bool) {
	if p.err != nil {
		return 0, false
	}
	if o, ok := comparisons[p.tok.text]; ok && p.tok.kind == tokOp {
		p.next()
		return o, true
	}
	switch {
	case p.accept(tokName, "in"):
		return opIn, true
	case p.accept(tokName, "is"):
		if p.accept(tokName, "not") {
			return opIsNot, true
		}
		return opIs, true
	case p.accept(tokName, "not"):
		p.expect(tokName, "in")
		return opNotIn, true
	}
	return 0, false
}

// comparison reads a chain: a < b < c is a < b and b < c.
func (p *parser) comparison() *syntax {
	left := p.arith()
	var all *syntax
	for {
		off := p.tok.off
		o, ok := p.compareOp()
		if !ok {
			break
		}
		right := p.arith()
		one := p.node(o, off, left, right)
		if all == nil {
			all = one
		} else {
			all = p.node(opAnd, off, all, one)
		}
		left = right
	}
	if all == nil {
		return left
	}
	return all
}

func (p *parser) arith() *syntax {
	e := p.term()
	for p.err == nil {
		off := p.tok.off
		switch {
		case p.accept(tokOp, "+"):
			e = p.node(opAdd, off, e, p.term())
		case p.accept(tokOp, "-"):
			e = p.node(opSub, off, e, p.term())
		default:
			return e
		}
	}
	return e
}

var termOps = map[string]op{"*": opMul, "/": opDiv, "//": opFloorDiv, "%": opMod}

func (p *parser) term() *syntax {
	e := p.factor()
	for p.err == nil && p.tok.kind == tokOp {
		o, ok := termOps[p.tok.text]
		if !ok {
			break
		}
		off := p.tok.off
		p.next()
		e = p.node(o, off, e, p.factor())
	}
	return e
}

func (p *parser) factor() *syntax {
	defer func() { p.depth-- }()
	if !p.enter() {
		return nil
	}
	off := p.tok.off
	switch {
	case p.accept(tokOp, "-"):
		e := p.factor()
		if e != nil && e.op == opInt && e.huge {
			return &syntax{op: opInt, off: off, i: math.MinInt64}
		}
		return p.node(opNeg, off, e)
	case p.accept(tokOp, "+"):
		return p.node(opPos, off, p.factor())
	}
	return p.power()
}

func (p *parser) power() *syntax {
	e := p.postfix()
	off := p.tok.off
	if p.accept(tokOp, "**") {
		return p.node(opPow, off, e, p.factor())
	}
	return e
}

func (p *parser) postfix() *syntax {
	e := p.atom()
	for p.err == nil {
		off := p.tok.off
		if !p.accept(tokOp, ".") {
			break
		}
		if p.tok.kind != tokName {
			p.unexpected("the name of a method")
			return nil
		}
		name := p.tok.text
		p.next()
		if !p.is(tokOp, "(") {
			p.stop(fail(off, "a field is named without a row before it", "attribute %q is not a call of a method", name))
			return nil
		}
		p.next()
		e = p.node(opMethod, off, append([]*syntax{e}, p.list(")")...)...)
		e.s = name
	}
	return e
}

// list reads expressions up to the closing bracket and accepts a comma before it.
func (p *parser) list(end string) []*syntax {
	var out []*syntax
	for p.err == nil && !p.accept(tokOp, end) {
		out = append(out, p.ternary())
		if p.accept(tokOp, ",") {
			continue
		}
		p.expect(tokOp, end)
		return out
	}
	return out
}

var reserved = map[string]bool{"and": true, "or": true, "not": true, "if": true, "else": true, "in": true, "is": true, "for": true, "lambda": true,
	"import": true, "def": true, "class": true, "return": true, "yield": true, "await": true, "async": true, "while": true, "from": true, "assert": true}

func (p *parser) atom() *syntax {
	t := p.tok
	if p.err != nil {
		return nil
	}
	switch {
	case t.kind == tokInt:
		p.next()
		e := p.node(opInt, t.off)
		e.i, e.huge = int64(t.i), t.i == 1<<63
		return e
	case t.kind == tokFloat:
		p.next()
		e := p.node(opFloat, t.off)
		e.f = t.f
		return e
	case t.kind == tokString:
		e := p.node(opString, t.off)
		for p.err == nil && p.tok.kind == tokString { // adjacent literals are one
			e.s += p.tok.text
			p.next()
		}
		return e
	case t.kind == tokName && !reserved[t.text]:
		return p.name()
	case p.accept(tokOp, "("):
		return p.paren(t.off)
	case p.accept(tokOp, "["):
		return p.node(opList, t.off, p.list("]")...)
	}
	p.unexpected("a value")
	return nil
}

func (p *parser) name() *syntax {
	t := p.tok
	p.next()
	switch t.text {
	case "None":
		return p.node(opNone, t.off)
	case "True", "False":
		e := p.node(opBool, t.off)
		if t.text == "True" {
			e.i = 1
		}
		return e
	}
	e := p.node(opField, t.off)
	if p.accept(tokOp, "(") {
		e.op, e.args = opCall, p.list(")")
	}
	e.s = t.text
	return e
}

// paren reads a parenthesised expression or a tuple.
func (p *parser) paren(off int) *syntax {
	if p.accept(tokOp, ")") {
		return p.node(opList, off)
	}
	e := p.ternary()
	if p.accept(tokOp, ",") {
		return p.node(opList, off, append([]*syntax{e}, p.list(")")...)...)
	}
	p.expect(tokOp, ")")
	return e
}
