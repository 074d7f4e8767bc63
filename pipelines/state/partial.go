package state

import "fmt"

// Merger joins accumulators that were kept apart: values as Changes gives them, of one key and one window. It serves engines that aggregate a batch at a
// time and merge what they have later, in any order. It is used by one goroutine.
type Merger struct {
	t *Table // only its accumulators: entries 0 and 1
}

// NewMerger makes a merger of the aggregates of c.
func NewMerger(c Config) (*Merger, error) {
	t, err := New(c)
	if err != nil {
		return nil, err
	}
	for i := range t.aggs {
		t.aggs[i].grow()
		t.aggs[i].grow()
	}
	return &Merger{t}, nil
}

// Merge returns the value of all rows that are in a or in b.
func (m *Merger) Merge(a, b []byte) ([]byte, error) {
	for id, v := range [][]byte{a, b} {
		if err := m.t.readValue(v, int32(id)); err != nil {
			return nil, fmt.Errorf("merge combine state: %w", err)
		}
	}
	for i := range m.t.aggs {
		if err := m.t.aggs[i].merge(0, 1); err != nil {
			return nil, err
		}
	}
	return m.t.appendValue(nil, 0), nil
}

// merge takes entry src into entry dst.
func (a *accumulator) merge(dst, src int32) error {
	if a.n[src] == 0 {
		return nil
	}
	n := a.n[dst] + a.n[src]
	switch {
	case !a.hasValue():
	case a.isFloat():
		a.addFloat(dst, a.floats[src])
	case a.fn == fnAny || a.fn == fnAll: // how many were true
		a.ints[dst] += a.ints[src]
	default:
		if err := a.addInt(dst, a.ints[src]); err != nil {
			return err
		}
	}
	a.n[dst] = n
	return nil
}
