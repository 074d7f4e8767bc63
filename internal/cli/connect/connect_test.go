package connect

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

var (
	lines   = column.Schema{Fields: []column.Field{{Name: "line", Kind: column.String}}}
	slot    = checkpoint.Slot{Pipeline: "p", UID: "u", Stage: "s", Fragment: "f0"}
	topic   = &physical.Channel{Kafka: &physical.KafkaChannel{Service: "events", Topic: "t", Partitions: 1}}
	table   = &physical.Channel{Cassandra: &physical.CassandraChannel{Service: "serving", Keyspace: "k", Table: "t", PartitionKey: []string{"line"}}}
	nowhere = map[string]physical.Connection{}
)

// pool is one that ends with the test.
func pool(t *testing.T) *Pool {
	t.Helper()
	p := NewPool("test")
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// at is the config of a file connector.
func at(path string) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"path": %q}`, path)) }

func reading(path string) physical.ReadConfig {
	return physical.ReadConfig{Connector: "file", Format: "text", Config: at(path), Schema: lines, Bounded: true}
}

func writing(path string) physical.WriteConfig {
	return physical.WriteConfig{Connector: "file", Format: "text", Config: at(path), Sort: []string{"line"}}
}

func wantError(t *testing.T, what string, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("%s: got %v, want an error with %q", what, err, part)
	}
}

func TestAServiceThatNobodyNamedIsAnError(t *testing.T) {
	c := pool(t).With(nowhere, "w1")
	_, err := c.Source(t.Context(), physical.ReadConfig{}, topic)
	wantError(t, "a topic", err, "connect to service events: nobody said where it is")
	_, err = c.Source(t.Context(), physical.ReadConfig{}, table)
	wantError(t, "a table to read", err, "connect to service serving: nobody said where it is")
	_, err = c.Outbox(t.Context(), physical.WriteConfig{}, table, lines, slot)
	wantError(t, "a table to write", err, "connect to service serving: nobody said where it is")
	_, err = c.Log(t.Context(), slot, physical.Fragment{Home: "home"})
	wantError(t, "a changelog", err, "connect to service home: nobody said where it is")
	_, err = c.Watermarks(t.Context(), *topic, 0)
	wantError(t, "watermarks", err, "connect to service events: nobody said where it is")
}

func TestAConnectorThatThereIsNotIsAnError(t *testing.T) {
	c := pool(t).With(nowhere, "w1")
	_, err := c.Source(t.Context(), physical.ReadConfig{Connector: "carrier-pigeon"}, nil)
	wantError(t, "a source", err, `there is no connector "carrier-pigeon"`)
	_, err = c.Outbox(t.Context(), physical.WriteConfig{Connector: "carrier-pigeon"}, nil, lines, slot)
	wantError(t, "a sink", err, `there is no connector "carrier-pigeon"`)
}

func TestAPathThatIsNotAbsoluteIsRefused(t *testing.T) {
	c := pool(t).With(nowhere, "w1")
	_, err := c.Source(t.Context(), reading("in.txt"), nil)
	wantError(t, "a source", err, "open in.txt: the path is not absolute")
	_, err = c.Outbox(t.Context(), writing("out/x.txt"), nil, lines, slot)
	wantError(t, "a sink", err, "open out/x.txt: the path is not absolute")
	if _, err := os.Stat("out"); err == nil {
		t.Error("a refused sink made its directory")
	}
	_, err = c.Source(t.Context(), physical.ReadConfig{Connector: "file", Config: json.RawMessage(`[]`)}, nil)
	wantError(t, "a config of another form", err, "read the config of a file")
}

func TestASourceWhoseDirectoryIsMissingSaysWhich(t *testing.T) {
	c := pool(t).With(nowhere, "w1")
	dir := filepath.Join(t.TempDir(), "gone")
	_, err := c.Source(t.Context(), reading(filepath.Join(dir, "in.txt")), nil)
	wantError(t, "a source", err, "open the directory of "+filepath.Join(dir, "in.txt"))
}

// stage gives rows to a file sink, up to the entries that are to be applied.
func stage(t *testing.T, c *Connections, path string, rows ...string) (connectors.Outbox, [][]byte) {
	t.Helper()
	out, err := c.Outbox(t.Context(), writing(path), nil, lines, slot)
	if err != nil {
		t.Fatal(err)
	}
	b := column.NewBatch(&lines, len(rows))
	for _, r := range rows {
		b.Cols[0].AppendString([]byte(r))
		b.AppendTime(0)
		b.N++
	}
	if _, err := out.Stage(b, nil); err != nil {
		t.Fatal(err)
	}
	entries, err := out.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out, entries
}

// read is all rows of a file through a source.
func read(t *testing.T, c *Connections, path string) []string {
	t.Helper()
	src, err := c.Source(t.Context(), reading(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	splits, err := src.Splits(t.Context())
	if err != nil || len(splits) != 1 {
		t.Fatalf("splits %v, %v", splits, err)
	}
	r, err := src.Open(t.Context(), splits[0], checkpoint.Position{})
	if err != nil {
		t.Fatal(err)
	}
	b := column.NewBatch(&lines, 8)
	for {
		if _, err := r.Read(t.Context(), b, 8); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	var rows []string
	for i := range b.N {
		rows = append(rows, string(b.Cols[0].At(i)))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestWhatAFileSinkWritesAFileSourceReads(t *testing.T) {
	c := pool(t).With(nowhere, "w1")
	path := filepath.Join(t.TempDir(), "made", "here", "rows.txt") // whose directory is made
	out, entries := stage(t, c, path, "b", "a", "c")
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is there before its entry was applied")
	}
	if err := out.Apply(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.(ownedOutbox).root.Stat("."); err == nil {
		t.Error("the sink's directory is still open")
	}
	if got := strings.Join(read(t, c, path), " "); got != "a b c" {
		t.Errorf("read %q, want the sorted rows", got)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the file there is %v, %v", left, err)
	}
}

func TestALinkThatLeadsOutOfTheGrantedDirectoryIsNotFollowed(t *testing.T) {
	c := pool(t).With(nowhere, "w1")
	outside, dir := filepath.Join(t.TempDir(), "secret"), t.TempDir()
	if err := os.WriteFile(outside, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "in.txt")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	src, err := c.Source(t.Context(), reading(link), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	_, err = src.Splits(t.Context())
	wantError(t, "listing it", err, "escapes")
	out, entries := stage(t, c, link, "row")
	defer out.Close()
	wantError(t, "writing through it", out.Apply(t.Context(), entries), "escapes")
	if data, err := os.ReadFile(outside); err != nil || string(data) != "secret\n" {
		t.Errorf("the file outside is now %q, %v", data, err)
	}
}

func TestASourceOwnsItsDirectory(t *testing.T) {
	c := pool(t).With(nowhere, "w1")
	src, err := c.Source(t.Context(), reading(filepath.Join(t.TempDir(), "in.txt")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := src.(ownedSource).root.Stat("."); err == nil {
		t.Error("the directory is still open")
	}
}

func TestOneClientServesAllWhoReachAServiceInTheSameWay(t *testing.T) {
	p := pool(t)
	base := physical.Connection{Servers: []string{"127.0.0.1:1"}, User: "u", Password: "p"}
	first, err := p.With(map[string]physical.Connection{"events": base}, "w1").kafka("events")
	if err != nil {
		t.Fatal(err)
	}
	same, err := p.With(map[string]physical.Connection{"other-name": base}, "w2").kafka("other-name")
	if err != nil || same != first {
		t.Errorf("the same way has two clients (%v)", err)
	}
	for what, change := range map[string]func(*physical.Connection){
		"servers": func(c *physical.Connection) { c.Servers = []string{"127.0.0.1:2"} }, "user": func(c *physical.Connection) { c.User = "v" },
		"password": func(c *physical.Connection) { c.Password = "q" },
	} {
		c := base
		change(&c)
		if got, err := p.kafkaClient(c); err != nil || got == first {
			t.Errorf("another %s has the same client (%v)", what, err)
		}
	}
	if len(p.kafkas) != 4 {
		t.Errorf("the pool holds %d clients, want 4", len(p.kafkas))
	}
	if err := p.Close(); err != nil || len(p.kafkas) != 0 {
		t.Errorf("after Close it holds %d, %v", len(p.kafkas), err)
	}
}

func TestAClientThatCannotBeMadeIsNotKept(t *testing.T) {
	p := pool(t)
	_, err := p.kafkaClient(physical.Connection{})
	wantError(t, "no server", err, "the connection names no server")
	_, err = p.kafkaClient(physical.Connection{Servers: []string{"127.0.0.1:1"}, CA: []byte("no PEM")})
	wantError(t, "a broken CA", err, "no certificate in its PEM")
	if len(p.kafkas) != 0 {
		t.Errorf("the pool holds %d clients", len(p.kafkas))
	}
}

func TestEveryPartOfAWayTellsItApart(t *testing.T) {
	seen := map[string]string{}
	for what, c := range map[string]physical.Connection{
		"nothing": {}, "servers": {Servers: []string{"a", "b"}}, "another server": {Servers: []string{"a"}}, "user": {User: "a"}, "password": {Password: "a"},
		"certificate": {Cert: []byte("a")}, "authority": {CA: []byte("a")},
	} {
		if other, ok := seen[key(c)]; ok {
			t.Errorf("%s and %s are the same way", what, other)
		}
		seen[key(c)] = what
	}
}
