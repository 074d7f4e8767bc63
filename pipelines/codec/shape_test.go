package codec

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weir-project/weir/pipelines/column"
)

// What a decoder remembers of earlier rows changes nothing: any row, whole or damaged, after any others, is read as a fresh decoder reads it.
func TestADecoderThatHasSeenRowsReadsTheNextAsAFreshOneDoes(t *testing.T) {
	rows := []string{`{"origin":"ORD","delay":1}`, `{"origin": "LAX", "delay": 2, "rate": 1.5}`, ` { "x" : [1,{"y":"z"}] , "delay":3,"origin":"a\"b" }`, `{"delay":4,"origin":"SFO","late":true,"at":null}`,
		`{"or\u0069gin":"JFK","delay":5}`, `{"origin":"A","delay":6,"delay":7}`, `{}`, `{"delay":8,"origin":"é","näme":"ü","raw":"AQI="}`, `{"x":"` + string(make100()) + `","origin":"B","delay":9}`}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 9))
		old := NewJSONDecoder(rowSchema)
		for step := range 60 {
			row := []byte(rows[r.IntN(len(rows))])
			for range r.IntN(3) {
				switch at := r.IntN(len(row)); r.IntN(3) {
				case 0:
					row[at] = "{}[]:,\" 1a\\"[r.IntN(11)]
				case 1:
					row = append(row[:at], row[at+1:]...)
				case 2:
					row = row[:at+1]
				}
				if len(row) == 0 {
					row = []byte(" ")
				}
			}
			got, want := read(old, row), read(NewJSONDecoder(rowSchema), row)
			if got != want {
				t.Fatalf("seed %d, step %d, row %q: %s\na fresh decoder: %s", seed, step, row, got, want)
			}
		}
		if len(old.shape) > maxShape {
			t.Fatalf("it remembers %d members", len(old.shape))
		}
	}
}

func make100() []byte {
	out := make([]byte, 400) // longer than what is remembered
	for i := range out {
		out[i] = 'a'
	}
	return out
}

func read(d *JSONDecoder, row []byte) string {
	b := column.NewBatch(&rowSchema, 1)
	if err := d.Decode(b, row); err != nil {
		return fmt.Sprint(err, b.N)
	}
	return string(NewJSONEncoder(rowSchema).AppendRow(nil, b, 0))
}

// Rows that go on and on, and keys that do, leave little behind.
func TestWhatADecoderRemembersIsBounded(t *testing.T) {
	d := NewJSONDecoder(rowSchema)
	row := []byte(`{`)
	for i := range 5000 {
		row = fmt.Appendf(row, `"k%d":1,`, i)
	}
	row = append(row, fmt.Sprintf(`"%s":1,"origin":"A","delay":1}`, make100())...)
	for range 3 {
		if got := read(d, row); got == "" {
			t.Fatal("nothing was read")
		}
	}
	size := 0
	for _, m := range d.shape {
		size += cap(m.text)
	}
	if len(d.shape) > maxShape || size > maxShape*maxMember*2 {
		t.Errorf("%d members of %d bytes are remembered", len(d.shape), size)
	}
}
