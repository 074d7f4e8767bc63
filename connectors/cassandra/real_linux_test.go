package cassandra

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/cassandra"
	"github.com/weir-project/weir/operators/operatortest"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// node is a real Cassandra, one for all tests that want one: with mutual TLS from the first boot, on an address of its own.
type node struct{ *operatortest.Cassandra }

func (n node) connection() physical.Connection {
	c, b := n.Client, n.Bundle
	return physical.Connection{Operator: "cassandra", Servers: []string{c.Address}, User: c.User, Password: c.Password,
		CA: b.CAPEM, Cert: b.CertPEM, Key: b.KeyPEM, LocalDC: cassandra.DC}
}

func TestARealCassandra(t *testing.T) {
	n := node{operatortest.NewRig(t).Cassandra()}
	t.Run("applied twice and out of order the newest row stands", func(t *testing.T) { appliedTwice(t, n) })
	t.Run("a scan sees every row once from any position", func(t *testing.T) { scanFromAnyPosition(t, n) })
	t.Run("a page longer than its split is continued", func(t *testing.T) { longPage(t, n) })
	t.Run("what the server or the table refuses returns at once", func(t *testing.T) { refusals(t, n) })
	t.Run("a source keeps every claim", func(t *testing.T) { sourceClaims(t, n) })
	t.Run("a sink keeps every claim", func(t *testing.T) { sinkClaims(t, n) })
	t.Run("a node that dies is waited for and no acknowledged row is lost", func(t *testing.T) { nodeDies(t, n) })
}

// tableOf is the channel's, as operators make it.
func tableOf(name string) operators.Table {
	return operators.Table{Keyspace: "flights", Name: name, PartitionKey: []string{"origin"}, ClusteringKey: []string{"hour"}, Columns: []operators.Column{
		{Name: "origin", Type: "text"}, {Name: "hour", Type: "timestamp"}, {Name: "flights", Type: "bigint"}, {Name: "Mean", Type: "double"},
		{Name: "late", Type: "boolean"}, {Name: "select", Type: "blob"}}}
}

