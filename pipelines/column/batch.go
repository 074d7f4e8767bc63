package column

import "math"

// Time is an event time: microseconds since 1970-01-01 UTC.
type Time = int64

// The ends of event time. A watermark of MaxTime says that the input has ended.
const (
	MinTime Time = math.MinInt64
	MaxTime Time = math.MaxInt64
)

// Span is a piece of a column's buffer.
type Span struct{ Off, Len uint32 }

// Column is one typed vector. Only the slice of its kind is in use: Ints for Int64 and Timestamp, Floats, Bools, or
// Spans over Buf for String and Bytes. Null[i] is true where the value is absent; an empty Null means that none is.
type Column struct {
	Kind   Kind
	Ints   []int64
	Floats []float64
	Bools  []bool
	Spans  []Span
	Buf    []byte
	Null   []bool

	// Borrowed says that Buf is someone else's memory: it is read, and never appended to or used again after a Reset.
	Borrowed bool
}

// Batch is N rows in columns. Sel lists the rows that count, in order; nil means all of them. Times holds the event
// time of each row.
type Batch struct {
	Schema *Schema
	Cols   []Column
	Times  []Time
	Sel    []int32
	N      int
}

// NewBatch makes an empty batch with room for n rows.
func NewBatch(s *Schema, n int) *Batch {
	b := &Batch{Schema: s, Cols: make([]Column, len(s.Fields)), Times: make([]Time, 0, n)}
	for i, f := range s.Fields {
		b.Cols[i].Kind = f.Kind
		b.Cols[i].grow(n)
	}
	return b
}

func (c *Column) grow(n int) {
	switch c.Kind {
	case Bool:
		c.Bools = make([]bool, 0, n)
	case Int64, Timestamp:
		c.Ints = make([]int64, 0, n)
	case Float64:
		c.Floats = make([]float64, 0, n)
	case String, Bytes:
		c.Spans = make([]Span, 0, n)
	}
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	for i := range b.Cols {
		c := &b.Cols[i]
		if c.Borrowed {
			c.Buf, c.Borrowed = nil, false
		}
		c.Ints, c.Floats, c.Bools, c.Spans, c.Buf, c.Null = c.Ints[:0], c.Floats[:0], c.Bools[:0], c.Spans[:0], c.Buf[:0], c.Null[:0]
	}
	b.Times, b.Sel, b.N = b.Times[:0], nil, 0
}

// Len is the number of rows that count.
func (b *Batch) Len() int {
	if b.Sel != nil {
		return len(b.Sel)
	}
	return b.N
}

// Rows calls f for each row that counts.
func (b *Batch) Rows(f func(row int)) {
	if b.Sel == nil {
		for i := 0; i < b.N; i++ {
			f(i)
		}
		return
	}
	for _, i := range b.Sel {
		f(int(i))
	}
}

// Len is the number of values in the column.
func (c *Column) Len() int {
	switch c.Kind {
	case Bool:
		return len(c.Bools)
	case Int64, Timestamp:
		return len(c.Ints)
	case Float64:
		return len(c.Floats)
	default:
		return len(c.Spans)
	}
}

// IsNull reports whether row i has no value.
func (c *Column) IsNull(i int) bool { return len(c.Null) > 0 && c.Null[i] }

// At returns the bytes of row i of a String or Bytes column: a view, valid as long as the batch is.
func (c *Column) At(i int) []byte {
	s := c.Spans[i]
	return c.Buf[s.Off : s.Off+s.Len : s.Off+s.Len]
}

// AppendInt appends to an Int64 or Timestamp column.
func (c *Column) AppendInt(v int64) { c.Ints = append(c.Ints, v); c.notNull() }

// AppendFloat appends to a Float64 column.
func (c *Column) AppendFloat(v float64) { c.Floats = append(c.Floats, v); c.notNull() }

// AppendBool appends to a Bool column.
func (c *Column) AppendBool(v bool) { c.Bools = append(c.Bools, v); c.notNull() }

// AppendString copies v into the column's buffer.
func (c *Column) AppendString(v []byte) {
	if c.Borrowed {
		c.own()
	}
	off := len(c.Buf)
	c.Buf = append(c.Buf, v...)
	c.Spans = append(c.Spans, Span{uint32(off), uint32(len(v))})
	c.notNull()
}

// Borrow makes buf the column's buffer without copying it: AppendSpan then refers to it. The owner of buf keeps it unchanged until the batch is
// released. An AppendString after it copies the buffer first, so the spans stay valid.
func (c *Column) Borrow(buf []byte) { c.Buf, c.Borrowed = buf[:len(buf):len(buf)], true }

// own replaces a borrowed buffer by a copy with room to append.
func (c *Column) own() {
	c.Buf, c.Borrowed = append(make([]byte, 0, len(c.Buf)+len(c.Buf)/8+1024), c.Buf...), false
}

// AppendSpan appends a piece of Buf, which the caller has set to the fetched bytes: nothing is copied.
func (c *Column) AppendSpan(off, n uint32) { c.Spans = append(c.Spans, Span{off, n}); c.notNull() }

// AppendNull appends an absent value.
func (c *Column) AppendNull() {
	n := c.Len()
	for len(c.Null) < n {
		c.Null = append(c.Null, false)
	}
	switch c.Kind {
	case Bool:
		c.Bools = append(c.Bools, false)
	case Int64, Timestamp:
		c.Ints = append(c.Ints, 0)
	case Float64:
		c.Floats = append(c.Floats, 0)
	default:
		c.Spans = append(c.Spans, Span{})
	}
	c.Null = append(c.Null, true)
}

func (c *Column) notNull() {
	if len(c.Null) > 0 {
		c.Null = append(c.Null, false)
	}
}

// AppendValue copies row i of src, a column of the same kind.
func (c *Column) AppendValue(src *Column, i int) {
	if src.IsNull(i) {
		c.AppendNull()
		return
	}
	switch c.Kind {
	case Bool:
		c.AppendBool(src.Bools[i])
	case Int64, Timestamp:
		c.AppendInt(src.Ints[i])
	case Float64:
		c.AppendFloat(src.Floats[i])
	default:
		c.AppendString(src.At(i))
	}
}

// AppendTime appends the event time of the row being built.
func (b *Batch) AppendTime(t Time) { b.Times = append(b.Times, t) }
