package codec

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain returns the first position at or after i that is a quote, a backslash, a control character or no ASCII; len(s) where there is none.
// It looks at eight bytes at a time: a byte's high bit is set in the mask where the byte is one of them. The mask may be wrong above the first
// such byte (borrows), never at it.
func plain(s []byte, i int) int {
	for ; i+8 <= len(s); i += 8 {
		x := binary.LittleEndian.Uint64(s[i:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		mask := (x - ones*0x20) &^ x
		mask |= (quote - ones) &^ quote
		mask |= (slash - ones) &^ slash
		if mask = (mask | x) & highs; mask != 0 {
			return i + bits.TrailingZeros64(mask)/8
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return i
		}
	}
	return i
}

// token is a JSON value in a row: for a string the bytes between its quotes.
type token struct {
	kind       byte // 0 absent, '"', '0' a number, 't', 'f', 'n', '{' an object or an array
	raw        bool // a string that needs no change: no escapes, valid UTF-8
	start, end int
}

// scanner validates JSON in one pass and marks where values are. A failure leaves why.
type scanner struct {
	s   []byte
	i   int
	why string
}

func (p *scanner) fail(why string) bool {
	if p.why == "" {
		p.why = why
	}
	return false
}

func (p *scanner) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

func (p *scanner) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

// string reads a string whose quote is at i.
func (p *scanner) string(t *token) bool {
	t.kind, t.raw, t.start = '"', true, p.i+1
	ascii := true
	for i := p.i + 1; ; {
		if i = plain(p.s, i); i >= len(p.s) {
			p.i = i
			return p.fail("a string does not end")
		}
		switch c := p.s[i]; {
		case c == '"':
			t.end, p.i = i, i+1
			t.raw = t.raw && (ascii || utf8.Valid(p.s[t.start:i]))
			return true
		case c == '\\':
			t.raw = false
			n := p.escape(i)
			if n == 0 {
				p.i = i
				return p.fail("a string has an invalid escape")
			}
			i += n
		case c < 0x20:
			p.i = i
			return p.fail("a string has a control character")
		default:
			ascii = false
			for i++; i < len(p.s) && p.s[i] >= utf8.RuneSelf; i++ {
			}
		}
	}
}

// escape is the length of the escape at i, or 0.
func (p *scanner) escape(i int) int {
	if i+1 >= len(p.s) {
		return 0
	}
	switch p.s[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if i+6 <= len(p.s) && hex4(p.s[i+2:]) >= 0 {
			return 6
		}
	}
	return 0
}

func hex4(s []byte) rune {
	v := rune(0)
	for _, c := range s[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		v = v<<4 | rune(c)
	}
	return v
}

// appendUnescaped decodes the inside of a validated string; a lone surrogate and what is not UTF-8 become U+FFFD.
func appendUnescaped(dst, s []byte) []byte {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\\' && s[i+1] == 'u':
			r := hex4(s[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if i+6 <= len(s) && s[i] == '\\' && s[i+1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(s[i+2:]))
				}
				if r = pair; r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		case c == '\\':
			dst = append(dst, unescaped[s[i+1]])
			i += 2
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, n := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
		}
	}
	return dst
}

var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// number reads a number by JSON's grammar.
func (p *scanner) number(t *token) bool {
	t.kind, t.start = '0', p.i
	s, i := p.s, p.i
	if i < len(s) && s[i] == '-' {
		i++
	}
	switch {
	case i < len(s) && s[i] == '0':
		i++
	case i < len(s) && s[i] >= '1' && s[i] <= '9':
		i = digits(s, i)
	default:
		p.i = i
		return p.fail("expected a value")
	}
	if i < len(s) && s[i] == '.' {
		if i++; digits(s, i) == i {
			return p.fail("a number ends in its point")
		}
		i = digits(s, i)
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if digits(s, i) == i {
			return p.fail("a number has no exponent after its e")
		}
		i = digits(s, i)
	}
	t.end, p.i = i, i
	return true
}

func digits(s []byte, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

func (p *scanner) word(t *token, w string) bool {
	if len(p.s)-p.i < len(w) || string(p.s[p.i:p.i+len(w)]) != w {
		return p.fail("expected a value")
	}
	t.kind, t.start, t.end = w[0], p.i, p.i+len(w)
	p.i += len(w)
	return true
}

const maxNesting = 1000

// value reads any value; objects and arrays are validated and skipped.
func (p *scanner) value(t *token, depth int) bool {
	switch p.peek() {
	case '"':
		return p.string(t)
	case 't':
		return p.word(t, "true")
	case 'f':
		return p.word(t, "false")
	case 'n':
		return p.word(t, "null")
	case '{', '[':
		start := p.i
		if depth > maxNesting {
			return p.fail("values are nested more than 1000 deep")
		}
		if !p.skip(depth) {
			return false
		}
		*t = token{kind: '{', start: start, end: p.i}
		return true
	}
	return p.number(t)
}

// skip reads the object or array at i.
func (p *scanner) skip(depth int) bool {
	object := p.s[p.i] == '{'
	end := byte(']')
	if object {
		end = '}'
	}
	p.i++
	if p.space(); p.peek() == end {
		p.i++
		return true
	}
	for {
		var t token
		if object && !p.key(&t) {
			return false
		}
		if !p.value(&t, depth+1) {
			return false
		}
		done, ok := p.next(end)
		if !ok || done {
			return ok
		}
	}
}

// key reads a key, its colon, and the white space around both.
func (p *scanner) key(t *token) bool {
	if p.space(); p.peek() != '"' {
		return p.fail("expected a key")
	}
	if !p.string(t) {
		return false
	}
	if p.space(); p.peek() != ':' {
		return p.fail("expected a colon")
	}
	p.i++
	p.space()
	return true
}

// next reads the comma after a value, or the end.
func (p *scanner) next(end byte) (done, ok bool) {
	p.space()
	switch c := p.peek(); {
	case c == ',':
		p.i++
		p.space()
		return false, true
	case c == end && c != 0:
		p.i++
		return true, true
	}
	return false, p.fail("expected a comma or the end of an object or array")
}
