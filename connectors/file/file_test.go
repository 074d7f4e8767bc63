package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

var schema = column.Schema{Fields: []column.Field{{Name: "origin", Kind: column.String}, {Name: "delay", Kind: column.Int64, Nullable: true}}}

func grant(t *testing.T, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func configOf(t *testing.T, root *os.Root, path string) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(config{Path: filepath.Join(root.Name(), path)})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// readAll reads every split after from, max rows at a time, as JSON rows.
func readAll(t *testing.T, root *os.Root, path, format string, s column.Schema, from int64, max int) (string, error) {
	t.Helper()
	ctx := context.Background()
	src, err := Open(physical.ReadConfig{Config: configOf(t, root, path), Format: format, Schema: s}, root)
	if err != nil {
		return "", err
	}
	splits, err := src.Splits(ctx)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, split := range splits {
		r, err := src.Open(ctx, split, checkpoint.Position{Offset: from})
		if err != nil {
			return out.String(), err
		}
		fmt.Fprintf(&out, "%s:", split.ID)
		if err := drain(ctx, r, s, max, &out); err != nil {
			return out.String(), errors.Join(err, r.Close())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	return out.String(), nil
}

func drain(ctx context.Context, r connectors.Reader, s column.Schema, max int, out *strings.Builder) error {
	b := column.NewBatch(&s, max)
	e := codec.NewJSONEncoder(s)
	for {
		b.Reset()
		pos, err := r.Read(ctx, b, max)
		if errors.Is(err, io.EOF) {
			fmt.Fprintf(out, " (%d)\n", pos.Offset)
			return nil
		}
		if err != nil {
			return err
		}
		for i := 0; i < b.N; i++ {
			out.Write(e.AppendRow([]byte{' '}, b, i))
		}
	}
}

const csvText = "delay,x,origin\n1,a,ORD\n\n,\"b\nb\",LAX\r\n3,c,SFO"

func TestEveryFormatPlainAndZippedFromAnyRow(t *testing.T) {
	root := grant(t, map[string]string{
		"a.csv": csvText, "sub/b.csv.gz": zipped(t, csvText), "c.json": "{\"origin\":\"ORD\",\"delay\":1}\n\n{\"origin\":\"LAX\"}\n", "d.txt": "one\r\n\nthree\n",
	})
	rows := ` {"origin":"ORD","delay":1} {"origin":"LAX","delay":null} {"origin":"SFO","delay":3} (3)` + "\n"
	line := column.Schema{Fields: []column.Field{{Name: "line", Kind: column.String}}}
	for _, c := range []struct {
		path, format string
		schema       column.Schema
		from         int64
		want         string
	}{
		{"a.csv", "csv", schema, 0, "a.csv:" + rows},
		{"sub/b.csv.gz", "csv", schema, 0, "sub/b.csv.gz:" + rows},
		{"a.csv", "csv", schema, 2, `a.csv: {"origin":"SFO","delay":3} (3)` + "\n"},
		{"a.csv", "csv", schema, 3, "a.csv: (3)\n"},
		{"c.json", "json", schema, 1, `c.json: {"origin":"LAX","delay":null} (2)` + "\n"},
		{"d.txt", "text", line, 0, `d.txt: {"line":"one"} {"line":""} {"line":"three"} (3)` + "\n"},
		{"*.csv", "csv", schema, 0, "a.csv:" + rows},
	} {
		for _, max := range []int{1, 100} {
			got, err := readAll(t, root, c.path, c.format, c.schema, c.from, max)
			if err != nil || got != c.want {
				t.Errorf("%s from %d by %d:\n got %q, %v\nwant %q", c.path, c.from, max, got, err, c.want)
			}
		}
	}
}

func TestRecordsLongerThanTheBufferAndTheLimit(t *testing.T) {
	long := strings.Repeat("x", 3*firstBuffer)
	root := grant(t, map[string]string{"long.csv": "origin,delay\n" + long + ",1\nORD,2\n", "bomb.gz": zipped(t, "origin,delay\n"+strings.Repeat("x", MaxRecord+1))})
	got, err := readAll(t, root, "long.csv", "csv", schema, 0, 10)
	if want := `long.csv: {"origin":"` + long + `","delay":1} {"origin":"ORD","delay":2} (2)` + "\n"; err != nil || got != want {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err = readAll(t, root, "bomb.gz", "csv", schema, 0, 10); err == nil || !strings.Contains(err.Error(), "read file bomb.gz: line 2: record is longer than 16777216 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	root := grant(t, map[string]string{"a.csv": "origin,delay\nORD,late\n", "empty.csv": "", "dir/x": ""})
	if err := os.Symlink("/etc/hostname", filepath.Join(root.Name(), "out.csv")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"a.csv":     `read file a.csv: decode CSV row: line 2: field "delay": "late" is no integer`,
		"empty.csv": "open file empty.csv: it is empty, and a CSV file begins with a header",
		"none.csv":  "list files: no file matches none.csv in " + root.Name(),
		"dir":       "list files: no file matches dir in " + root.Name(),
		"../x.csv":  "leads out of the granted directory",
		"out.csv":   "path escapes from parent",
	} {
		if _, err := readAll(t, root, path, "csv", schema, 0, 10); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", path, err, want)
		}
	}
	if _, err := readAll(t, root, "a.csv", "text", schema, 0, 1); err == nil || !strings.Contains(err.Error(), "one string field") {
		t.Errorf("text of two fields: %v", err)
	}
}

func TestAFileThatChangedIsNotContinued(t *testing.T) {
	root := grant(t, map[string]string{"a.csv": "origin,delay\nORD,1\n"})
	src, err := Open(physical.ReadConfig{Config: configOf(t, root, "a.csv"), Format: "csv", Schema: schema}, root)
	if err != nil {
		t.Fatal(err)
	}
	splits, err := src.Splits(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root.Name(), "a.csv"), []byte("origin,delay\nLAX,1\nLAX,2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Open(context.Background(), splits[0], checkpoint.Position{Offset: 1}); err == nil || !strings.Contains(err.Error(), "it changed since the run began (19 bytes then, 25 now)") {
		t.Errorf("got %v", err)
	}
}

func rowsOf(t *testing.T, lines ...string) *column.Batch {
	t.Helper()
	b := column.NewBatch(&schema, len(lines))
	d := codec.NewJSONDecoder(schema)
	for _, l := range lines {
		if err := d.Decode(b, []byte(l)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func newSink(t *testing.T, root *os.Root, path, format string, sort ...string) connectors.Outbox {
	t.Helper()
	s, err := NewSink(physical.WriteConfig{Config: configOf(t, root, path), Format: format}, schema, root, sort, "p/s/f0/0")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// finish stages the rows, finishes, and returns the entries.
func finish(t *testing.T, s connectors.Outbox, lines ...string) [][]byte {
	t.Helper()
	b := rowsOf(t, lines...)
	if entries, err := s.Stage(b, nil); err != nil || len(entries) != 0 {
		t.Fatalf("stage: %d entries, %v", len(entries), err)
	}
	entries, err := s.Finish(context.Background())
	if err != nil || len(entries) != 1 {
		t.Fatalf("finish: %d entries, %v", len(entries), err)
	}
	return entries
}

func listing(t *testing.T, root *os.Root, dir string) string {
	t.Helper()
	des, err := os.ReadDir(filepath.Join(root.Name(), dir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range des {
		names = append(names, d.Name())
	}
	return strings.Join(names, " ")
}

func TestASortedFileAppearsWholeAndApplyingTwiceIsOnce(t *testing.T) {
	root := grant(t, nil)
	ctx := context.Background()
	s := newSink(t, root, "out/deep/daily.csv", "csv", "-delay")
	entries := finish(t, s, `{"origin":"B","delay":1}`, `{"origin":"A","delay":1}`, `{"origin":"N"}`, `{"origin":"C","delay":9}`)
	if got := listing(t, root, "out/deep"); !strings.HasPrefix(got, ".daily.csv.") || strings.Contains(got, " ") || !strings.HasSuffix(got, ".temp") {
		t.Errorf("before the commit: %s", got)
	}
	takeover := newSink(t, root, "out/deep/daily.csv", "csv", "-delay")
	for i, sink := range []connectors.Outbox{s, s, takeover} {
		if err := sink.Apply(ctx, entries); err != nil {
			t.Fatalf("apply %d: %v", i, err)
		}
	}
	got, err := root.ReadFile("out/deep/daily.csv")
	if want := "origin,delay\nC,9\nA,1\nB,1\nN,\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if names := listing(t, root, "out/deep"); names != "daily.csv" {
		t.Errorf("left over: %s", names)
	}
}

func TestAnEntryWhoseFileIsGoneIsRefused(t *testing.T) {
	root := grant(t, map[string]string{"daily.csv": "old\n"})
	s := newSink(t, root, "daily.csv", "csv")
	entries := finish(t, s, `{"origin":"A"}`)
	temp := listing(t, root, ".")
	temp = strings.Fields(temp)[0]
	if err := root.WriteFile(temp, []byte("origin,delay\nX,\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(context.Background(), entries); err == nil || !strings.Contains(err.Error(), "that was committed") {
		t.Errorf("a changed temporary file: %v", err)
	}
	if got, err := root.ReadFile("daily.csv"); err != nil || string(got) != "old\n" {
		t.Errorf("the old file became %q, %v", got, err)
	}
	if err := s.Apply(context.Background(), [][]byte{[]byte(`{"version":2}`)}); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("an unknown version: %v", err)
	}
}

func TestWhatTheSinkWroteTheSourceReads(t *testing.T) {
	lines := []string{`{"origin":"O,\"RD","delay":1}`, `{"origin":"","delay":null}`}
	for _, c := range []struct{ path, format string }{{"a.csv", "csv"}, {"a.csv.gz", "csv"}, {"a.json", "json"}, {"a.json.gz", "json"}} {
		root := grant(t, nil)
		s := newSink(t, root, c.path, c.format)
		if err := s.Apply(context.Background(), finish(t, s, lines...)); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(t, root, c.path, c.format, schema, 0, 10)
		if want := c.path + ": " + strings.Join(lines, " ") + " (2)\n"; err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", c.path, got, err, want)
		}
	}
}

func TestTheSinkRefusesMoreRowsThanItsBound(t *testing.T) {
	root := grant(t, nil)
	s := newSink(t, root, "a.csv", "csv")
	b := rowsOf(t, `{"origin":"A","delay":1}`)
	b.Sel = make([]int32, MaxRows)
	if _, err := s.Stage(b, nil); err != nil {
		t.Fatal(err)
	}
	b.Sel = b.Sel[:1]
	if _, err := s.Stage(b, nil); err == nil || !strings.Contains(err.Error(), "1000001 rows are more than the 1000000") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkReadCSVGzip(b *testing.B) {
	f, err := os.Open("../../stacks/catalog/flights/data/flights-2001-01.csv.gz")
	if err != nil {
		b.Skip(err)
	}
	defer f.Close()
	root, err := os.OpenRoot(filepath.Dir(f.Name()))
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	s := column.Schema{Fields: []column.Field{{Name: "time", Kind: column.Int64}, {Name: "delay", Kind: column.Int64}, {Name: "distance", Kind: column.Int64},
		{Name: "origin", Kind: column.String}, {Name: "destination", Kind: column.String}}}
	src, err := Open(physical.ReadConfig{Config: []byte(`{"path":"flights-2001-01.csv.gz"}`), Format: "csv", Schema: s}, root)
	if err != nil {
		b.Fatal(err)
	}
	rows := int64(0)
	batch := column.NewBatch(&s, 1024)
	for b.Loop() {
		r, err := src.Open(context.Background(), connectors.Split{ID: "flights-2001-01.csv.gz"}, checkpoint.Position{})
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			batch.Reset()
			var pos checkpoint.Position
			if pos, err = r.Read(context.Background(), batch, 1024); errors.Is(err, io.EOF) {
				rows += pos.Offset
			}
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}
