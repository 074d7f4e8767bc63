package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/pipelines/column"
)

var rowSchema = column.Schema{Fields: []column.Field{
	{Name: "origin", Kind: column.String},
	{Name: "delay", Kind: column.Int64},
	{Name: "rate", Kind: column.Float64, Nullable: true},
	{Name: "late", Kind: column.Bool, Nullable: true},
	{Name: "at", Kind: column.Timestamp, Nullable: true},
	{Name: "raw", Kind: column.Bytes, Nullable: true},
	{Name: "näme", Kind: column.String, Nullable: true},
}}

// twin is a row as encoding/json reads it.
type twin struct {
	Origin *string  `json:"origin"`
	Delay  *int64   `json:"delay"`
	Rate   *float64 `json:"rate"`
	Late   *bool    `json:"late"`
	Name   *string  `json:"näme"`
}

func decodeOne(row string) (string, error) {
	b := column.NewBatch(&rowSchema, 1)
	if err := NewJSONDecoder(rowSchema).Decode(b, []byte(row)); err != nil {
		return "", err
	}
	return string(NewJSONEncoder(rowSchema).AppendRow(nil, b, 0)), nil
}

func TestJSONRowsRoundTrip(t *testing.T) {
	for _, c := range []struct{ row, want string }{
		{`{"origin":"ORD","delay":-12,"rate":1.5,"late":true,"at":"2001-01-01T00:01:00Z","raw":"AQI=","näme":"é"}`, ""},
		{` { "delay" : 9223372036854775807 , "x":[1,{"y":null}], "origin" : "a\"\\\/\n\u0041\ud83d\ude00\ud83d" } `,
			`{"origin":"a\"\\/` + `\nA😀` + "\uFFFD" + `","delay":9223372036854775807,"rate":null,"late":null,"at":null,"raw":null,"näme":null}`},
		{`{"origin":"","delay":1,"delay":2,"rate":"NaN","late":null,"at":"1969-12-31 23:59:59.5+01:00","n\u00e4me":"x"}`,
			`{"origin":"","delay":2,"rate":"NaN","late":null,"at":"1969-12-31T22:59:59.500000Z","raw":null,"näme":"x"}`},
		{`{"origin":"\u0001","delay":0,"rate":1e-9}`, `{"origin":"\u0001","delay":0,"rate":1e-9,"late":null,"at":null,"raw":null,"näme":null}`},
	} {
		if c.want == "" {
			c.want = c.row
		}
		got, err := decodeOne(c.row)
		if err != nil || got != c.want {
			t.Errorf("%s\n got %s, %v\nwant %s", c.row, got, err, c.want)
		}
	}
}

func TestAJSONRowThatDoesNotFitNamesItsFieldAndLeavesTheBatch(t *testing.T) {
	b := column.NewBatch(&rowSchema, 4)
	d := NewJSONDecoder(rowSchema)
	if err := d.Decode(b, []byte(`{"origin":"ORD","delay":1,"at":null}`)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ row, want string }{
		{`{"origin":"LAX"}`, `field "delay": is missing, and the field is not nullable`},
		{`{"origin":null,"delay":1}`, `field "origin": is null, and the field is not nullable`},
		{`{"origin":"LAX","delay":1.5}`, `field "delay": 1.5 is no 64-bit integer`},
		{`{"origin":"LAX","delay":"1"}`, `field "delay": string 1 is no integer`},
		{`{"origin":{"a":[]},"delay":1}`, `field "origin": object or array {"a":[]} is no string`},
		{`{"origin":"LAX","delay":1,"at":"yesterday"}`, `field "at": "yesterday" is no RFC 3339 time`},
		{`{"origin":"LAX","delay":1,"raw":"?"}`, `field "raw": "?" is no base64`},
		{`{"origin":"LAX","delay":1}x`, `byte 26: the row goes on after its object`},
		{`{"origin":"LAX","delay":1`, `byte 25: expected a comma or the end of an object or array`},
		{`{"origin":"LAX`, `byte 14: a string does not end`},
		{`[]`, `byte 0: expected an object`},
		{`{"delay":01}`, `byte 10: expected a comma or the end of an object or array`},
	} {
		err := d.Decode(b, []byte(c.row))
		if err == nil || err.Error() != "decode JSON row: "+c.want {
			t.Errorf("%s\n got %v\nwant %s", c.row, err, c.want)
		}
	}
	if err := d.Decode(b, []byte(`{"origin":"SFO","delay":3,"rate":2}`)); err != nil {
		t.Fatal(err)
	}
	rows := string(NewJSONEncoder(rowSchema).AppendRow(nil, b, 0)) + string(NewJSONEncoder(rowSchema).AppendRow(nil, b, 1))
	if b.N != 2 || !strings.Contains(rows, `"ORD","delay":1`) || !strings.Contains(rows, `"SFO","delay":3,"rate":2,`) {
		t.Errorf("%d rows: %s", b.N, rows)
	}
}

