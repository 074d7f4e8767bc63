package state_test

import (
	"errors"
	"runtime"
	"strconv"
	"testing"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/state"
)

// The limit is of memory that is really held: rows are added until the table is refused, and the heap is looked at.
func TestALookupHoldsNoMoreThanItsLimit(t *testing.T) {
	for limit := 4 << 20; limit <= 10<<20; limit += 1 << 20 { // slices grow in steps, so the worst is at some of them
		t.Run(strconv.Itoa(limit>>20), func(t *testing.T) { fillLookup(t, limit) })
	}
}

func fillLookup(t *testing.T, limit int) {
	s := column.Schema{Fields: []column.Field{{Name: "code", Kind: column.String}, {Name: "n", Kind: column.Int64}}}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	b := column.NewBatch(&s, 100)
	before := heap()
	l := state.NewLookup(state.LookupConfig{Schema: s, Keys: []int{0}, Keep: []int{0, 1}, Limit: limit, Seed: 1})
	held := int64(0)
	for at := 0; ; at += 100 {
		if at > limit/10 {
			t.Fatalf("%d rows fit into %d bytes", at, limit)
		}
		b.Reset()
		for i := range 100 {
			b.Cols[0].AppendString([]byte(strconv.Itoa(at+i) + " of a port"))
			b.Cols[1].AppendInt(int64(i))
			b.N++
		}
		if at%1000 == 0 { // before it may be refused
			held = max(held, heap()-before)
		}
		err := l.Add(b)
		var big *state.TooBigError
		if errors.As(err, &big) {
			if big.Limit != limit || big.Bytes <= limit || big.Rows < at {
				t.Errorf("at row %d: %v", at, big)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if held > int64(limit)*105/100 || held < int64(limit)/4 {
		t.Errorf("it held %d bytes before it was refused at %d", held, limit)
	}
	runtime.KeepAlive(l)
}
