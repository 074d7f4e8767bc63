package codec_test

import (
	"math"
	"strings"
	"testing"

	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
)

// Text that is not UTF-8 would become something else as JSON, and its key's partition with it.
func TestACSVFieldThatIsNotUTF8IsRefusedUnlessItIsBytes(t *testing.T) {
	record := []byte("Orl\xe9ans")
	for kind, want := range map[column.Kind]string{column.String: "is not UTF-8", column.Bytes: ""} {
		schema := column.Schema{Fields: []column.Field{{Name: "city", Kind: kind}}}
		d := codec.NewCSVDecoder(schema, ',')
		if err := d.Header([]byte("city")); err != nil {
			t.Fatal(err)
		}
		b := column.NewBatch(&schema, 1)
		err := d.Decode(b, record, 2)
		switch {
		case want == "" && (err != nil || string(b.Cols[0].At(0)) != string(record)):
			t.Errorf("%s: %v", kind, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || b.N != 0):
			t.Errorf("%s: got %v with %d rows, want %q", kind, err, b.N, want)
		}
	}
}

func TestZeroAndMinusZeroAreOneKey(t *testing.T) {
	schema := column.Schema{Fields: []column.Field{{Name: "x", Kind: column.Float64}}}
	b := column.NewBatch(&schema, 2)
	for _, v := range []float64{0, math.Copysign(0, -1)} {
		b.Cols[0].AppendFloat(v)
		b.AppendTime(0)
		b.N++
	}
	first, second := codec.AppendKey(nil, b, 0, []int{0}), codec.AppendKey(nil, b, 1, []int{0})
	if string(first) != string(second) || string(first) != "[0]" {
		t.Errorf("the keys are %s and %s", first, second)
	}
}
