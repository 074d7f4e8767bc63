package state

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/window"
)

// Config describes a table.
type Config struct {
	Keys     []column.Kind // of the key columns, in order; none is one key for all rows
	Aggs     []Agg
	Window   window.Assigner
	Lateness int64  // microseconds after a window's end at which it fires
	Seed     uint64 // of the hash; any number, chosen by the caller at random
}

// Table holds the accumulators of the open windows.
type Table struct {
	cfg   Config
	wins  []*pane          // by index; free ones are in spare
	open  map[int64]int32  // window start -> index in wins
	cache [16]int32        // recently used indexes + 1, by start
	spare []int32          // indexes of wins that fired
	fired column.Time      // windows that are due at this watermark have fired; later rows of them are late
	due   column.Time      // when the next open window fires
	aggs  []accumulator    // one for each of cfg.Aggs
	entry []entry          // one for each key of an open window
	free  []int32          // unused indexes of entry
	dirty []int32          // entries changed since the last Changes
	gone  []byte           // keys of entries that fired and had been committed, each with its length before it
	kv    []byte           // memory of the last Changes
	ids   []int32          // scratch: entry of each absorbed row
	rows  []int32          // scratch: the row
	key   []byte           // scratch
	start []column.Time    // scratch
	cols  []*column.Column // scratch
}

type entry struct {
	hash    uint64
	off     uint32 // of the key in its pane
	len     uint32
	pane    int32
	dirty   bool
	durable bool // an earlier Changes told of it
}

// pane is one open window.
type pane struct {
	start column.Time
	due   column.Time // watermark at which it fires
	index []int32     // open addressing: entry + 1, 0 is empty; length is a power of two
	ids   []int32
	keys  []byte
}

// errFull refuses more than 4 GiB of keys in a window, where offsets end.
var errFull = errors.New("combine: a window holds more than 4 GiB of keys; use shorter windows or more slots")

// New makes an empty table.
func New(c Config) (*Table, error) {
	t := &Table{cfg: c, open: map[int64]int32{}, fired: column.MinTime, due: column.MaxTime}
	if c.Lateness < 0 {
		return nil, fmt.Errorf("combine: lateness is %dus; give one of at least 0", c.Lateness)
	}
	for _, k := range c.Keys {
		if k == column.Invalid || k > column.Timestamp {
			return nil, fmt.Errorf("combine: a key column has no known type (%d)", k)
		}
	}
	for _, a := range c.Aggs {
		acc, err := newAccumulator(a)
		if err != nil {
			return nil, err
		}
		t.aggs = append(t.aggs, acc)
	}
	return t, nil
}

// Len is the number of accumulators that are held: keys of all open windows.
func (t *Table) Len() int { return len(t.entry) - len(t.free) }

// Fired is the watermark of the latest Fire. It belongs into the progress: a row of a window that fired before a takeover is late after it.
func (t *Table) Fired() column.Time { return t.fired }

// SetFired restores what Fired said.
func (t *Table) SetFired(w column.Time) { t.fired = w }

// Due is the watermark at which the next window fires, MaxTime if none is open (the global window is due at MaxTime too).
func (t *Table) Due() column.Time { return t.due }

// Update takes the selected rows of b into their windows. keys are the indexes of the key columns; values has one column for each aggregate
// (nil for a count of rows), with a value at each selected row. A row is late if all its windows have fired: it is dropped.
func (t *Table) Update(b *column.Batch, keys []int, values []*column.Column) (absorbed, late int, err error) {
	t.cols = t.cols[:0]
	for _, k := range keys {
		t.cols = append(t.cols, &b.Cols[k])
	}
	t.ids, t.rows = t.ids[:0], t.rows[:0]
	n := b.Len()
	for i := range n {
		row := i
		if b.Sel != nil {
			row = int(b.Sel[i])
		}
		before := len(t.ids)
		if err := t.locate(row, b.Times[row]); err != nil {
			return 0, 0, err
		}
		if len(t.ids) == before {
			late++
		}
	}
	for i := range t.aggs {
		if err := t.aggs[i].add(t.ids, t.rows, values[i]); err != nil {
			return 0, 0, err
		}
	}
	return n - late, late, nil
}

