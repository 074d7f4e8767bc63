package generator

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

var schema = column.Schema{Fields: []column.Field{{Name: Field, Kind: column.Int64}}}

// numbers reads from a position to the end, at most limit a call.
func numbers(t *testing.T, config string, from int64, limit int) []int64 {
	t.Helper()
	src, err := New(physical.ReadConfig{Config: []byte(config), Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	r, err := src.Open(t.Context(), splits(t, src)[0], checkpoint.Position{Offset: from})
	if err != nil {
		t.Fatal(err)
	}
	var out []int64
	for b := column.NewBatch(&schema, limit); ; b.Reset() {
		pos, err := r.Read(t.Context(), b, limit)
		if errors.Is(err, io.EOF) {
			if b.N != 0 || !pos.Ended {
				t.Fatalf("the end came with %d rows at %+v", b.N, pos)
			}
			return out
		}
		if err != nil || b.N > limit || pos.Offset != from+int64(len(out)+b.N) {
			t.Fatalf("%d rows of at most %d, position %+v, %v", b.N, limit, pos, err)
		}
		out = append(out, b.Cols[0].Ints...)
	}
}

func TestASequenceIsTheSameFromEveryPosition(t *testing.T) {
	all := numbers(t, `{"start": 5, "end": 42}`, 0, 10)
	if len(all) != 37 || all[0] != 5 || all[36] != 41 {
		t.Fatalf("got %v", all)
	}
	for from := range all {
		if got := numbers(t, `{"start": 5, "end": 42}`, int64(from), 7); !slices.Equal(got, all[from:]) {
			t.Fatalf("from %d: got %v", from, got)
		}
	}
	if got := numbers(t, `{"start": 3, "end": 3}`, 0, 10); len(got) != 0 {
		t.Errorf("an empty sequence gave %v", got)
	}
}

func TestWhatIsNoSequenceIsRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"start": 5, "end": 4}`:   "a sequence from 5 to 4 is none",
		`{"start": -1}`:            "a sequence from -1 to",
		`{"start": "five"}`:        "read the sequence's config",
		`{"start": 0, "end": 1.5}`: "read the sequence's config",
	} {
		if _, err := New(physical.ReadConfig{Config: []byte(config), Schema: schema}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s…", config, err, want)
		}
	}
	if _, err := New(physical.ReadConfig{Config: []byte(`{}`)}); err == nil {
		t.Error("a schema without the column was taken")
	}
	src, err := New(physical.ReadConfig{Config: []byte(`{"end": 3}`), Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{-1, 4} {
		if _, err := src.Open(t.Context(), splits(t, src)[0], checkpoint.Position{Offset: at}); err == nil {
			t.Errorf("position %d of 3 was taken", at)
		}
	}
}

func TestACancelledReadReturnsItsCause(t *testing.T) {
	src, err := New(physical.ReadConfig{Config: []byte(`{}`), Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := src.Open(ctx, splits(t, src)[0], checkpoint.Position{})
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	cancel(why)
	if _, err := r.Read(ctx, column.NewBatch(&schema, 1), 1); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func splits(t *testing.T, src connectors.Source) []connectors.Split {
	t.Helper()
	s, err := src.Splits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
