package codec

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/weir-project/weir/pipelines/column"
)

// decodeCSV reads a whole file with a header.
func decodeCSV(data string, s column.Schema) (*column.Batch, error) {
	d := NewCSVDecoder(s, 0)
	b := column.NewBatch(&s, 8)
	rest, line := []byte(data), 1
	for len(rest) > 0 {
		n, lines, _ := CSVRecord(rest)
		var err error
		if line == 1 {
			err = d.Header(rest[:n])
		} else {
			err = d.Decode(b, rest[:n], line)
		}
		if err != nil {
			return b, err
		}
		rest, line = rest[n:], line+lines
	}
	return b, nil
}

func TestCSVRowsRoundTrip(t *testing.T) {
	const data = "\ufeffskipped,delay,origin,näme,rate,late,at,raw\r\n" +
		"x,-3,\"O,R\"\"D\r\n\",\"\",1.5,TRUE,2001-01-01T00:01:00,b\r\n" +
		",4,,,,,,\n" +
		"\"\",5,\" a \",z,nan,0,2001-01-02,"
	b, err := decodeCSV(data, rowSchema)
	if err != nil {
		t.Fatal(err)
	}
	e := NewCSVEncoder(rowSchema, 0)
	out := e.AppendHeader(nil)
	for i := 0; i < b.N; i++ {
		out = e.AppendRow(out, b, i)
	}
	const want = "origin,delay,rate,late,at,raw,näme\n" +
		"\"O,R\"\"D\r\n\",-3,1.5,true,2001-01-01T00:01:00Z,b,\"\"\n" +
		",4,,,,,\n" +
		"\" a \",5,NaN,false,2001-01-02T00:00:00Z,,z\n"
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestABadCSVValueNamesItsLineAndColumn(t *testing.T) {
	head := "origin,delay,rate,late,at,raw,näme\n"
	for _, c := range []struct{ data, want string }{
		{head + "\"a\nb\",1,,,,,\nORD,x,,,,,\n", `decode CSV row: line 4: field "delay": "x" is no integer`},
		{head + "ORD,,,,,,\n", `decode CSV row: line 2: field "delay": is empty, and the field (integer) is not nullable`},
		{head + "ORD,1\n", `decode CSV row: line 2: 2 values, not 7 as the header has`},
		{head + "O\"RD,1,,,,,\n", `decode CSV row: line 2: a quote inside the unquoted value "O"`},
		{head + "\"O\"RD,1,,,,,\n", `decode CSV row: line 2: text after the quoted value "O"`},
		{head + "ORD,1,,maybe,,,\n", `decode CSV row: line 2: field "late": "maybe" is no boolean`},
		{"origin,origin\n", `decode CSV row: line 1: field "origin": the header names it twice`},
		{"origin,dely\n", `decode CSV row: line 1: field "delay": the header has no such column (columns: origin, dely)`},
	} {
		b, err := decodeCSV(c.data, rowSchema)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q\n got %v\nwant %s", c.data, err, c.want)
		}
		for i := range b.Cols {
			if n := b.Cols[i].Len(); n != b.N {
				t.Errorf("%q: column %d holds %d values, the batch %d rows", c.data, i, n, b.N)
			}
		}
	}
}

func FuzzCSVAgreesWithEncodingCSV(f *testing.F) {
	for _, s := range []string{"a,b\n", "\"a\"\"b\",c\r\n", "a,\"b\nc\"\n", "\"", ",,", "a\"b,c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		// A lone \r before the end and a blank line are read differently by encoding/csv, which rewrites line ends.
		if strings.Contains(data, "\r") || strings.HasPrefix(data, "\n") || data == "" {
			return
		}
		r := csv.NewReader(strings.NewReader(data))
		r.FieldsPerRecord = -1
		want, wantErr := r.Read()
		if errors.Is(wantErr, io.EOF) {
			return
		}
		n, _, _ := CSVRecord([]byte(data))
		record := trimEnd([]byte(data)[:n])
		d := NewCSVDecoder(column.Schema{}, ',')
		why := d.split(record)
		if wantErr != nil {
			if why == "" && !errors.Is(wantErr, csv.ErrBareQuote) && !errors.Is(wantErr, csv.ErrQuote) {
				t.Fatalf("%q was read, encoding/csv says %v", data, wantErr)
			}
			return
		}
		var got []string
		for _, c := range d.cells {
			got = append(got, string(d.text(record, c)))
		}
		if why != "" || !slices.Equal(got, want) {
			t.Fatalf("%q: got %q (%s), want %q", data, got, why, want)
		}
	})
}

func FuzzCSVRoundTrip(f *testing.F) {
	f.Add("a", "b,\"c\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		s := column.Schema{Fields: []column.Field{{Name: "a", Kind: column.String}, {Name: "b", Kind: column.String, Nullable: true}}}
		in := column.NewBatch(&s, 1)
		in.Cols[0].AppendString([]byte(a))
		in.Cols[1].AppendString([]byte(b))
		in.N = 1
		e := NewCSVEncoder(s, 0)
		out, err := decodeCSV(string(e.AppendRow(e.AppendHeader(nil), in, 0)), s)
		if err != nil || out.N != 1 || string(out.Cols[0].At(0)) != a || string(out.Cols[1].At(0)) != b || out.Cols[1].IsNull(0) {
			t.Fatalf("%q, %q: %v", a, b, err)
		}
	})
}

func BenchmarkCSVDecode(b *testing.B) {
	s := column.Schema{Fields: []column.Field{{Name: "time", Kind: column.Int64}, {Name: "delay", Kind: column.Int64}, {Name: "distance", Kind: column.Int64},
		{Name: "origin", Kind: column.String}, {Name: "destination", Kind: column.String}}}
	d := NewCSVDecoder(s, 0)
	if err := d.Header([]byte("date,time,delay,distance,origin,destination\n")); err != nil {
		b.Fatal(err)
	}
	data := bytes.Repeat([]byte("2001-01-01T00:01:00,978307260,19,215,ATL,SAV\n"), 1000)
	batch := column.NewBatch(&s, 1000)
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		for rest := data; len(rest) > 0; {
			n, _, _ := CSVRecord(rest)
			if err := d.Decode(batch, rest[:n], 1); err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
}
