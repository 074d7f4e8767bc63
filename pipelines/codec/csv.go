package codec

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-project/weir/pipelines/column"
)

// CSVRecord finds the first record of data: n is its length with its line end, and lines how many lines it takes. A record ends at a line feed
// that stands in no quotes. complete is false where data holds no such line feed: then n is len(data), the last record if no more data comes.
func CSVRecord(data []byte) (n, lines int, complete bool) {
	quotes := 0
	for {
		end := bytes.IndexByte(data[n:], '\n')
		lines++
		if end < 0 {
			return len(data), lines, false
		}
		quotes += bytes.Count(data[n:n+end], quote)
		n += end + 1
		if quotes%2 == 0 {
			return n, lines, true
		}
	}
}

var quote = []byte{'"'}

// CSVDecoder reads CSV records (RFC 4180) into rows of a schema by the names in the header. It is used by one goroutine.
type CSVDecoder struct {
	fields    []column.Field
	delimiter byte
	columns   []int // by place in the record: the field, or -1
	cells     []cell
	scratch   []byte
}

type cell struct {
	start, end int
	quoted     bool
	doubled    bool // holds "" for a quote
}

// NewCSVDecoder makes a decoder. delimiter 0 is a comma. Until Header is called the columns are the schema's, in order.
func NewCSVDecoder(s column.Schema, delimiter byte) *CSVDecoder {
	if delimiter == 0 {
		delimiter = ','
	}
	d := &CSVDecoder{fields: s.Fields, delimiter: delimiter}
	for i := range s.Fields {
		d.columns = append(d.columns, i)
	}
	return d
}

// Header reads the record that names the columns. Columns that the schema does not have are skipped; a field without a column is an error.
func (d *CSVDecoder) Header(record []byte) error {
	record = bytes.TrimPrefix(trimEnd(record), []byte("\xef\xbb\xbf"))
	if why := d.split(record); why != "" {
		return &RowError{Format: "CSV", Line: 1, Msg: "header: " + why}
	}
	d.columns = d.columns[:0]
	found := make([]bool, len(d.fields))
	names := make([]string, 0, len(d.cells))
	for _, c := range d.cells {
		name := string(d.text(record, c))
		names = append(names, name)
		field := column.Schema{Fields: d.fields}.Index(name)
		if field >= 0 && found[field] {
			return &RowError{Format: "CSV", Line: 1, Field: name, Msg: "the header names it twice"}
		}
		if field >= 0 {
			found[field] = true
		}
		d.columns = append(d.columns, field)
	}
	for i, ok := range found {
		if !ok {
			return &RowError{Format: "CSV", Line: 1, Field: d.fields[i].Name, Msg: "the header has no such column (columns: " + strings.Join(names, ", ") + ")"}
		}
	}
	return nil
}

// Decode appends one row to b; line is where the record begins, for errors. An empty value is null where the field is nullable; elsewhere it is
// the empty string, or an error. In a nullable string field "" in quotes is the empty string. After an error (*RowError) the batch is as it was.
func (d *CSVDecoder) Decode(b *column.Batch, record []byte, line int) error {
	record = trimEnd(record)
	if why := d.split(record); why != "" {
		return &RowError{Format: "CSV", Line: line, Msg: why}
	}
	if len(d.cells) != len(d.columns) {
		return &RowError{Format: "CSV", Line: line, Msg: fmt.Sprintf("%d values, not %d as the header has", len(d.cells), len(d.columns))}
	}
	for at, field := range d.columns {
		if field < 0 {
			continue
		}
		c := d.cells[at]
		if why := appendText(&b.Cols[field], d.fields[field], d.text(record, c), c.quoted); why != "" {
			for i := range d.fields {
				truncate(&b.Cols[i], b.N)
			}
			return &RowError{Format: "CSV", Line: line, Field: d.fields[field].Name, Msg: why}
		}
	}
	b.N++
	return nil
}

// trimEnd takes the line end away.
func trimEnd(record []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(record, []byte("\n")), []byte("\r"))
}

// split finds the cells, and returns why the record is none.
func (d *CSVDecoder) split(s []byte) string {
	d.cells = d.cells[:0]
	for i := 0; ; i++ {
		var c cell
		if i < len(s) && s[i] == '"' {
			c = cell{start: i + 1, quoted: true}
			for i++; ; i += 2 {
				end := bytes.IndexByte(s[i:], '"')
				if end < 0 {
					return "a quoted value does not end"
				}
				if i += end; i+1 >= len(s) || s[i+1] != '"' {
					break
				}
				c.doubled = true
			}
			c.end = i
			i++
			if i < len(s) && s[i] != d.delimiter {
				return fmt.Sprintf("text after the quoted value %.40q", s[c.start:c.end])
			}
		} else {
			end := i
			for end < len(s) && s[end] != d.delimiter {
				if s[end] == '"' {
					return fmt.Sprintf("a quote inside the unquoted value %.40q", s[i:end])
				}
				end++
			}
			c = cell{start: i, end: end}
			i = end
		}
		d.cells = append(d.cells, c)
		if i >= len(s) {
			return ""
		}
	}
}

