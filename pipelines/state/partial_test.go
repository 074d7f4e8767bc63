package state_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/state"
	"github.com/weir-project/weir/pipelines/window"
)

func TestPartsThatAreMergedInAnyOrderEqualTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := newTable(t, physical.WindowConfig{}, 0, 1)
		parts := map[string][][]byte{}
		for range rapid.IntRange(1, 5).Draw(t, "parts") {
			rows := make([]row, rapid.IntRange(0, 8).Draw(t, "rows"))
			for i := range rows {
				rows[i] = row{s: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "s"), i: rapid.Int64Range(-3, 3).Draw(t, "i"), null: rapid.IntRange(0, 2).Draw(t, "null") == 0, f: float64(rapid.IntRange(-5, 5).Draw(t, "f")) / 4, b: rapid.Bool().Draw(t, "b")}
			}
			part := newTable(t, physical.WindowConfig{}, 0, 2)
			update(t, whole, rows)
			update(t, part, rows)
			for _, kv := range part.Changes() {
				parts[string(kv.Key)] = append(parts[string(kv.Key)], kv.Value)
			}
		}
		w, err := window.New(physical.WindowConfig{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := state.NewMerger(state.Config{Keys: []column.Kind{column.String, column.Int64}, Aggs: aggs, Window: w})
		if err != nil {
			t.Fatal(err)
		}
		merged := newTable(t, physical.WindowConfig{}, 0, 3)
		for _, k := range slices.Sorted(maps.Keys(parts)) {
			values := rapid.Permutation(parts[k]).Draw(t, "order")
			for len(values) > 1 {
				v, err := m.Merge(values[0], values[1])
				if err != nil {
					t.Fatal(err)
				}
				values = append(values[2:], v)
			}
			if err := merged.Restore([]checkpoint.KV{{Key: []byte(k), Value: values[0]}}); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := fire(t, merged, column.MaxTime), fire(t, whole, column.MaxTime); !slices.Equal(got, want) {
			t.Fatalf("merged parts are\n%q\nthe whole is\n%q", got, want)
		}
	})
}

func TestPartsThatAreDamagedOrTooLargeAreNotMerged(t *testing.T) {
	sum := []state.Agg{{Fn: "sum", In: column.Int64, Out: column.Int64}}
	m, err := state.NewMerger(state.Config{Aggs: sum})
	if err != nil {
		t.Fatal(err)
	}
	large := []byte{1, 1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01} // one value: the largest integer
	if v, err := m.Merge(large, []byte{1, 0, 0}); err != nil || len(v) != len(large) {
		t.Errorf("with nothing it is %x, %v", v, err)
	}
	if _, err := m.Merge(large, large); err == nil {
		t.Error("a sum beyond 64 bits is no error")
	}
	if _, err := m.Merge(large, large[:3]); err == nil {
		t.Error("half a value is no error")
	}
	if _, err := state.NewMerger(state.Config{Aggs: []state.Agg{{Fn: "median"}}}); err == nil {
		t.Error("an unknown aggregate is no error")
	}
}
