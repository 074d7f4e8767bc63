package transform

import (
	"slices"
	"testing"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/state"
)

// TestTheTableIsWhole: docs and completion are printed from it, so nothing in it may be empty, doubled or out of order.
func TestTheTableIsWhole(t *testing.T) {
	if !slices.IsSorted(Types()) || len(slices.Compact(Types())) != len(declared) {
		t.Errorf("not in alphabetical order, or doubled: %v", Types())
	}
	for _, d := range All() {
		if d.Doc == "" || d.Inputs < Many || d.Inputs > 1 || d.Outputs > 1 || d.Sink != (d.Outputs == 0 || d.Type == "LogForTesting" || d.Type == "AssertEqual") {
			t.Errorf("%s is not whole: %+v", d.Type, d)
		}
		for _, f := range slices.Concat(d.Fields, d.Weir) {
			if f.Name == "" || f.Type == "" || f.Doc == "" || f.Required && (f.Default != "" || f.NotYet != "") {
				t.Errorf("%s: field %+v is not whole", d.Type, f)
			}
		}
		if names := d.FieldNames(); len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
			t.Errorf("%s has a field twice: %v", d.Type, names)
		}
	}
}

func TestLookup(t *testing.T) {
	d, ok := Lookup("Combine")
	if !ok || d.Source() {
		t.Fatalf("got %+v, %t", d, ok)
	}
	if f, ok := d.Field("group_by"); !ok || f.Type != Names {
		t.Errorf("got %+v, %t", f, ok)
	}
	if _, ok := d.WeirField("lateness"); !ok || len(d.WeirNames()) != 2 {
		t.Errorf("weir keys %v", d.WeirNames())
	}
	if _, ok := Lookup("combine"); ok {
		t.Error("names are matched without case")
	}
	if d, _ := Lookup("ReadFromText"); !d.Source() {
		t.Error("a source has an input")
	}
}

func TestAggregates(t *testing.T) {
	cases := []struct {
		fn        string
		value     column.Kind
		want      column.Kind
		known, ok bool
	}{
		{"count", column.String, column.Int64, true, true},
		{"sum", column.Int64, column.Int64, true, true},
		{"sum", column.Float64, column.Float64, true, true},
		{"sum", column.String, column.String, true, false},
		{"min", column.Timestamp, column.Timestamp, true, true},
		{"max", column.Bytes, column.Bytes, true, false},
		{"min", column.String, column.String, true, false},
		{"max", column.Bool, column.Bool, true, false},
		{"mean", column.Int64, column.Float64, true, true},
		{"any", column.Bool, column.Bool, true, true},
		{"all", column.Int64, column.Bool, true, false},
		{"median", column.Int64, column.Invalid, false, false},
	}
	for _, c := range cases {
		got, known, ok := Aggregate(c.fn, c.value)
		if known != c.known || ok != c.ok || ok && got != c.want || !known && got != c.want {
			t.Errorf("%s of %s: got %s %t %t", c.fn, c.value, got, known, ok)
		}
	}
	if FunctionList() != "all, any, count, max, mean, min, sum" {
		t.Errorf("got %s", FunctionList())
	}
}

// What is valid can run: whatever the engine's state refuses was refused while the pipeline was read, or a stage would fail at each start, for ever.
func TestWhatPassesCanBeKept(t *testing.T) {
	kinds := []column.Kind{column.Bool, column.Int64, column.Float64, column.String, column.Bytes, column.Timestamp}
	passed := 0
	for _, fn := range Functions() {
		for _, k := range kinds {
			out, _, ok := Aggregate(fn, k)
			_, err := state.NewMerger(state.Config{Aggs: []state.Agg{{Fn: fn, In: k, Out: out}}})
			if ok != (err == nil) {
				t.Errorf("%s of %s: valid %t, the state says %v", fn, k, ok, err)
			}
			if ok {
				passed++
			} else if Instead(fn, k) == "" {
				t.Errorf("%s of %s: no hint", fn, k)
			}
		}
	}
	if want := 6 + 2 + 3 + 3 + 2 + 1 + 1; passed != want { // count, sum, min, max, mean, any, all
		t.Errorf("%d pass, want %d", passed, want)
	}
}