func (d *CSVDecoder) text(record []byte, c cell) []byte {
	s := record[c.start:c.end]
	if !c.doubled {
		return s
	}
	d.scratch = d.scratch[:0]
	for i := 0; i < len(s); i++ {
		d.scratch = append(d.scratch, s[i])
		if s[i] == '"' {
			i++
		}
	}
	return d.scratch
}

// appendText converts text to a field's type, and returns why it cannot.
func appendText(c *column.Column, f column.Field, text []byte, quoted bool) string {
	if len(text) == 0 && f.Nullable && !(quoted && f.Kind == column.String) {
		c.AppendNull()
		return ""
	}
	switch f.Kind {
	case column.String:
		if !utf8.Valid(text) {
			// As JSON it would become something else, and its key's partition with it.
			return fmt.Sprintf("%.40q is not UTF-8; convert the file (iconv -f latin1 -t utf-8), or make the field bytes", text)
		}
		c.AppendString(text)
		return ""
	case column.Bytes:
		c.AppendString(text)
		return ""
	case column.Int64:
		if v, ok := parseInt(text); ok {
			c.AppendInt(v)
			return ""
		}
	case column.Float64:
		if v, err := strconv.ParseFloat(view(text), 64); err == nil || math.IsInf(v, 0) && len(text) > 0 {
			c.AppendFloat(v)
			return ""
		}
	case column.Timestamp:
		if v, ok := ParseTime(text); ok {
			c.AppendInt(v)
			return ""
		}
	case column.Bool:
		if v, ok := parseBool(text); ok {
			c.AppendBool(v)
			return ""
		}
	}
	if len(text) == 0 {
		return fmt.Sprintf("is empty, and the field (%s) is not nullable", f.Kind)
	}
	return fmt.Sprintf("%.40q is no %s", text, f.Kind)
}

func parseBool(text []byte) (v, ok bool) {
	switch {
	case bytes.EqualFold(text, []byte("true")), string(text) == "1":
		return true, true
	case bytes.EqualFold(text, []byte("false")), string(text) == "0":
		return false, true
	}
	return false, false
}

// CSVEncoder writes rows as RFC 4180 with a line feed at the end of each. It has no state.
type CSVEncoder struct {
	fields    []column.Field
	delimiter byte
}

// NewCSVEncoder makes an encoder. delimiter 0 is a comma.
func NewCSVEncoder(s column.Schema, delimiter byte) *CSVEncoder {
	if delimiter == 0 {
		delimiter = ','
	}
	return &CSVEncoder{fields: s.Fields, delimiter: delimiter}
}

// AppendHeader appends the line of the names.
func (e *CSVEncoder) AppendHeader(dst []byte) []byte {
	for i, f := range e.fields {
		if i > 0 {
			dst = append(dst, e.delimiter)
		}
		dst = e.appendCell(dst, []byte(f.Name), false)
	}
	return append(dst, '\n')
}

// AppendRow appends a row. Null is the empty value; an empty string of a nullable field is "". Numbers and times are written as in JSON.
func (e *CSVEncoder) AppendRow(dst []byte, b *column.Batch, row int) []byte {
	start := len(dst)
	for i, f := range e.fields {
		if i > 0 {
			dst = append(dst, e.delimiter)
		}
		dst = e.appendField(dst, &b.Cols[i], f, row)
	}
	if len(e.fields) == 1 && len(dst) == start && b.Cols[0].Kind == column.String && !b.Cols[0].IsNull(row) {
		dst = append(dst, `""`...) // an empty line is no record
	}
	return append(dst, '\n')
}

func (e *CSVEncoder) appendField(dst []byte, c *column.Column, f column.Field, row int) []byte {
	if c.IsNull(row) {
		return dst
	}
	switch c.Kind {
	case column.Bool:
		return strconv.AppendBool(dst, c.Bools[row])
	case column.Int64:
		return strconv.AppendInt(dst, c.Ints[row], 10)
	case column.Float64:
		if v := c.Floats[row]; !math.IsNaN(v) && !math.IsInf(v, 0) {
			return appendNumber(dst, v)
		}
		return strconv.AppendFloat(dst, c.Floats[row], 'g', -1, 64)
	case column.Timestamp:
		return AppendTime(dst, c.Ints[row])
	}
	return e.appendCell(dst, c.At(row), f.Nullable)
}

func (e *CSVEncoder) appendCell(dst, s []byte, nullable bool) []byte {
	if len(s) == 0 && nullable {
		return append(dst, `""`...)
	}
	plain := len(s) == 0 || s[0] != ' ' && s[len(s)-1] != ' '
	for _, c := range s {
		plain = plain && c != e.delimiter && c != '"' && c != '\n' && c != '\r'
	}
	if plain {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for _, c := range s {
		if c == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}
