package expr

import (
	"strings"

	"github.com/weir-project/weir/pipelines/column"
)

// parseGeneric reads Beam YAML's generic language: an atom (field name, integer, float, "string" without escapes), or one comparison of
// two atoms. Upstream's pattern lets only < and > through; the other four are meant by its documentation and are taken here.
func parseGeneric(src string, in column.Schema) (*syntax, *Error) {
	start := skipBlank(src, 0)
	text := strings.TrimSpace(src)
	if in.Index(text) >= 0 { // a field's name needs not be an identifier
		return &syntax{op: opField, off: start, s: text}, nil
	}
	left, off, err := genericAtom(src, start)
	if err != nil {
		return nil, err
	}
	off = skipBlank(src, off)
	if off == len(src) {
		return left, nil
	}
	at := off
	o, off, ok := genericOperator(src, off)
	if !ok {
		return nil, fail(at, "set language: python for more than one comparison of two values", "generic expression goes on with %q", src[at:])
	}
	right, off, err := genericAtom(src, skipBlank(src, off))
	if err != nil {
		return nil, err
	}
	if off = skipBlank(src, off); off != len(src) {
		return nil, fail(off, "set language: python for more than one comparison of two values", "generic expression goes on with %q", src[off:])
	}
	return &syntax{op: o, off: at, args: []*syntax{left, right}}, nil
}

func skipBlank(src string, off int) int {
	for off < len(src) && strings.IndexByte(" \t\r\n\v\f", src[off]) >= 0 {
		off++
	}
	return off
}

func genericOperator(src string, off int) (op, int, bool) {
	for _, n := range []int{2, 1} {
		if off+n <= len(src) {
			if o, ok := comparisons[src[off:off+n]]; ok {
				return o, off + n, true
			}
		}
	}
	return 0, off, false
}

func genericAtom(src string, off int) (*syntax, int, *Error) {
	if off == len(src) {
		return nil, off, fail(off, "", "expected a field, a number or a \"string\", found the end")
	}
	sign := off
	if src[off] == '-' {
		off++
	}
	switch c := byte(0); {
	case off < len(src) && isDigit(src[off]):
		return genericNumber(src, sign, off)
	case off > sign:
		return nil, sign, fail(sign, "set language: python for arithmetic", "a minus stands before no number")
	case src[off] == '"':
		end := strings.IndexByte(src[off+1:], '"')
		if end < 0 {
			return nil, off, fail(off, "close the quote", "string literal does not end")
		}
		s := src[off+1 : off+1+end]
		if strings.IndexByte(s, '\\') >= 0 {
			return nil, off, fail(off, "set language: python for escapes", "string literal of the generic language has a backslash")
		}
		return &syntax{op: opString, off: off, s: s}, off + end + 2, nil
	default:
		c = src[off]
		if !isNameStart(c) {
			return nil, off, fail(off, "set language: python for more than one comparison of two values", "unexpected character %q", c)
		}
		end := off
		for end < len(src) && (isNameStart(src[end]) || isDigit(src[end])) {
			end++
		}
		return &syntax{op: opField, off: off, s: src[off:end]}, end, nil
	}
}

func genericNumber(src string, sign, off int) (*syntax, int, *Error) {
	t, end, err := lexNumber(src, off)
	if err != nil {
		return nil, off, err
	}
	e := &syntax{op: opFloat, off: sign, f: t.f}
	if t.kind == tokInt {
		e = &syntax{op: opInt, off: sign, i: int64(t.i), huge: t.i == 1<<63 && sign == off}
	}
	if sign < off {
		e.i, e.f = -e.i, -e.f
	}
	return e, end, nil
}
