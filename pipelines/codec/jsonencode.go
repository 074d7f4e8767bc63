package codec

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/weir-project/weir/pipelines/column"
)

// JSONEncoder writes rows as JSON objects. It has no state: any number of goroutines may use one.
type JSONEncoder struct {
	prefix [][]byte // `{"name":` for the first field, `,"name":` for the others
}

// NewJSONEncoder makes an encoder of rows of a schema.
func NewJSONEncoder(s column.Schema) *JSONEncoder {
	e := &JSONEncoder{}
	for i, f := range s.Fields {
		p := []byte{','}
		if i == 0 {
			p = []byte{'{'}
		}
		e.prefix = append(e.prefix, append(appendString(p, []byte(f.Name)), ':'))
	}
	return e
}

// AppendRow appends a row of a batch of the encoder's schema. An absent value is written as null.
func (e *JSONEncoder) AppendRow(dst []byte, b *column.Batch, row int) []byte {
	if len(e.prefix) == 0 {
		return append(dst, "{}"...)
	}
	for i, p := range e.prefix {
		dst = appendValue(append(dst, p...), &b.Cols[i], row)
	}
	return append(dst, '}')
}

// AppendKey appends the key of a row (docs/formats/channel.md): the bytes of one string field, else a JSON array of the fields' values. A null
// string is the empty key.
func AppendKey(dst []byte, b *column.Batch, row int, cols []int) []byte {
	if len(cols) == 1 && b.Cols[cols[0]].Kind == column.String {
		if c := &b.Cols[cols[0]]; !c.IsNull(row) {
			dst = append(dst, c.At(row)...)
		}
		return dst
	}
	dst = append(dst, '[')
	for i, c := range cols {
		if k := &b.Cols[c]; k.Kind == column.Float64 && !k.IsNull(row) && k.Floats[row] == 0 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '0') // 0 and -0 are one key
			continue
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendValue(dst, &b.Cols[c], row)
	}
	return append(dst, ']')
}

func appendValue(dst []byte, c *column.Column, row int) []byte {
	if c.IsNull(row) {
		return append(dst, "null"...)
	}
	switch c.Kind {
	case column.Bool:
		return strconv.AppendBool(dst, c.Bools[row])
	case column.Int64:
		return strconv.AppendInt(dst, c.Ints[row], 10)
	case column.Float64:
		return appendFloat(dst, c.Floats[row])
	case column.Timestamp:
		return append(AppendTime(append(dst, '"'), c.Ints[row]), '"')
	case column.String:
		return appendString(dst, c.At(row))
	}
	return append(base64.StdEncoding.AppendEncode(append(dst, '"'), c.At(row)), '"')
}

// appendFloat writes the shortest digits that read back as f, as encoding/json does. JSON has no word for the three others: they are strings.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case f != f:
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return appendNumber(dst, f)
}

func appendNumber(dst []byte, f float64) []byte {
	abs := math.Abs(f)
	if abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); dst[n-4] == 'e' && dst[n-2] == '0' { // e-09 is e-9
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendString writes a JSON string; what is not UTF-8 becomes U+FFFD, as in encoding/json.
func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i := plain(s, 0); i < len(s); i = plain(s, i) {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\uFFFD"...)
				start = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
