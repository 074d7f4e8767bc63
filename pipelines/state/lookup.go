package state

import (
	"bytes"
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
)

// Lookup is the table of a side input: rows by key, built once and then only read. Rows whose key has a null are not kept, as null is equal
// to nothing.
type Lookup struct {
	cfg    LookupConfig
	rows   *column.Batch // the kept columns
	next   []int32       // by row: the next one of its key, -1 behind the last
	group  []group       // one for each key
	index  []int32       // open addressing: group + 1, 0 is empty; the length is a power of two
	keys   []byte        // of all groups
	cols   []*column.Column
	hashes []uint64      // scratch, by probed row; 0 stands in for a null
	spans  []column.Span // scratch: its key in text
	text   []byte        // scratch
}

// LookupConfig describes a side input.
type LookupConfig struct {
	Schema column.Schema // of its rows
	Keys   []int         // the columns that are looked up
	Keep   []int         // the columns that are wanted
	Limit  int           // bytes that the table may take
	Seed   uint64        // of the hash; any number, chosen by the caller at random
}

type group struct {
	hash        uint64
	off, len    uint32
	first, last int32
}

// TooBigError refuses a side input that does not fit.
type TooBigError struct{ Rows, Bytes, Limit int }

func (e *TooBigError) Error() string {
	return fmt.Sprintf("the side input takes %d MiB after %d rows, and may take %d: it is kept whole in memory by every slot", e.Bytes>>20, e.Rows, e.Limit>>20)
}

// NewLookup makes an empty table.
func NewLookup(c LookupConfig) *Lookup {
	kept := &column.Schema{}
	for _, k := range c.Keep {
		kept.Fields = append(kept.Fields, c.Schema.Fields[k])
	}
	return &Lookup{cfg: c, rows: column.NewBatch(kept, 0)}
}

// Rows are the kept columns of the rows, in the order in which they were added.
func (l *Lookup) Rows() *column.Batch { return l.rows }

// Unique reports that no key has two rows.
func (l *Lookup) Unique() bool { return len(l.group) == l.rows.N }

// Add copies the rows of a batch that count into the table.
func (l *Lookup) Add(b *column.Batch) error {
	l.locate(b, l.cfg.Keys)
	n := b.Len()
	for i := range n {
		if l.hashes[i] == 0 {
			continue
		}
		row := i
		if b.Sel != nil {
			row = int(b.Sel[i])
		}
		for k, from := range l.cfg.Keep {
			l.rows.Cols[k].AppendValue(&b.Cols[from], row)
		}
		key := l.key(i, row)
		l.link(l.find(l.hashes[i], key), l.hashes[i], key)
	}
	if size := l.size(); size > l.cfg.Limit {
		return &TooBigError{Rows: l.rows.N, Bytes: size, Limit: l.cfg.Limit}
	}
	return nil
}

// link appends the row that was just copied to its group, which is made where there is none.
func (l *Lookup) link(g int32, h uint64, key []byte) {
	row := int32(l.rows.N)
	l.rows.N++
	l.next = append(l.next, -1)
	if g >= 0 {
		l.next[l.group[g].last] = row
		l.group[g].last = row
		return
	}
	if 2*len(l.group) >= len(l.index) {
		l.grow()
	}
	l.group = append(l.group, group{hash: h, off: uint32(len(l.keys)), len: uint32(len(key)), first: row, last: row})
	l.keys = append(l.keys, key...)
	l.place(int32(len(l.group) - 1))
}

func (l *Lookup) place(g int32) {
	mask := uint64(len(l.index) - 1)
	i := l.group[g].hash & mask
	for l.index[i] != 0 {
		i = (i + 1) & mask
	}
	l.index[i] = g + 1
}

func (l *Lookup) grow() {
	l.index = make([]int32, max(16, 2*len(l.index)))
	for g := range l.group {
		l.place(int32(g))
	}
}

// find returns the group of a key, or -1.
func (l *Lookup) find(h uint64, key []byte) int32 {
	if len(l.index) == 0 {
		return -1
	}
	mask := uint64(len(l.index) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		g := l.index[i] - 1
		if g < 0 {
			return -1
		}
		if e := &l.group[g]; e.hash == h && bytes.Equal(l.keys[e.off:e.off+e.len], key) {
			return g
		}
	}
}

// size is what the table takes, in bytes.
func (l *Lookup) size() int {
	n := len(l.keys) + 4*len(l.next) + 32*len(l.group) + 4*len(l.index)
	for i := range l.rows.Cols {
		c := &l.rows.Cols[i]
		n += len(c.Buf) + 8*(len(c.Ints)+len(c.Floats)+len(c.Spans)) + len(c.Bools) + len(c.Null)
	}
	return n
}

// locate hashes the keys of all rows of a batch that count, before any of them is looked up. A key of one text is hashed where it lies.
func (l *Lookup) locate(b *column.Batch, keys []int) {
	l.cols = l.cols[:0]
	for _, k := range keys {
		l.cols = append(l.cols, &b.Cols[k])
	}
	l.hashes, l.spans, l.text = l.hashes[:0], l.spans[:0], l.text[:0]
	b.Rows(func(row int) {
		for _, c := range l.cols {
			if c.IsNull(row) {
				l.hashes, l.spans = append(l.hashes, 0), append(l.spans, column.Span{})
				return
			}
		}
		var key []byte
		if l.direct() {
			key = l.cols[0].At(row)
			l.spans = append(l.spans, column.Span{})
		} else {
			off := len(l.text)
			l.text = appendKey(l.text, l.cols, row)
			key = l.text[off:]
			l.spans = append(l.spans, column.Span{Off: uint32(off), Len: uint32(len(key))})
		}
		l.hashes = append(l.hashes, max(1, hash(key, l.cfg.Seed)))
	})
}

// direct reports keys of one text, which need no encoding.
func (l *Lookup) direct() bool {
	return len(l.cols) == 1 && (l.cols[0].Kind == column.String || l.cols[0].Kind == column.Bytes)
}

// key is that of the i'th row that counts, after locate.
func (l *Lookup) key(i, row int) []byte {
	if l.direct() {
		return l.cols[0].At(row)
	}
	s := l.spans[i]
	return l.text[s.Off : s.Off+s.Len]
}

// Probe looks up each row of b that counts, in order, by the columns keys. It appends a pair of row and match for each match, in the order in
// which the matches were added; with keep also a row with -1 for each that has none. missed is the number of rows without a match.
func (l *Lookup) Probe(b *column.Batch, keys []int, keep bool, rows, matches []int32) (_, _ []int32, missed int) {
	l.locate(b, keys)
	n := b.Len()
	for i := range n {
		row := i
		if b.Sel != nil {
			row = int(b.Sel[i])
		}
		g := int32(-1)
		if l.hashes[i] != 0 {
			g = l.find(l.hashes[i], l.key(i, row))
		}
		if g < 0 {
			if missed++; keep {
				rows, matches = append(rows, int32(row)), append(matches, -1)
			}
			continue
		}
		for at := l.group[g].first; at >= 0; at = l.next[at] {
			rows, matches = append(rows, int32(row)), append(matches, at)
		}
	}
	return rows, matches, missed
}
