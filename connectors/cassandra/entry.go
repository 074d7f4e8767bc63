package cassandra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/weir-project/weir/pipelines/column"
)

// The format of an outbox entry is docs/formats/cassandra-outbox.md: a version, a check of the columns, then rows: a write timestamp and
// the values as CQL spells them, so that applying copies nothing.

const (
	entryVersion = 1
	headerSize   = 5
	maxEntry     = 64 << 10 // bytes after which an entry is closed
	slabRows     = 128      // rows whose values are allocated together
)

// fingerprint changes with the names, the order and the types of the columns.
func (t *table) fingerprint() uint32 {
	h := crc32.NewIEEE()
	for _, f := range t.fields {
		fmt.Fprintf(h, "%q %s;", f.Name, f.Kind)
	}
	return h.Sum32()
}

func (t *table) header() []byte {
	return binary.LittleEndian.AppendUint32([]byte{entryVersion}, t.fingerprint())
}

// appendRow appends one row with its write timestamp in microseconds.
func (t *table) appendRow(dst []byte, b *column.Batch, row int, written int64) ([]byte, error) {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(written))
	for i, f := range t.fields {
		c := &b.Cols[i]
		if c.IsNull(row) {
			dst = append(dst, 0)
			continue
		}
		switch f.Kind {
		case column.Bool:
			v := byte(0)
			if c.Bools[row] {
				v = 1
			}
			dst = append(dst, 2, v)
		case column.Int64:
			dst = binary.BigEndian.AppendUint64(append(dst, 9), uint64(c.Ints[row]))
		case column.Float64:
			dst = binary.BigEndian.AppendUint64(append(dst, 9), math.Float64bits(c.Floats[row]))
		case column.Timestamp:
			if c.Ints[row]%1000 != 0 {
				return dst, failValue("row %d: field %q is %d microseconds since 1970, and cassandra's timestamp has milliseconds only; make it an integer or cut it off before",
					row, f.Name, c.Ints[row])
			}
			dst = binary.BigEndian.AppendUint64(append(dst, 9), uint64(c.Ints[row]/1000))
		default:
			v := c.At(row)
			dst = append(binary.AppendUvarint(dst, uint64(len(v))+1), v...)
		}
	}
	if n := len(dst) - start; n > maxRowBytes {
		return dst, failValue("row %d has %d bytes, and a row of a table may have at most %d", row, n, maxRowBytes)
	}
	return dst, t.checkKey(b, row)
}

// maxKeyBytes is the longest part of a primary key (FBUtilities.MAX_UNSIGNED_SHORT). maxRowBytes is well below the 1 MiB of an outbox record and
// the 4 MiB of a mutation.
const (
	maxKeyBytes = 65535
	maxRowBytes = 768 << 10
)

// checkKey refuses keys that the server would refuse after the commit, when nothing can be done about them.
func (t *table) checkKey(b *column.Batch, row int) error {
	for _, keys := range [][]int{t.partition, t.cluster} {
		for _, i := range keys {
			if b.Cols[i].IsNull(row) {
				return failValue("row %d: field %q is null, and it is part of the primary key", row, t.fields[i].Name)
			}
			if c := &b.Cols[i]; (c.Kind == column.String || c.Kind == column.Bytes) && c.Spans[row].Len > maxKeyBytes {
				return failValue("row %d: field %q has %d bytes, and cassandra's keys have at most %d", row, t.fields[i].Name, c.Spans[row].Len, maxKeyBytes)
			}
		}
	}
	if len(t.partition) == 1 {
		c := &b.Cols[t.partition[0]]
		if (c.Kind == column.String || c.Kind == column.Bytes) && c.Spans[row].Len == 0 {
			return failValue("row %d: field %q is empty, and cassandra takes no empty partition key", row, t.fields[t.partition[0]].Name)
		}
	}
	return nil
}

// stagedRow is a decoded row: values are views of its entry, nil for null.
type stagedRow struct {
	written int64
	values  []value
	key     []byte // the partition key's value, of several each with its length: equal for rows of one partition
	size    int
}

// value is one column's value as CQL spells it.
type value struct {
	field *column.Field
	bytes []byte
	null  bool
}

// decode calls f for each row of an entry.
func (t *table) decode(entry []byte, f func(stagedRow)) error {
	switch {
	case len(entry) < headerSize:
		return fmt.Errorf("it has %d bytes, fewer than its header", len(entry))
	case entry[0] != entryVersion:
		return fmt.Errorf("it is of version %d, and this program knows %d; use the program that wrote it", entry[0], entryVersion)
	case binary.LittleEndian.Uint32(entry[1:]) != t.fingerprint():
		return errors.New("it was written for other columns; run the pipeline as it was until its outbox is empty")
	}
	var slab []value
	for rest := entry[headerSize:]; len(rest) > 0; {
		if len(slab) < len(t.fields) {
			slab = make([]value, slabRows*len(t.fields))
		}
		row, next, err := t.decodeRow(rest, slab[:len(t.fields):len(t.fields)])
		if err != nil {
			return err
		}
		f(row)
		rest, slab = next, slab[len(t.fields):]
	}
	return nil
}

// decodeRow reads one row into values.
func (t *table) decodeRow(rest []byte, values []value) (stagedRow, []byte, error) {
	cut := errors.New("it is cut off")
	if len(rest) < 8 {
		return stagedRow{}, nil, cut
	}
	row := stagedRow{written: int64(binary.LittleEndian.Uint64(rest)), values: values, size: len(rest)}
	rest = rest[8:]
	for i := range t.fields {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used)+1 {
			return stagedRow{}, nil, cut
		}
		rest = rest[used:]
		row.values[i] = value{field: &t.fields[i], null: n == 0}
		if n > 0 {
			row.values[i].bytes, rest = rest[:n-1:n-1], rest[n-1:]
		}
	}
	row.size -= len(rest)
	if len(t.partition) == 1 {
		row.key = row.values[t.partition[0]].bytes
		return row, rest, nil
	}
	for _, i := range t.partition {
		row.key = append(binary.AppendUvarint(row.key, uint64(len(row.values[i].bytes))), row.values[i].bytes...)
	}
	return row, rest, nil
}