// locate finds the entries of a row, one for each of its windows that has not fired.
func (t *Table) locate(row int, at column.Time) error {
	t.key = appendKey(t.key[:0], t.cols, row)
	h := hash(t.key, t.cfg.Seed)
	if t.cfg.Window.Single() {
		return t.locateIn(row, t.cfg.Window.Start(at), h)
	}
	t.start = t.cfg.Window.Assign(at, t.start[:0])
	for _, s := range t.start {
		if err := t.locateIn(row, s, h); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) locateIn(row int, start column.Time, h uint64) error {
	w := t.window(start)
	if w < 0 {
		return nil
	}
	id, err := t.find(w, h, t.key)
	if err != nil {
		return err
	}
	if e := &t.entry[id]; !e.dirty {
		e.dirty = true
		t.dirty = append(t.dirty, id)
	}
	t.ids, t.rows = append(t.ids, id), append(t.rows, int32(row))
	return nil
}

// window returns the index of the open window that starts at start, opening it if need be, or -1 if it has fired.
func (t *Table) window(start column.Time) int32 {
	slot := &t.cache[uint64(start)*0x9e3779b97f4a7c15>>60]
	if *slot > 0 && t.wins[*slot-1].start == start {
		return *slot - 1
	}
	w, ok := t.open[start]
	if !ok {
		due := t.dueAt(start)
		if t.fired != column.MinTime && due <= t.fired {
			return -1
		}
		w = t.openWindow(start, due)
	}
	*slot = w + 1
	return w
}

func (t *Table) dueAt(start column.Time) column.Time {
	end := t.cfg.Window.End(start)
	if end > column.MaxTime-t.cfg.Lateness {
		return column.MaxTime
	}
	return end + t.cfg.Lateness
}

func (t *Table) openWindow(start, due column.Time) int32 {
	var w int32
	if n := len(t.spare); n > 0 {
		w = t.spare[n-1]
		t.spare = t.spare[:n-1]
	} else {
		w = int32(len(t.wins))
		t.wins = append(t.wins, &pane{})
	}
	p := t.wins[w]
	p.start, p.due = start, due
	t.open[start] = w
	t.due = min(t.due, due)
	return w
}

// find returns the entry of a key in a window, made if it is new.
func (t *Table) find(w int32, h uint64, key []byte) (int32, error) {
	p := t.wins[w]
	if len(p.ids)*2 >= len(p.index) {
		t.grow(p)
	}
	mask := uint64(len(p.index) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		id := p.index[i] - 1
		if id < 0 {
			id, err := t.insert(w, h, key)
			p.index[i] = id + 1
			return id, err
		}
		if e := &t.entry[id]; e.hash == h && bytes.Equal(p.keys[e.off:e.off+e.len], key) {
			return id, nil
		}
	}
}

func (t *Table) grow(p *pane) {
	size := max(16, 2*len(p.index))
	if cap(p.index) >= size {
		p.index = p.index[:size]
		clear(p.index)
	} else {
		p.index = make([]int32, size)
	}
	mask := uint64(size - 1)
	for _, id := range p.ids {
		i := t.entry[id].hash & mask
		for p.index[i] != 0 {
			i = (i + 1) & mask
		}
		p.index[i] = id + 1
	}
}

func (t *Table) insert(w int32, h uint64, key []byte) (int32, error) {
	p := t.wins[w]
	if uint64(len(p.keys))+uint64(len(key)) > 1<<32-1 {
		return 0, errFull
	}
	var id int32
	if n := len(t.free); n > 0 {
		id = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		id = int32(len(t.entry))
		t.entry = append(t.entry, entry{})
		for i := range t.aggs {
			t.aggs[i].grow()
		}
	}
	t.entry[id] = entry{hash: h, off: uint32(len(p.keys)), len: uint32(len(key)), pane: w}
	p.keys = append(p.keys, key...)
	p.ids = append(p.ids, id)
	for i := range t.aggs {
		t.aggs[i].reset(id)
	}
	return id, nil
}

func (t *Table) keyOf(e *entry) []byte {
	return t.wins[e.pane].keys[e.off : e.off+e.len]
}

// Fire emits the windows that are due at the watermark: by start, and within a window by key. out, whose columns are the keys and then the
// aggregates, is filled with at most size rows and given to emit, again and again; the event time of a row is the last microsecond of its
// window. What was emitted is forgotten, and later rows of it are late.
func (t *Table) Fire(watermark column.Time, out *column.Batch, size int, emit func(*column.Batch) error) error {
	if watermark <= t.fired {
		return nil
	}
	t.fired = watermark
	if t.due > watermark {
		return nil
	}
	var starts []column.Time
	t.due = column.MaxTime
	for s, w := range t.open {
		if due := t.wins[w].due; due <= watermark {
			starts = append(starts, s)
		} else {
			t.due = min(t.due, due)
		}
	}
	slices.Sort(starts)
	out.Reset()
	for _, s := range starts {
		if err := t.fireWindow(t.open[s], out, size, emit); err != nil {
			return err
		}
	}
	if out.N > 0 {
		return emit(out)
	}
	return nil
}

func (t *Table) fireWindow(w int32, out *column.Batch, size int, emit func(*column.Batch) error) error {
	p := t.wins[w]
	slices.SortFunc(p.ids, func(a, b int32) int { return bytes.Compare(t.keyOf(&t.entry[a]), t.keyOf(&t.entry[b])) })
	at := t.cfg.Window.MaxTime(p.start)
	keys := len(t.cfg.Keys)
	for _, id := range p.ids {
		e := &t.entry[id]
		var err error
		if t.key, err = decodeKey(t.keyOf(e), out.Cols[:keys], t.key); err != nil {
			return fmt.Errorf("combine: %w", err)
		}
		for i := range t.aggs {
			t.aggs[i].result(id, &out.Cols[keys+i])
		}
		out.AppendTime(at)
		out.N++
		if out.N == size {
			if err := emit(out); err != nil {
				return err
			}
			out.Reset()
		}
	}
	t.forget(w)
	return nil
}

// forget frees a window, and remembers the keys that the log has to forget too.
func (t *Table) forget(w int32) {
	p := t.wins[w]
	for _, id := range p.ids {
		e := &t.entry[id]
		if e.durable {
			t.gone = appendGone(t.gone, t.keyOf(e), p.start)
		}
		e.dirty, e.pane = false, -1
	}
	t.free = append(t.free, p.ids...)
	delete(t.open, p.start)
	t.spare = append(t.spare, w)
	clear(p.index)
	p.index, p.ids, p.keys = p.index[:0], p.ids[:0], p.keys[:0]
	p.start, p.due = column.MinTime, column.MaxTime
	t.cache = [16]int32{}
}
