package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/weir-project/weir/pipelines/column"
)

// Batch is one batch's header; its records are still encoded.
type Batch struct {
	Base          int64 // offset of the first record as it was written
	Next          int64 // the offset after the batch: control records and those that compaction removed count too
	ProducerID    int64 // -1 without
	Epoch         int16
	Sequence      int32
	Transactional bool
	Control       bool // a commit or abort marker: see Marker
	Compression   Compression
	Count         int   // records in it
	FirstTime     int64 // milliseconds
	MaxTime       int64 // milliseconds

	logAppend bool
	buf       []byte // the bytes that Next was given; the records are buf[from:to]
	from, to  int
}

// Columns are the records of one batch. A null and an empty key or value are both empty.
type Columns struct {
	Buf     []byte
	Keys    []column.Span
	Values  []column.Span
	Offsets []int64
	Times   []int64 // milliseconds

	unpacked []byte
}

// Len is the number of records.
func (c *Columns) Len() int { return len(c.Values) }

// Key is record i's key, a view.
func (c *Columns) Key(i int) []byte { return view(c.Buf, c.Keys[i]) }

// Value is record i's value, a view.
func (c *Columns) Value(i int) []byte { return view(c.Buf, c.Values[i]) }

func view(b []byte, s column.Span) []byte { return b[s.Off : s.Off+s.Len : s.Off+s.Len] }

// Next reads the header of the batch at buf[pos], checks its CRC and returns the place after it. ErrPartial: buf ends inside it.
func Next(buf []byte, pos int) (Batch, int, error) {
	b := buf[pos:]
	if len(b) < atLength+4 {
		return Batch{}, pos, ErrPartial
	}
	base := int64(binary.BigEndian.Uint64(b))
	size := int64(binary.BigEndian.Uint32(b[atLength:])) + atLength + 4
	if len(b) > atMagic && b[atMagic] != 2 {
		return Batch{}, pos, fmt.Errorf("record batch at offset %d: format version %d, and only 2 is read", base, b[atMagic])
	}
	if size < headerSize {
		return Batch{}, pos, fmt.Errorf("record batch at offset %d: %d bytes, and a header has %d", base, size, headerSize)
	}
	if int64(len(b)) < size {
		return Batch{}, pos, ErrPartial
	}
	raw := b[:size]
	if want, got := binary.BigEndian.Uint32(raw[atCRC:]), crc32.Checksum(raw[atAttributes:], castagnoli); want != got {
		return Batch{}, pos, fmt.Errorf("record batch at offset %d: CRC %08x of its %d bytes is not the %08x that it states", base, got, size, want)
	}
	batch, err := header(base, raw)
	if err != nil {
		return Batch{}, pos, err
	}
	batch.buf, batch.from, batch.to = buf, pos+headerSize, pos+int(size)
	return batch, batch.to, nil
}

func header(base int64, raw []byte) (Batch, error) {
	attributes := binary.BigEndian.Uint16(raw[atAttributes:])
	last := int32(binary.BigEndian.Uint32(raw[atLastDelta:]))
	count := int32(binary.BigEndian.Uint32(raw[atCount:]))
	if last < 0 || count < 0 || int64(count) > int64(last)+1 || base < 0 || base+int64(last)+1 < base {
		return Batch{}, fmt.Errorf("record batch at offset %d: last delta %d with %d records", base, last, count)
	}
	return Batch{
		Base:          base,
		Next:          base + int64(last) + 1,
		ProducerID:    int64(binary.BigEndian.Uint64(raw[atProducer:])),
		Epoch:         int16(binary.BigEndian.Uint16(raw[atEpoch:])),
		Sequence:      int32(binary.BigEndian.Uint32(raw[atSequence:])),
		Transactional: attributes&transactionalBit != 0,
		Control:       attributes&controlBit != 0,
		Compression:   Compression(attributes & compressionMask),
		Count:         int(count),
		FirstTime:     int64(binary.BigEndian.Uint64(raw[atFirstTime:])),
		MaxTime:       int64(binary.BigEndian.Uint64(raw[atMaxTime:])),
		logAppend:     attributes&logAppendBit != 0,
	}, nil
}