func TestDecodeAtLendsTheBufferAndCopiesWhereItMust(t *testing.T) {
	rows := []string{`{"origin":"ORD","delay":1}`, `{"origin":"a\tb","delay":2}`, `{"origin":"LAX","delay":3}`}
	buf := []byte(strings.Join(rows, "\n"))
	b := column.NewBatch(&rowSchema, 4)
	d := NewJSONDecoder(rowSchema)
	off := 0
	for i, r := range rows {
		if err := d.DecodeAt(b, buf, column.Span{Off: uint32(off), Len: uint32(len(r))}); err != nil {
			t.Fatal(err)
		}
		off += len(r) + 1
		if borrowed := b.Cols[0].Borrowed; borrowed != (i == 0) {
			t.Errorf("row %d: borrowed is %v", i, borrowed)
		}
	}
	got := fmt.Sprintf("%s|%s|%s", b.Cols[0].At(0), b.Cols[0].At(1), b.Cols[0].At(2))
	if got != "ORD|a\tb|LAX" {
		t.Errorf("got %q", got)
	}
	if string(buf) != strings.Join(rows, "\n") {
		t.Error("the fetched buffer was changed")
	}
}

// Vectors of Kafka's own UtilsTest.testMurmur2.
func TestMurmur2IsThatOfKafkasJavaClient(t *testing.T) {
	for key, want := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107} {
		if got := int32(Murmur2([]byte(key))); got != want {
			t.Errorf("%s: %d, want %d", key, got, want)
		}
		if got := Partition([]byte(key), 12); got != (want&math.MaxInt32)%12 {
			t.Errorf("%s: partition %d", key, got)
		}
	}
}

func TestKeys(t *testing.T) {
	b := column.NewBatch(&rowSchema, 1)
	if err := NewJSONDecoder(rowSchema).Decode(b, []byte(`{"origin":"O\"RD","delay":7}`)); err != nil {
		t.Fatal(err)
	}
	for want, cols := range map[string][]int{`O"RD`: {0}, `[7]`: {1}, `["O\"RD",7,null]`: {0, 1, 2}, ``: {6}} {
		if got := string(AppendKey(nil, b, 0, cols)); got != want {
			t.Errorf("columns %v: %q, want %q", cols, got, want)
		}
	}
}

func TestTimesAgreeWithTheStandardLibrary(t *testing.T) {
	for i := int64(0); i < 20000; i++ {
		at := (i*7919*7919*31 - 5_000_000_000) * 123_457
		want := time.UnixMicro(at).UTC()
		if y := want.Year(); y < 0 || y > 9999 {
			continue
		}
		text := string(AppendTime(nil, at))
		layout := "2006-01-02T15:04:05Z"
		if want.Nanosecond() != 0 {
			layout = "2006-01-02T15:04:05.000000Z"
		}
		if text != want.Format(layout) {
			t.Fatalf("%d: %s, want %s", at, text, want.Format(layout))
		}
		if back, ok := ParseTime([]byte(text)); !ok || back != at {
			t.Fatalf("%s: %d, %v, want %d", text, back, ok, at)
		}
	}
	for _, at := range []int64{column.MinTime, column.MinTime + 1, -1, 0, 1, column.MaxTime - 1, column.MaxTime} {
		text := AppendTime(nil, at)
		if back, ok := ParseTime(text); !ok || back != at {
			t.Errorf("%d -> %s -> %d, %v", at, text, back, ok)
		}
	}
	for _, bad := range []string{"", "2001-02-29", "2001-13-01", "2001-01-01T24:00:00Z", "2001-01-01T00:00:00.Z", "2001-01-01T00:00Z", "2001-01-01T00:00:00Zx", "+999999-01-01T00:00:00Z"} {
		if v, ok := ParseTime([]byte(bad)); ok {
			t.Errorf("%q was read as %d", bad, v)
		}
	}
}

func FuzzJSONAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range []string{`{"origin":"ORD","delay":1}`, `{"origin":"\ud83d\u0000é","delay":-0,"rate":1e5,"late":false,"x":{"a":[1,2,{}]}}`, `{"delay":1e2,"origin":""}`, `{"n\u00e4me":"\xff","origin":"a","delay":3}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		b := column.NewBatch(&rowSchema, 1)
		err := NewJSONDecoder(rowSchema).Decode(b, row)
		if err == nil && !json.Valid(row) {
			t.Fatalf("%q is no JSON, and was decoded", row)
		}
		if err != nil {
			return
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(row, &members) != nil {
			return
		}
		// encoding/json matches names without regard to case and duplicates: only the exact members count here.
		clean := map[string]json.RawMessage{}
		for _, field := range rowSchema.Fields {
			if v, ok := members[field.Name]; ok && string(v) != `"NaN"` && string(v) != `"Infinity"` && string(v) != `"-Infinity"` {
				clean[field.Name] = v
			}
		}
		text, _ := json.Marshal(clean)
		var want twin
		if e := json.Unmarshal(text, &want); e != nil {
			t.Fatalf("%q was decoded, encoding/json says %v", row, e)
		}
		encoded := NewJSONEncoder(rowSchema).AppendRow(nil, b, 0)
		var got twin
		if e := json.Unmarshal(bytes.ReplaceAll(encoded, []byte(`"rate":"NaN"`), []byte(`"rate":null`)), &got); e != nil && !strings.Contains(string(encoded), "Infinity") {
			t.Fatalf("encoded row %s: %v", encoded, e)
		} else if e == nil && *got.Origin != *want.Origin || e == nil && *got.Delay != *want.Delay {
			t.Fatalf("%q: got %s", row, encoded)
		}
	})
}

const benchRow = `{"origin":"ORD","delay":-12,"rate":1.5,"late":true,"at":"2001-01-01T00:01:00Z","raw":"AQI=","näme":"some more text of forty bytes in this row"}`

func BenchmarkJSONDecodeAt(b *testing.B) {
	benchmarkDecode(b, rowSchema, benchRow)
}

func BenchmarkJSONDecodeAtYahoo(b *testing.B) {
	row := `{"user_id":"c3e4f3ba-8f54-4fe8-a1a0-0f7a2d9e5b11","page_id":"7a1b6fb0-3f3f-4b5f-9c4d-1f2e3d4c5b6a","ad_id":"0d9e8f7a-6b5c-4d3e-2f1a-0b9c8d7e6f5a","ad_type":"banner","event_type":"view","event_time":"1479163200000","ip_address":"1.2.3.4"}`
	var s column.Schema
	for _, n := range []string{"user_id", "page_id", "ad_id", "ad_type", "event_type", "event_time", "ip_address"} {
		s.Fields = append(s.Fields, column.Field{Name: n, Kind: column.String})
	}
	benchmarkDecode(b, s, row)
}

func benchmarkDecode(b *testing.B, s column.Schema, row string) {
	const rows = 1000
	buf := bytes.Repeat([]byte(row), rows)
	batch := column.NewBatch(&s, rows)
	d := NewJSONDecoder(s)
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		for i := 0; i < rows; i++ {
			if err := d.DecodeAt(batch, buf, column.Span{Off: uint32(i * len(row)), Len: uint32(len(row))}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}

func BenchmarkJSONAppendRow(b *testing.B) {
	batch := column.NewBatch(&rowSchema, 1)
	if err := NewJSONDecoder(rowSchema).Decode(batch, []byte(benchRow)); err != nil {
		b.Fatal(err)
	}
	e := NewJSONEncoder(rowSchema)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = e.AppendRow(dst[:0], batch, 0)
	}
}

func BenchmarkMurmur2(b *testing.B) {
	key := []byte("ORD")
	for b.Loop() {
		Partition(key, 12)
	}
}
