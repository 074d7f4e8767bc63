package watermark

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/weir-project/weir/pipelines/column"
)

// encodingVersion is the first byte of a merge's state (docs/formats/watermark-merge.md).
const encodingVersion = 1

const (
	flagIdle  = 1
	flagEnded = 2
)

// AppendBinary appends the merge's state and the reader's place in the watermark topic. Equal states have equal bytes.
func (m *Merge) AppendBinary(dst []byte, place int64) []byte {
	dst = append(dst, encodingVersion)
	dst = binary.AppendVarint(dst, place)
	dst = binary.AppendUvarint(dst, m.run)
	dst = binary.AppendUvarint(dst, uint64(m.writers))
	names := slices.Sorted(maps.Keys(m.epoch))
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	for _, n := range names {
		dst = binary.AppendUvarint(dst, uint64(len(n)))
		dst = append(dst, n...)
		dst = binary.AppendUvarint(dst, m.epoch[n])
	}
	ids := slices.Sorted(maps.Keys(m.partitions))
	dst = binary.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		p := m.partitions[id]
		dst = binary.AppendVarint(dst, int64(id))
		dst = binary.AppendVarint(dst, p.position)
		dst = binary.AppendVarint(dst, p.mark)
		for _, n := range names { // every writer heard is known to every partition
			dst = p.writers[n].append(dst)
		}
	}
	return dst
}

func (w *writer) append(dst []byte) []byte {
	dst = appendMark(dst, w.mark, w.idle, w.ended)
	dst = binary.AppendUvarint(dst, uint64(len(w.pending)))
	for _, q := range w.pending {
		dst = binary.AppendVarint(dst, q.end)
		dst = appendMark(dst, q.mark, q.idle, q.ended)
	}
	return dst
}

func appendMark(dst []byte, mark column.Time, idle, ended bool) []byte {
	var flags byte
	if idle {
		flags |= flagIdle
	}
	if ended {
		flags |= flagEnded
	}
	return binary.AppendVarint(append(dst, flags), mark)
}

// ParseMerge reads what AppendBinary wrote.
func ParseMerge(data []byte) (m *Merge, place int64, err error) {
	if len(data) == 0 || data[0] != encodingVersion {
		return nil, 0, fmt.Errorf("read watermark state: version is %d and not %d", firstByte(data), encodingVersion)
	}
	d := decoder{data: data[1:]}
	place = d.varint()
	m = NewMerge(nil)
	m.run = d.uvarint()
	m.writers = int(d.uvarint())
	names := make([]string, 0, d.count())
	for range cap(names) {
		n := string(d.bytes(d.count()))
		names = append(names, n)
		m.epoch[n] = d.uvarint()
	}
	for range d.count() {
		id := int32(d.varint())
		p := &partition{position: d.varint(), mark: d.varint(), writers: map[string]*writer{}}
		for _, n := range names {
			w := &writer{}
			w.mark, w.idle, w.ended = d.mark()
			for range d.count() {
				q := pending{end: d.varint()}
				q.mark, q.idle, q.ended = d.mark()
				w.pending = append(w.pending, q)
			}
			p.writers[n] = w
		}
		m.partitions[id] = p
	}
	if d.bad || len(d.data) > 0 {
		return nil, 0, fmt.Errorf("read watermark state of %d bytes: it is damaged %d bytes before its end", len(data), len(d.data))
	}
	return m, place, nil
}

// Adopt takes over from old what it knows of the partitions that m reads; what it lacks stays at its beginning.
func (m *Merge) Adopt(old *Merge) {
	m.run, m.writers, m.epoch = old.run, old.writers, maps.Clone(old.epoch)
	for id := range m.partitions {
		if p := old.partitions[id]; p != nil {
			m.partitions[id] = p
		}
	}
}

// Complete reports whether m knows every one of the partitions; if not, the watermark topic must be read again from its start.
func (m *Merge) Complete(ids []int32) bool {
	for _, id := range ids {
		if m.partitions[id] == nil {
			return false
		}
	}
	return true
}

func firstByte(data []byte) int {
	if len(data) == 0 {
		return -1
	}
	return int(data[0])
}

// decoder reads varints and remembers whether anything was missing.
type decoder struct {
	data []byte
	bad  bool
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	return step(d, v, n)
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	return step(d, v, n)
}

func step[T int64 | uint64](d *decoder, v T, n int) T {
	if n <= 0 || d.bad {
		d.bad, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

// count reads a number of things of at least one byte each, so that damaged data cannot ask for more memory than it has bytes.
func (d *decoder) count() int {
	v := d.uvarint()
	if v > uint64(len(d.data)) {
		d.bad, d.data = true, nil
		return 0
	}
	return int(v)
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.data) {
		d.bad, d.data = true, nil
		return nil
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) mark() (mark column.Time, idle, ended bool) {
	flags := d.bytes(1)
	if len(flags) == 0 {
		return 0, false, false
	}
	return d.varint(), flags[0]&flagIdle != 0, flags[0]&flagEnded != 0
}
