package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

// valueVersion is the first byte of a stored value (docs/formats/combine-state.md).
const valueVersion = 1

// appendStateKey is the key of an entry in the log: its key, then its window's start in 8 bytes.
func appendStateKey(dst, key []byte, start column.Time) []byte {
	return binary.BigEndian.AppendUint64(append(dst, key...), uint64(start)^signBit)
}

// appendGone remembers a key to delete, with its length in front.
func appendGone(dst, key []byte, start column.Time) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(key)+8))
	return appendStateKey(dst, key, start)
}

// Changes returns what became of the state since the last call, sorted by key: new values, and a nil value for what fired. The bytes are valid
// until the next call. If the commit fails, the table is of no use any more: restore another.
func (t *Table) Changes() []checkpoint.KV {
	t.kv = t.kv[:0]
	type span struct{ key, value, end int }
	spans := make([]span, 0, len(t.dirty))
	for _, id := range t.dirty {
		e := &t.entry[id]
		if e.pane < 0 || !e.dirty { // it fired, and its place may serve another key, which is then in the list itself
			continue
		}
		e.dirty, e.durable = false, true
		s := span{key: len(t.kv)}
		t.kv = appendStateKey(t.kv, t.keyOf(e), t.wins[e.pane].start)
		s.value = len(t.kv)
		t.kv = t.appendValue(t.kv, id)
		s.end = len(t.kv)
		spans = append(spans, s)
	}
	t.dirty = t.dirty[:0]
	var out []checkpoint.KV
	for _, s := range spans {
		out = append(out, checkpoint.KV{Key: t.kv[s.key:s.value:s.value], Value: t.kv[s.value:s.end:s.end]})
	}
	gone := t.gone
	for len(gone) > 0 {
		n := 4 + int(binary.LittleEndian.Uint32(gone))
		out = append(out, checkpoint.KV{Key: gone[4:n:n]})
		gone = gone[n:]
	}
	// The memory of gone goes to the caller with the keys.
	t.gone = nil
	slices.SortFunc(out, func(a, b checkpoint.KV) int { return bytes.Compare(a.Key, b.Key) })
	return out
}

func (t *Table) appendValue(dst []byte, id int32) []byte {
	dst = append(dst, valueVersion)
	for i := range t.aggs {
		a := &t.aggs[i]
		dst = binary.AppendUvarint(dst, uint64(a.n[id]))
		switch {
		case !a.hasValue():
		case a.isFloat():
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.floats[id]))
		default:
			dst = binary.AppendVarint(dst, a.ints[id])
		}
	}
	return dst
}

// Restore puts committed state into an empty table. The kvs are the latest values; those without a value are skipped.
func (t *Table) Restore(kvs []checkpoint.KV) error {
	for _, kv := range kvs {
		if kv.Value == nil {
			continue
		}
		if err := t.restore(kv); err != nil {
			return fmt.Errorf("restore combine state with key %x: %w", kv.Key, err)
		}
	}
	return nil
}

func (t *Table) restore(kv checkpoint.KV) error {
	n := len(kv.Key) - 8
	if n < 0 {
		return fmt.Errorf("the key has %d bytes and not at least 8", len(kv.Key))
	}
	start := int64(binary.BigEndian.Uint64(kv.Key[n:]) ^ signBit)
	w, ok := t.open[start]
	if !ok {
		w = t.openWindow(start, t.dueAt(start))
	}
	key := kv.Key[:n]
	id, err := t.find(w, hash(key, t.cfg.Seed), key)
	if err != nil {
		return err
	}
	t.entry[id].durable = true
	return t.readValue(kv.Value, id)
}

func (t *Table) readValue(v []byte, id int32) error {
	if len(v) == 0 || v[0] != valueVersion {
		return fmt.Errorf("the value's version is not %d", valueVersion)
	}
	d := v[1:]
	for i := range t.aggs {
		a := &t.aggs[i]
		n, size := binary.Uvarint(d)
		if size <= 0 {
			return fmt.Errorf("the value of %d bytes ends before aggregate %d of %d", len(v), i+1, len(t.aggs))
		}
		a.n[id], d = int64(n), d[size:]
		switch {
		case !a.hasValue():
		case a.isFloat():
			if len(d) < 8 {
				return fmt.Errorf("the value of %d bytes ends in aggregate %d of %d", len(v), i+1, len(t.aggs))
			}
			a.floats[id], d = math.Float64frombits(binary.LittleEndian.Uint64(d)), d[8:]
		default:
			x, size := binary.Varint(d)
			if size <= 0 {
				return fmt.Errorf("the value of %d bytes ends in aggregate %d of %d", len(v), i+1, len(t.aggs))
			}
			a.ints[id], d = x, d[size:]
		}
	}
	if len(d) > 0 {
		return fmt.Errorf("the value has %d bytes too many for %d aggregates", len(d), len(t.aggs))
	}
	return nil
}