// dial connects and makes an empty table.
func dial(t testing.TB, n node, name string) *Session {
	t.Helper()
	s, err := Dial(context.Background(), n.connection())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, q := range []string{
		operators.Keyspace{Name: "flights", Replication: 1}.DDL(), fmt.Sprintf(`DROP TABLE IF EXISTS "flights"."%s"`, name), tableOf(name).DDL(),
	} {
		if err := s.cql.Query(q).Exec(); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	return s
}

func apply(t testing.TB, o *Outbox, b *column.Batch, from int64) [][]byte {
	t.Helper()
	entries, err := o.Stage(b, counterFrom(from))
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Apply(context.Background(), entries); err != nil {
		t.Fatal(err)
	}
	return entries
}

// scan reads the whole table, max rows at a time, opening a new reader at each position when reopen is set.
func scan(t testing.TB, s *Session, name string, max int, reopen bool) []string {
	t.Helper()
	ctx := context.Background()
	src, err := NewSource(s, channel(name))
	if err != nil {
		t.Fatal(err)
	}
	splits, err := src.Splits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	e := codec.NewJSONEncoder(delays)
	b := column.NewBatch(&delays, max)
	for _, split := range splits {
		var pos checkpoint.Position
		r := open(t, src, split, pos)
		for {
			b.Reset()
			if pos, err = r.Read(ctx, b, max); errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < b.N; i++ {
				out = append(out, string(e.AppendRow(nil, b, i)))
			}
			if reopen {
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				r = open(t, src, split, pos)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func open(t testing.TB, src connectors.Source, split connectors.Split, pos checkpoint.Position) connectors.Reader {
	t.Helper()
	r, err := src.Open(context.Background(), split, pos)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func appliedTwice(t *testing.T, n node) {
	s := dial(t, n, "delays")
	o := newOutbox(t, s, "delays")
	old := apply(t, o, batchOf(t,
		`{"origin":"ORD","hour":"2001-01-01T00:00:00Z","flights":1,"Mean":1.5,"late":true,"select":"AQI="}`,
		`{"origin":"ORD","hour":"2001-01-01T01:00:00Z","flights":2}`), 100)
	apply(t, o, batchOf(t, `{"origin":"ORD","hour":"2001-01-01T00:00:00Z","flights":3,"late":false}`), 200)
	if err := o.Apply(context.Background(), old); err != nil { // a takeover repeats what was committed
		t.Fatal(err)
	}
	got := strings.Join(scan(t, s, "delays", 10, false), "\n")
	const want = `{"origin":"ORD","hour":"2001-01-01T00:00:00Z","flights":3,"Mean":null,"late":false,"select":null}` + "\n" +
		`{"origin":"ORD","hour":"2001-01-01T01:00:00Z","flights":2,"Mean":null,"late":null,"select":null}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func scanFromAnyPosition(t *testing.T, n node) {
	s := dial(t, n, "many")
	o := newOutbox(t, s, "many")
	const partitions, perPartition = 200, 60 // more than a page in the whole, several pages' worth over the ring
	want := map[string]bool{}
	var rows []string
	for p := 0; p < partitions; p++ {
		for h := 0; h < perPartition; h++ {
			row := fmt.Sprintf(`{"origin":"P%d","hour":"2001-01-01T00:%02d:00Z","flights":%d,"Mean":null,"late":null,"select":null}`, p, h, p*h)
			rows = append(rows, row)
			want[row] = true
		}
	}
	apply(t, o, batchOf(t, rows...), 0)
	for _, c := range []struct {
		max    int
		reopen bool
	}{{1024, false}, {700, true}} {
		seen := map[string]bool{}
		got := scan(t, s, "many", c.max, c.reopen)
		for _, row := range got {
			if !want[row] || seen[row] {
				t.Fatalf("by %d: row %s is wrong or came twice", c.max, row)
			}
			seen[row] = true
		}
		if len(seen) != len(want) {
			t.Errorf("by %d, reopened %v: %d rows, not %d", c.max, c.reopen, len(seen), len(want))
		}
	}
}

func longPage(t *testing.T, n node) {
	s := dial(t, n, "deep")
	o := newOutbox(t, s, "deep")
	const total = 2*pageSize + 10
	b := column.NewBatch(&delays, total)
	for i := 0; i < total; i++ {
		b.Cols[0].AppendString([]byte("ONE"))
		b.Cols[1].AppendInt(int64(i) * 1000)
		b.Cols[2].AppendInt(int64(i))
		for c := 3; c < 6; c++ {
			b.Cols[c].AppendNull()
		}
		b.N++
	}
	apply(t, o, b, 0)
	for _, reopen := range []bool{false, true} {
		if got := scan(t, s, "deep", 3000, reopen); len(got) != total {
			t.Errorf("reopened %v: %d rows, not %d", reopen, len(got), total)
		}
	}
}

func refusals(t *testing.T, n node) {
	s := dial(t, n, "delays")
	b := batchOf(t, `{"origin":"ORD","hour":"2001-01-01T00:00:00Z","flights":1}`)
	start := time.Now()
	missing := newOutbox(t, s, "missing")
	entries, err := missing.Stage(b, counterFrom(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := missing.Apply(context.Background(), entries); err == nil || !strings.Contains(err.Error(), "write to cassandra table flights.missing") {
		t.Errorf("a missing table: %v", err)
	}
	if err := s.cql.Query(`ALTER TABLE "flights"."delays" DROP "flights"`).Exec(); err != nil {
		t.Fatal(err)
	}
	if err := s.cql.Query(`CREATE TABLE IF NOT EXISTS "flights"."wrong" ("origin" text, "hour" timestamp, "flights" int, "Mean" double, "late" boolean, "select" blob, PRIMARY KEY (("origin"), "hour"))`).Exec(); err != nil {
		t.Fatal(err)
	}
	wrong := newOutbox(t, s, "wrong")
	if err := wrong.Apply(context.Background(), entries); err == nil || !strings.Contains(err.Error(), `column "flights" is int and should be bigint`) {
		t.Errorf("a column of another type: %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	for name, spoil := range map[string]func(*physical.Connection){
		"password":       func(c *physical.Connection) { c.Password = "wrong" },
		"authority":      func(c *physical.Connection) { c.CA = otherCA(t) },
		"no certificate": func(c *physical.Connection) { c.Cert = nil },
	} {
		c := n.connection()
		spoil(&c)
		if s, err := Dial(context.Background(), c); err == nil {
			s.Close()
			t.Errorf("wrong %s: connected", name)
		}
	}
}

func otherCA(t testing.TB) []byte {
	t.Helper()
	ca, err := security.NewCA("other", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ca.CertPEM()
}

func nodeDies(t *testing.T, n node) {
	s := dial(t, n, "kill")
	o := newOutbox(t, s, "kill")
	ctx := context.Background()
	done := make(chan error, 1)
	started := make(chan struct{})
	const rounds, perRound = 40, 250
	go func() {
		for i := 0; i < rounds; i++ {
			b := column.NewBatch(&delays, perRound)
			for j := 0; j < perRound; j++ {
				b.Cols[0].AppendString(fmt.Appendf(nil, "P%d", j%50))
				b.Cols[1].AppendInt(int64(i*perRound+j) * 1000)
				b.Cols[2].AppendInt(int64(j))
				for c := 3; c < 6; c++ {
					b.Cols[c].AppendNull()
				}
				b.N++
			}
			entries, err := o.Stage(b, counterFrom(int64(i*perRound)))
			if err == nil {
				err = o.Apply(ctx, entries)
			}
			if err != nil {
				done <- err
				return
			}
			if i == 5 {
				close(started)
			}
		}
		done <- nil
	}()
	select {
	case <-started:
	case err := <-done:
		t.Fatal(err)
	}
	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("the writer ended before the node was killed: %v", err)
	default:
	}
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := len(scan(t, s, "kill", 1024, false)); got != rounds*perRound {
		t.Errorf("%d rows, not %d", got, rounds*perRound)
	}
}
