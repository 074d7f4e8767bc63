package admin

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The flags of a result's metadata, and the column types that hold others.
const (
	globalSpec = 0x1
	morePages  = 0x2
	noMetadata = 0x4

	typeCustom = 0x00
	typeList   = 0x20
	typeMap    = 0x21
	typeSet    = 0x22
)

// errShort says that an answer ends too early. A decoder that has met its end reads zeros from then on.
var errShort = errors.New("the answer ends within a value")

// decoder reads the notations of the native protocol.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.err, d.b = errShort, nil
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) int() int {
	b := d.take(4)
	if len(b) < 4 {
		return 0
	}
	return int(int32(binary.BigEndian.Uint32(b)))
}

func (d *decoder) short() int {
	b := d.take(2)
	if len(b) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(b))
}

func (d *decoder) text() string { return string(d.take(d.short())) }

// skipType passes over a column's type. Types of our queries are flat, or collections of flat ones.
func (d *decoder) skipType() {
	switch d.short() {
	case typeCustom:
		d.text()
	case typeList, typeSet:
		d.short()
	case typeMap:
		d.short()
		d.short()
	}
}

// rows decodes a RESULT of kind Rows: its metadata is passed over, since the caller knows its columns.
func rows(body []byte) ([][][]byte, error) {
	d := &decoder{b: body}
	kind, flags, columns := d.int(), d.int(), d.int()
	if d.err != nil || kind != resultRows || columns < 0 || columns > 1000 || flags&morePages != 0 {
		return nil, fmt.Errorf("read rows: unexpected result of kind %d, flags %#x, %d columns", kind, flags, columns)
	}
	if flags&globalSpec != 0 {
		d.text()
		d.text()
	}
	for range columns {
		if flags&noMetadata != 0 {
			break
		}
		if flags&globalSpec == 0 {
			d.text()
			d.text()
		}
		d.text()
		d.skipType()
	}
	count := d.int()
	var out [][][]byte
	for i := 0; i < count && d.err == nil; i++ {
		row := make([][]byte, columns)
		for j := range row {
			if n := d.int(); n >= 0 {
				row[j] = d.take(n)
			}
		}
		out = append(out, row)
	}
	if d.err != nil {
		return nil, fmt.Errorf("read %d rows of %d columns: %w", count, columns, d.err)
	}
	return out, nil
}
