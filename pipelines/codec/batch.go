package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/weir-project/weir/pipelines/column"
)

// batchVersion is the first byte of an encoded batch. It lives as long as the run that made it, in memory and between the processes of an engine.
const batchVersion = 1

// AppendBatch appends the selected rows of b: their number, their event times, and then column by column the nulls and the values. The schema is not
// in it: whoever reads it has it from the physical graph.
func AppendBatch(dst []byte, b *column.Batch) []byte {
	dst = binary.AppendUvarint(append(dst, batchVersion), uint64(b.Len()))
	b.Rows(func(row int) { dst = binary.LittleEndian.AppendUint64(dst, uint64(b.Times[row])) })
	for i := range b.Cols {
		dst = appendColumn(dst, b, &b.Cols[i])
	}
	return dst
}

func appendColumn(dst []byte, b *column.Batch, c *column.Column) []byte {
	nulls := len(c.Null) > 0
	dst = append(dst, boolByte(nulls))
	b.Rows(func(row int) {
		if nulls {
			dst = append(dst, boolByte(c.Null[row]))
			if c.Null[row] {
				return
			}
		}
		switch c.Kind {
		case column.Bool:
			dst = append(dst, boolByte(c.Bools[row]))
		case column.Int64, column.Timestamp:
			dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Ints[row]))
		case column.Float64:
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Floats[row]))
		default:
			v := c.At(row)
			dst = append(binary.AppendUvarint(dst, uint64(len(v))), v...)
		}
	})
	return dst
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

var errShort = errors.New("it ends early")

// DecodeBatch appends the rows of an encoded batch to b, whose schema is that of the batch that was encoded. Values are copied. After an error b is of
// no use.
func DecodeBatch(b *column.Batch, data []byte) error {
	r := batchReader{data: data}
	if v := r.byte(); r.err == nil && v != batchVersion {
		return fmt.Errorf("read a batch of %d bytes: its version is %d and not %d", len(data), v, batchVersion)
	}
	n := int(min(r.uvarint(), math.MaxInt32))
	if r.err == nil && n > len(r.data)/8 {
		r.err = errShort
	}
	for i := 0; i < n && r.err == nil; i++ {
		b.AppendTime(int64(r.word()))
	}
	for i := range b.Cols {
		r.column(&b.Cols[i], n)
	}
	if r.err == nil && len(r.data) > 0 {
		r.err = fmt.Errorf("%d bytes are left after its %d columns", len(r.data), len(b.Cols))
	}
	if r.err != nil {
		return fmt.Errorf("read a batch of %d bytes: %w", len(data), r.err)
	}
	b.N += n
	return nil
}

// batchReader takes values from the front of data; after an error it gives zeros.
type batchReader struct {
	data []byte
	err  error
}

func (r *batchReader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.data)) {
		if r.err == nil {
			r.err = errShort
		}
		return nil
	}
	v := r.data[:n]
	r.data = r.data[n:]
	return v
}

func (r *batchReader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *batchReader) word() uint64 {
	if v := r.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (r *batchReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		if r.err == nil {
			r.err = errShort
		}
		return 0
	}
	r.take(uint64(n))
	return v
}

func (r *batchReader) column(c *column.Column, n int) {
	nulls := r.byte() == 1
	for i := 0; i < n && r.err == nil; i++ {
		if nulls && r.byte() == 1 {
			c.AppendNull()
			continue
		}
		switch c.Kind {
		case column.Bool:
			c.AppendBool(r.byte() == 1)
		case column.Int64, column.Timestamp:
			c.AppendInt(int64(r.word()))
		case column.Float64:
			c.AppendFloat(math.Float64frombits(r.word()))
		default:
			c.AppendString(r.take(r.uvarint()))
		}
	}
}
