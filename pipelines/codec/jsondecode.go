package codec

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"unsafe"

	"github.com/weir-project/weir/pipelines/column"
)

// RowError says why a row cannot be decoded, and which field it is about ("" where the row is no valid JSON).
type RowError struct {
	Format string // JSON, CSV
	Field  string
	Line   int // of the file, from 1; 0 where there is none
	Msg    string
}

func (e *RowError) Error() string {
	s := "decode " + e.Format + " row: "
	if e.Line > 0 {
		s += fmt.Sprintf("line %d: ", e.Line)
	}
	if e.Field != "" {
		s += fmt.Sprintf("field %q: ", e.Field)
	}
	return s + e.Msg
}

// JSONDecoder reads rows of a schema. It is used by one goroutine.
type JSONDecoder struct {
	fields  []column.Field
	index   map[string]int
	tokens  []token
	shape   []member // of the last row
	scratch []byte   // an unescaped key or value
	decoded []byte   // of base64
}

// NewJSONDecoder makes a decoder of rows of a schema.
func NewJSONDecoder(s column.Schema) *JSONDecoder {
	d := &JSONDecoder{fields: s.Fields, index: map[string]int{}, tokens: make([]token, len(s.Fields))}
	for i, f := range s.Fields {
		d.index[f.Name] = i
	}
	return d
}

// Decode appends one row to b, whose schema is the decoder's; values are copied. Keys come in any order, unknown ones are skipped, of the same
// key twice the last counts. A missing or null value is null where the field is nullable, else an error. After an error (*RowError) the batch is
// as it was.
func (d *JSONDecoder) Decode(b *column.Batch, row []byte) error {
	return d.decode(b, row, row, 0, false)
}

// DecodeAt is Decode of buf[span], where buf outlives the batch's use: a string that needs no change is a span of buf.
func (d *JSONDecoder) DecodeAt(b *column.Batch, buf []byte, span column.Span) error {
	return d.decode(b, buf, buf[span.Off:span.Off+span.Len], int(span.Off), true)
}

func (d *JSONDecoder) decode(b *column.Batch, buf, row []byte, off int, lend bool) error {
	clear(d.tokens)
	p := scanner{s: row}
	if !d.scan(&p) {
		return &RowError{Format: "JSON", Msg: fmt.Sprintf("byte %d: %s", p.i, p.why)}
	}
	for i := range d.fields {
		if msg := d.append(&b.Cols[i], i, buf, row, off, lend); msg != "" {
			for j := 0; j <= i; j++ {
				truncate(&b.Cols[j], b.N)
			}
			return &RowError{Format: "JSON", Field: d.fields[i].Name, Msg: msg}
		}
	}
	b.N++
	return nil
}

// member is what a row has before a value: from the end of the value before it, or of the row's beginning, with comma, white space, key and colon.
type member struct {
	text  []byte
	field int // of the schema, -1 for an unknown key
}

// Bounds on what is remembered of rows: a schema's worth, however the rows look.
const (
	maxShape  = 256
	maxMember = 256
)

// scan marks the values of known keys. The rows of one writer are alike up to their values, so what stood before the k'th value of the last row is
// tried first: where the same bytes stand there again, they mean the same again, and nothing in them is looked at twice.
func (d *JSONDecoder) scan(p *scanner) bool {
	for k := 0; ; k++ {
		field, known := -1, false
		if k < len(d.shape) {
			m := &d.shape[k]
			if end := p.i + len(m.text); end <= len(p.s) && string(p.s[p.i:end]) == string(m.text) {
				p.i, field, known = end, m.field, true
				p.space() // there may be more of it here than there was
			}
		}
		if !known {
			from := p.i
			var done, ok bool
			if field, done, ok = d.member(p, k == 0); !ok || done {
				return ok && d.end(p)
			}
			d.learn(k, p.s[from:p.i], field)
		}
		var ignored token
		value := &ignored
		if field >= 0 {
			value = &d.tokens[field]
			*value = token{}
		}
		if !p.value(value, 0) {
			return false
		}
	}
}

// member reads what stands before a value; done is the end of the object.
func (d *JSONDecoder) member(p *scanner, first bool) (field int, done, ok bool) {
	if first {
		if p.space(); p.peek() != '{' {
			return -1, false, p.fail("expected an object")
		}
		p.i++
		if p.space(); p.peek() == '}' {
			p.i++
			return -1, true, true
		}
	} else if done, ok := p.next('}'); !ok || done {
		return -1, done, ok
	}
	var key token
	if !p.key(&key) {
		return -1, false, false
	}
	name := p.s[key.start:key.end]
	if !key.raw {
		d.scratch = appendUnescaped(d.scratch[:0], name)
		name = d.scratch
	}
	if i, known := d.index[string(name)]; known {
		return i, false, true
	}
	return -1, false, true
}

