package expr

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error says where in the source (a byte offset) an expression cannot be compiled, why, and what to write instead.
type Error struct {
	Offset int
	Msg    string
	Hint   string
}

func (e *Error) Error() string {
	s := fmt.Sprintf("compile expression: offset %d: %s", e.Offset, e.Msg)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func fail(off int, hint, format string, args ...any) *Error {
	return &Error{Offset: off, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokName
	tokInt
	tokFloat
	tokString
	tokOp
)

type token struct {
	kind tokenKind
	off  int
	text string // name, operator, or the value of a string
	i    uint64
	f    float64
}

func (t token) String() string {
	switch t.kind {
	case tokEnd:
		return "the end"
	case tokString:
		return strconv.Quote(t.text)
	case tokInt:
		return strconv.FormatUint(t.i, 10)
	case tokFloat:
		return formatFloat(t.f)
	}
	return "'" + t.text + "'"
}

var operators = []string{"**", "//", "<=", ">=", "==", "!=", "<<", ">>", ":=", "+", "-", "*", "/", "%", "<", ">", "(", ")", "[", "]", "{", "}", ",", ".", ":", "=", "&", "|", "^", "~", "@"}

// lex reads one token of Python at or after offset.
func lex(src string, off int) (token, int, *Error) {
	off = skipSpace(src, off)
	if off >= len(src) {
		return token{kind: tokEnd, off: len(src)}, off, nil
	}
	c := src[off]
	switch {
	case isDigit(c) || c == '.' && off+1 < len(src) && isDigit(src[off+1]):
		return lexNumber(src, off)
	case c == '"' || c == '\'':
		return lexString(src, off, off, false)
	case isNameStart(c):
		return lexName(src, off)
	}
	for _, o := range operators {
		if strings.HasPrefix(src[off:], o) {
			return token{kind: tokOp, off: off, text: o}, off + len(o), nil
		}
	}
	r, _ := utf8.DecodeRuneInString(src[off:])
	return token{}, off, fail(off, "", "unexpected character %q", r)
}

func skipSpace(src string, off int) int {
	for off < len(src) {
		switch src[off] {
		case ' ', '\t', '\n', '\r', '\f':
			off++
		case '#':
			for off < len(src) && src[off] != '\n' {
				off++
			}
		default:
			return off
		}
	}
	return off
}

func lexName(src string, off int) (token, int, *Error) {
	end := off
	for end < len(src) && (isNameStart(src[end]) || isDigit(src[end])) {
		end++
	}
	name := src[off:end]
	if end < len(src) && (src[end] == '"' || src[end] == '\'') {
		switch strings.ToLower(name) {
		case "r":
			return lexString(src, off, end, true)
		case "f", "rf", "fr":
			return token{}, off, fail(off, "join the parts with + and str()", "formatted strings are not in the compiled subset of Python")
		case "b", "rb", "br":
			return token{}, off, fail(off, "", "bytes literals are not in the compiled subset of Python")
		}
	}
	if !utf8.ValidString(name) {
		return token{}, off, fail(off, "", "name is not valid UTF-8")
	}
	return token{kind: tokName, off: off, text: name}, end, nil
}

func lexNumber(src string, off int) (token, int, *Error) {
	end, float := off, false
	if src[off] == '0' && off+1 < len(src) && strings.ContainsRune("xXoObB", rune(src[off+1])) {
		end += 2
		for end < len(src) && (isNameStart(src[end]) || isDigit(src[end])) {
			end++
		}
	} else {
		for end < len(src) && numberByte(src, off, end) {
			float = float || src[end] == '.' || src[end] == 'e' || src[end] == 'E'
			end++
		}
	}
	text := src[off:end]
	if end < len(src) && isNameStart(src[end]) {
		return token{}, off, fail(off, "put a space or an operator between them", "number %s runs into a name", text)
	}
	if float {
		if strings.Contains(text, "_") {
			return token{}, off, fail(off, "", "underscores in the float literal %s are not supported", text)
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return token{}, off, fail(off, "", "%s is not a 64-bit float", text)
		}
		return token{kind: tokFloat, off: off, f: f}, end, nil
	}
	if len(text) > 1 && text[0] == '0' && isDigit(text[1]) && strings.Trim(text, "0_") != "" {
		return token{}, off, fail(off, "drop the leading zero (octal is 0o"+strings.TrimLeft(text, "0")+")", "integer %s has a leading zero", text)
	}
	digits := text
	if isDigit(text[len(text)-1]) && strings.Trim(text, "0_") == "" {
		digits = "0"
	}
	i, err := strconv.ParseUint(digits, 0, 64)
	if err != nil || i > 1<<63 {
		return token{}, off, fail(off, "write it as a float, such as "+text+".0", "%s is not a 64-bit integer", text)
	}
	return token{kind: tokInt, off: off, i: i}, end, nil
}

func numberByte(src string, start, at int) bool {
	c := src[at]
	switch {
	case isDigit(c) || c == '.' || c == '_':
		return true
	case c == 'e' || c == 'E':
		return at+1 < len(src) && (isDigit(src[at+1]) || (src[at+1] == '-' || src[at+1] == '+') && at+2 < len(src) && isDigit(src[at+2]))
	case c == '-' || c == '+':
		return at > start && (src[at-1] == 'e' || src[at-1] == 'E')
	}
	return false
}

// lexString reads a literal whose quote stands at quote; off is where the token begins (at its prefix).
func lexString(src string, off, quote int, raw bool) (token, int, *Error) {
	q := src[quote]
	if strings.HasPrefix(src[quote:], strings.Repeat(string(q), 3)) {
		return token{}, off, fail(off, "use single quotes around it", "triple-quoted strings are not supported")
	}
	var b []byte
	for i := quote + 1; i < len(src); {
		switch c := src[i]; {
		case c == q:
			if !utf8.Valid(b) {
				return token{}, off, fail(off, "", "string literal is not valid UTF-8")
			}
			return token{kind: tokString, off: off, text: string(b)}, i + 1, nil
		case c == '\n':
			return token{}, off, fail(off, "close the quote", "string literal does not end on its line")
		case c == '\\' && i+1 < len(src) && raw:
			b = append(b, c, src[i+1])
			i += 2
		case c == '\\' && i+1 < len(src):
			n, err := unescape(src, i, &b)
			if err != nil {
				return token{}, off, err
			}
			i += n
		default:
			b = append(b, c)
			i++
		}
	}
	return token{}, off, fail(off, "close the quote", "string literal does not end")
}

var simpleEscapes = map[byte]byte{'\\': '\\', '\'': '\'', '"': '"', 'n': '\n', 't': '\t', 'r': '\r', 'a': 7, 'b': 8, 'f': 12, 'v': 11}

// unescape decodes the escape at src[i] and returns how many bytes it takes.
func unescape(src string, i int, b *[]byte) (int, *Error) {
	c := src[i+1]
	if v, ok := simpleEscapes[c]; ok {
		*b = append(*b, v)
		return 2, nil
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	switch {
	case c == '\n':
		return 2, nil
	case digits > 0:
		if i+2+digits > len(src) {
			return 0, fail(i, "", "escape \\%c needs %d hexadecimal digits", c, digits)
		}
		v, err := strconv.ParseUint(src[i+2:i+2+digits], 16, 32)
		if err != nil || !utf8.ValidRune(rune(v)) {
			return 0, fail(i, "", "escape %s is not a character", src[i:i+2+digits])
		}
		*b = utf8.AppendRune(*b, rune(v))
		return 2 + digits, nil
	case c >= '0' && c <= '7':
		end := i + 2
		for end < len(src) && end < i+4 && src[end] >= '0' && src[end] <= '7' {
			end++
		}
		v, _ := strconv.ParseUint(src[i+1:end], 8, 32) // at most three octal digits
		*b = utf8.AppendRune(*b, rune(v))
		return end - i, nil
	}
	*b = append(*b, '\\') // Python keeps an unknown escape as it stands
	return 1, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}