// Decode fills c with the batch's records. c.Buf is the very slice that was given to Next, so that the batches of one answer share it; where the
// batch is compressed it is c's own, which the next compressed batch overwrites.
func (b *Batch) Decode(c *Columns, codec Codec) error {
	pos, end := b.from, b.to
	c.Buf = b.buf
	if b.Compression != None {
		out, err := codec.Decompress(c.unpacked[:0], b.buf[b.from:b.to], b.Compression, MaxDecompressed)
		if err != nil {
			return fmt.Errorf("record batch at offset %d: decompress %d bytes: %w", b.Base, b.to-b.from, err)
		}
		c.unpacked, c.Buf = out, out
		pos, end = 0, len(out)
	}
	if b.Count > (end-pos)/minRecord {
		return fmt.Errorf("record batch at offset %d: %d records in %d bytes", b.Base, b.Count, end-pos)
	}
	c.reset(b.Count)
	for i := 0; i < b.Count; i++ {
		var ok bool
		if pos, ok = b.one(c, i, pos, end); !ok {
			return fmt.Errorf("record batch at offset %d: record %d of %d is malformed near byte %d", b.Base, i, b.Count, pos)
		}
	}
	if pos != end {
		return fmt.Errorf("record batch at offset %d: %d bytes after its %d records", b.Base, end-pos, b.Count)
	}
	return nil
}

func (c *Columns) reset(n int) {
	if cap(c.Values) < n {
		c.Keys, c.Values = make([]column.Span, n), make([]column.Span, n)
		c.Offsets, c.Times = make([]int64, n), make([]int64, n)
	}
	c.Keys, c.Values, c.Offsets, c.Times = c.Keys[:n], c.Values[:n], c.Offsets[:n], c.Times[:n]
}

// one decodes record i at pos, and nothing from end on.
func (b *Batch) one(c *Columns, i, pos, end int) (int, bool) {
	size, pos, ok := varint(c.Buf[:end], pos)
	if !ok || size < minRecord-1 || size > int64(end-pos) {
		return pos, false
	}
	buf := c.Buf[:pos+int(size)]
	pos++ // the record's attributes: none is defined
	millis, pos, ok := varint(buf, pos)
	if !ok {
		return pos, false
	}
	delta, pos, ok := varint(buf, pos)
	if !ok || delta < 0 || delta >= b.Next-b.Base {
		return pos, false
	}
	if c.Keys[i], pos, ok = span(buf, pos); !ok {
		return pos, false
	}
	if c.Values[i], pos, ok = span(buf, pos); !ok {
		return pos, false
	}
	c.Offsets[i] = b.Base + delta
	c.Times[i] = b.FirstTime + millis
	if b.logAppend {
		c.Times[i] = b.MaxTime
	}
	return skipHeaders(buf, pos)
}

func span(buf []byte, pos int) (column.Span, int, bool) {
	n, pos, ok := varint(buf, pos)
	if !ok || n < -1 || n > int64(len(buf)-pos) {
		return column.Span{}, pos, false
	}
	if n < 0 {
		n = 0
	}
	return column.Span{Off: uint32(pos), Len: uint32(n)}, pos + int(n), true
}

// skipHeaders passes over the headers: pos must then be the record's end.
func skipHeaders(buf []byte, pos int) (int, bool) {
	n, pos, ok := varint(buf, pos)
	if !ok || n < 0 || n > int64(len(buf)-pos) {
		return pos, false
	}
	for ; n > 0; n-- {
		for range 2 { // a name and a value
			if _, pos, ok = span(buf, pos); !ok {
				return pos, false
			}
		}
	}
	return pos, pos == len(buf)
}

// varint reads a zigzag varint; the forms of one and two bytes, by far the most frequent, without a loop.
func varint(b []byte, pos int) (int64, int, bool) {
	if uint(pos) >= uint(len(b)) {
		return 0, pos, false
	}
	if u := uint64(b[pos]); u < 0x80 {
		return int64(u>>1) ^ -int64(u&1), pos + 1, true
	}
	if pos+1 < len(b) && b[pos+1] < 0x80 {
		u := uint64(b[pos]&0x7f) | uint64(b[pos+1])<<7
		return int64(u>>1) ^ -int64(u&1), pos + 2, true
	}
	return longVarint(b, pos)
}

func longVarint(b []byte, pos int) (int64, int, bool) {
	u, n := binary.Uvarint(b[pos:])
	if n <= 0 {
		return 0, pos, false
	}
	return int64(u>>1) ^ -int64(u&1), pos + n, true
}

// Marker says what a control batch ends.
type Marker uint8

// The markers. Other control records (a leader's change) are Unrelated.
const (
	Unrelated Marker = iota
	Abort
	Commit
)

// Marker reads a control batch's record: its key is {version, type}, and type 0 is an abort, 1 a commit.
func (b *Batch) Marker(c *Columns, codec Codec) (Marker, error) {
	if err := b.Decode(c, codec); err != nil {
		return Unrelated, err
	}
	if c.Len() == 0 { // compaction removed it
		return Unrelated, nil
	}
	key := c.Key(0)
	if len(key) < 4 {
		return Unrelated, fmt.Errorf("control batch at offset %d: its key has %d bytes, and 4 are needed", b.Base, len(key))
	}
	switch binary.BigEndian.Uint16(key[2:]) {
	case 0:
		return Abort, nil
	case 1:
		return Commit, nil
	}
	return Unrelated, nil
}