// learn remembers what stands before the k'th value.
func (d *JSONDecoder) learn(k int, text []byte, field int) {
	switch {
	case len(text) > maxMember || k > len(d.shape) || k >= maxShape:
		return
	case k == len(d.shape):
		d.shape = append(d.shape, member{})
	}
	d.shape[k].text, d.shape[k].field = append(d.shape[k].text[:0], text...), field
}

func (d *JSONDecoder) end(p *scanner) bool {
	if p.space(); p.i < len(p.s) {
		return p.fail("the row goes on after its object")
	}
	return true
}

// append converts the value of one field, and returns why it cannot.
func (d *JSONDecoder) append(c *column.Column, i int, buf, row []byte, off int, lend bool) string {
	f, t := &d.fields[i], d.tokens[i]
	raw := row[t.start:t.end]
	if t.kind == 0 || t.kind == 'n' {
		if !f.Nullable {
			if t.kind == 0 {
				return "is missing, and the field is not nullable"
			}
			return "is null, and the field is not nullable"
		}
		c.AppendNull()
		return ""
	}
	switch {
	case t.kind == '"' && f.Kind == column.String && t.raw && lend:
		lendString(c, buf, off+t.start, len(raw))
		return ""
	case t.kind == '"' && !t.raw:
		d.scratch = appendUnescaped(d.scratch[:0], raw)
		raw = d.scratch
	}
	if t.kind == '"' && f.Kind == column.Bytes {
		v, err := base64.StdEncoding.AppendDecode(d.decoded[:0], raw)
		if err != nil {
			return fmt.Sprintf("%.40q is no base64", raw)
		}
		d.decoded = v
		c.AppendString(v)
		return ""
	}
	return convert(c, f.Kind, t.kind, raw)
}

func convert(c *column.Column, kind column.Kind, token byte, raw []byte) string {
	switch {
	case kind == column.String && token == '"':
		c.AppendString(raw)
	case kind == column.Int64 && token == '0':
		v, ok := parseInt(raw)
		if !ok {
			return fmt.Sprintf("%.40s is no 64-bit integer", raw)
		}
		c.AppendInt(v)
	case kind == column.Float64 && (token == '0' || token == '"'):
		return appendParsedFloat(c, token, raw)
	case kind == column.Bool && (token == 't' || token == 'f'):
		c.AppendBool(token == 't')
	case kind == column.Timestamp && token == '"':
		v, ok := ParseTime(raw)
		if !ok {
			return fmt.Sprintf("%.40q is no RFC 3339 time", raw)
		}
		c.AppendInt(v)
	default:
		return fmt.Sprintf("%s %.40s is no %s", tokenNames[token], raw, kind)
	}
	return ""
}

var tokenNames = map[byte]string{'"': "string", '0': "number", 't': "boolean", 'f': "boolean", '{': "object or array"}

var specialFloats = map[string]float64{"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}

func appendParsedFloat(c *column.Column, token byte, raw []byte) string {
	if token == '"' {
		v, ok := specialFloats[string(raw)]
		if !ok {
			return fmt.Sprintf("string %.40q is no number", raw)
		}
		c.AppendFloat(v)
		return ""
	}
	v, err := strconv.ParseFloat(view(raw), 64)
	if err != nil {
		return fmt.Sprintf("%.40s is no 64-bit float", raw)
	}
	c.AppendFloat(v)
	return ""
}

// view is b as a string for a call that does not keep it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// parseInt reads an integer of JSON's grammar: 18 digits cannot overflow.
func parseInt(s []byte) (int64, bool) {
	digits := s
	if len(s) > 0 && s[0] == '-' {
		digits = s[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		v, err := strconv.ParseInt(view(s), 10, 64)
		return v, err == nil
	}
	v := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	if len(digits) < len(s) {
		v = -v
	}
	return v, true
}

// lendString refers to buf where the column's spans all do, and copies where an earlier row had to.
func lendString(c *column.Column, buf []byte, off, n int) {
	if len(c.Spans) == 0 && !same(c.Buf, buf) {
		c.Borrow(buf)
	}
	if c.Borrowed && same(c.Buf, buf) {
		c.AppendSpan(uint32(off), uint32(n))
		return
	}
	c.AppendString(buf[off : off+n])
}

func same(a, b []byte) bool {
	return len(a) == len(b) && unsafe.SliceData(a) == unsafe.SliceData(b)
}

// truncate takes back what was appended after row n.
func truncate(c *column.Column, n int) {
	switch c.Kind {
	case column.Bool:
		c.Bools = c.Bools[:min(n, len(c.Bools))]
	case column.Int64, column.Timestamp:
		c.Ints = c.Ints[:min(n, len(c.Ints))]
	case column.Float64:
		c.Floats = c.Floats[:min(n, len(c.Floats))]
	default:
		c.Spans = c.Spans[:min(n, len(c.Spans))]
	}
	c.Null = c.Null[:min(n, len(c.Null))]
}
