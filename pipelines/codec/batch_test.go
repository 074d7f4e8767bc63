package codec_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
)

var allKinds = column.Schema{Fields: []column.Field{{Name: "b", Kind: column.Bool}, {Name: "i", Kind: column.Int64}, {Name: "f", Kind: column.Float64},
	{Name: "s", Kind: column.String}, {Name: "y", Kind: column.Bytes}, {Name: "t", Kind: column.Timestamp}}}

func drawBatch(t *rapid.T) *column.Batch {
	b := column.NewBatch(&allKinds, 4)
	for range rapid.IntRange(0, 20).Draw(t, "rows") {
		for i := range b.Cols {
			c := &b.Cols[i]
			if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
				c.AppendNull()
				continue
			}
			switch c.Kind {
			case column.Bool:
				c.AppendBool(rapid.Bool().Draw(t, "bool"))
			case column.Int64, column.Timestamp:
				c.AppendInt(rapid.Int64().Draw(t, "int"))
			case column.Float64:
				c.AppendFloat(rapid.OneOf(rapid.Float64(), rapid.Just(math.Inf(-1)), rapid.Just(math.NaN())).Draw(t, "float"))
			default:
				c.AppendString([]byte(rapid.String().Draw(t, "text")))
			}
		}
		b.AppendTime(rapid.Int64().Draw(t, "time"))
		b.N++
	}
	if b.N > 0 && rapid.Bool().Draw(t, "selected") {
		b.Sel = []int32{}
		for i := range b.N {
			if rapid.Bool().Draw(t, "keep") {
				b.Sel = append(b.Sel, int32(i))
			}
		}
	}
	return b
}

func texts(b *column.Batch) []string {
	var out []string
	b.Rows(func(row int) {
		text := fmt.Sprint(b.Times[row])
		for i := range b.Cols {
			c := &b.Cols[i]
			switch {
			case c.IsNull(row):
				text += " null"
			case c.Kind == column.Bool:
				text += fmt.Sprint(" ", c.Bools[row])
			case c.Kind == column.Float64:
				text += fmt.Sprintf(" %x", math.Float64bits(c.Floats[row]))
			case c.Kind == column.Int64 || c.Kind == column.Timestamp:
				text += fmt.Sprint(" ", c.Ints[row])
			default:
				text += fmt.Sprintf(" %q", c.At(row))
			}
		}
		out = append(out, text)
	})
	return out
}

func TestABatchRoundTripsAndEveryPrefixOfItIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first, second := drawBatch(t), drawBatch(t)
		got := column.NewBatch(&allKinds, 0)
		for _, b := range []*column.Batch{first, second} {
			data := codec.AppendBatch(nil, b)
			if err := codec.DecodeBatch(got, data); err != nil {
				t.Fatal(err)
			}
			cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
			if err := codec.DecodeBatch(column.NewBatch(&allKinds, 0), data[:cut]); err == nil {
				t.Fatalf("%d of %d bytes are read without an error", cut, len(data))
			}
		}
		if want := append(texts(first), texts(second)...); !slices.Equal(texts(got), want) {
			t.Fatalf("read\n%q\nwant\n%q", texts(got), want)
		}
	})
}

func TestABatchOfAnotherVersionOrWithMoreIsRefused(t *testing.T) {
	data := codec.AppendBatch(nil, column.NewBatch(&allKinds, 0))
	for what, bad := range map[string][]byte{"another version": append([]byte{9}, data[1:]...), "more": append(slices.Clone(data), 0), "nothing": nil} {
		if err := codec.DecodeBatch(column.NewBatch(&allKinds, 0), bad); err == nil {
			t.Errorf("%s is read without an error", what)
		}
	}
}

func FuzzDecodeBatchNeverPanics(f *testing.F) {
	f.Add(codec.AppendBatch(nil, column.NewBatch(&allKinds, 0)))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := column.NewBatch(&allKinds, 0)
		if codec.DecodeBatch(b, data) == nil && len(texts(b)) != b.N {
			t.Errorf("a batch of %d rows has %d", b.N, len(texts(b)))
		}
	})
}
