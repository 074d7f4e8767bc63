package cassandra

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

var delays = column.Schema{Fields: []column.Field{
	{Name: "origin", Kind: column.String}, {Name: "hour", Kind: column.Timestamp}, {Name: "flights", Kind: column.Int64}, {Name: "Mean", Kind: column.Float64, Nullable: true},
	{Name: "late", Kind: column.Bool, Nullable: true}, {Name: "select", Kind: column.Bytes, Nullable: true},
}}

func channel(name string) physical.Channel {
	return physical.Channel{Name: name, Schema: delays, Cassandra: &physical.CassandraChannel{Service: "serving", Keyspace: "flights", Table: name,
		PartitionKey: []string{"origin"}, ClusteringKey: []string{"hour"}}}
}

// tableOf is the channel's, as operators make it.
func tableOf(name string) operators.Table {
	return operators.Table{Keyspace: "flights", Name: name, PartitionKey: []string{"origin"}, ClusteringKey: []string{"hour"}, Columns: []operators.Column{
		{Name: "origin", Type: "text"}, {Name: "hour", Type: "timestamp"}, {Name: "flights", Type: "bigint"}, {Name: "Mean", Type: "double"},
		{Name: "late", Type: "boolean"}, {Name: "select", Type: "blob"}}}
}

func batchOf(t testing.TB, rows ...string) *column.Batch {
	t.Helper()
	b := column.NewBatch(&delays, len(rows))
	d := codec.NewJSONDecoder(delays)
	for _, r := range rows {
		if err := d.Decode(b, []byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func counterFrom(n int64) func() int64 { return func() int64 { n++; return n } }

func TestRangesCoverTheRingOnce(t *testing.T) {
	for n := 1; n <= 24; n++ {
		rs := ranges(n)
		if rs[0].After != math.MinInt64 || rs[n-1].To != math.MaxInt64 {
			t.Fatalf("%d ranges end at %v and %v", n, rs[0], rs[n-1])
		}
		for i := 1; i < n; i++ {
			if rs[i].After != rs[i-1].To || rs[i].After >= rs[i].To {
				t.Fatalf("%d ranges: %v, then %v", n, rs[i-1], rs[i])
			}
		}
	}
}

func TestARowThatTheTableCannotHoldIsRefusedWhenItIsStaged(t *testing.T) {
	o, err := NewOutbox(&Session{}, channel("delays"), delays)
	if err != nil {
		t.Fatal(err)
	}
	null := batchOf(t, `{"origin":"ORD","hour":"2001-01-01T00:00:00Z","flights":1}`)
	null.Cols[1].Null = []bool{true}
	for want, b := range map[string]*column.Batch{
		`row 1: field "hour" is 978307200000001 microseconds since 1970, and cassandra's timestamp has milliseconds only`: batchOf(t,
			`{"origin":"ORD","hour":"2001-01-01T00:00:00.001Z","flights":1}`, `{"origin":"ORD","hour":"2001-01-01T00:00:00.000001Z","flights":1}`),
		`row 0: field "origin" is empty, and cassandra takes no empty partition key`: batchOf(t, `{"origin":"","hour":"2001-01-01T00:00:00Z","flights":1}`),
		`row 0: field "hour" is null, and it is part of the primary key`:             null,
	} {
		if _, err := o.Stage(b, counterFrom(0)); err == nil || !strings.Contains(err.Error(), "stage rows for cassandra table flights.delays: "+want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestEntriesRoundTripAndRefuseWhatIsNotTheirs(t *testing.T) {
	tab, err := newTable(channel("delays"), delays)
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf(t, `{"origin":"ORD","hour":"2001-01-01T00:00:00Z","flights":-1,"late":true,"select":""}`)
	entry, err := tab.appendRow(tab.header(), b, 0, 77)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := tab.decode(entry, func(r stagedRow) {
		s := fmt.Sprintf("at %d, key %q:", r.written, r.key)
		for _, v := range r.values {
			s += fmt.Sprintf(" %x/%v", v.bytes, v.null)
		}
		got = append(got, s)
	}); err != nil {
		t.Fatal(err)
	}
	want := `at 77, key "ORD": 4f5244/false 000000e3c7a73400/false ffffffffffffffff/false /true 01/false /false`
	if len(got) != 1 || got[0] != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	for n := range entry {
		if err := tab.decode(entry[:n], func(stagedRow) {}); err == nil && n != headerSize {
			t.Errorf("an entry cut off after %d bytes was read", n)
		}
	}
	other := *tab
	other.fields = append([]column.Field{{Name: "x", Kind: column.Int64}}, tab.fields[1:]...)
	if err := other.decode(entry, func(stagedRow) {}); err == nil || !strings.Contains(err.Error(), "other columns") {
		t.Errorf("an entry of other columns: %v", err)
	}
	entry[0] = 2
	if err := tab.decode(entry, func(stagedRow) {}); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("an entry of another version: %v", err)
	}
}

func TestBatchesHoldOnePartitionAndAreBounded(t *testing.T) {
	o := newOutbox(t, &Session{}, "delays")
	var rows []string
	for i := 0; i < 250; i++ {
		rows = append(rows, fmt.Sprintf(`{"origin":"%s","hour":"2001-01-01T00:00:00.%03dZ","flights":%d}`, []string{"ORD", "LAX"}[i%5/4], i, i))
	}
	rows = append(rows, fmt.Sprintf(`{"origin":"LAX","hour":"2001-01-02T00:00:00Z","flights":1,"select":"%s"}`, strings.Repeat("AAAA", 30000)))
	entries, err := o.Stage(batchOf(t, rows...), counterFrom(0))
	if err != nil {
		t.Fatal(err)
	}
	groups, err := o.groups(entries)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range groups {
		got = append(got, fmt.Sprintf("%s%d", g[0].key, len(g)))
		for _, r := range g {
			if string(r.key) != string(g[0].key) {
				t.Errorf("a batch holds %q and %q", r.key, g[0].key)
			}
		}
	}
	if s := strings.Join(got, " "); s != "ORD100 LAX50 ORD100 LAX1" {
		t.Errorf("got %s", s)
	}
}

func TestRetryWaitsForWhatPassesAndReturnsWhatDoesNot(t *testing.T) {
	waits := 0
	clock := time.Unix(0, 0)
	s := &Session{now: func() time.Time { return clock }, pause: func(context.Context, int) error { waits++; clock = clock.Add(10 * time.Second); return nil }}
	if err := s.retry(context.Background(), func() error {
		if waits < 3 {
			return gocql.ErrNoConnections
		}
		return nil
	}); err != nil || waits != 3 {
		t.Errorf("%d waits, %v", waits, err)
	}
	waits = 0
	err := s.retry(context.Background(), func() error { return gocql.ErrNoConnections })
	if !errors.Is(err, gocql.ErrNoConnections) || waits != 7 || !strings.Contains(err.Error(), "8 attempts in 1m0s") {
		t.Errorf("%d waits, %v", waits, err)
	}
	waits = 0
	if err := s.retry(context.Background(), func() error { return failValue("wrong type") }); err == nil || waits != 0 {
		t.Errorf("%d waits, %v", waits, err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the slot was taken over")
	cancel(cause)
	if err := s.retry(ctx, func() error { return ctx.Err() }); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// The rest speaks to a real Cassandra.

func newOutbox(t testing.TB, s *Session, name string) *Outbox {
	t.Helper()
	o, err := NewOutbox(s, channel(name), delays)
	if err != nil {
		t.Fatal(err)
	}
	return o.(*Outbox)
}

// dial connects and makes an empty table.
func dial(t testing.TB, name string) *Session {
	t.Helper()
	s, err := Dial(context.Background(), connection(t))
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

func TestAppliedTwiceAndOutOfOrderTheNewestRowStands(t *testing.T) {
	s := dial(t, "delays")
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

func TestAScanSeesEveryRowOnceFromAnyPosition(t *testing.T) {
	s := dial(t, "many")
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

func TestAPageLongerThanItsSplitIsContinued(t *testing.T) {
	s := dial(t, "deep")
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

func TestWhatTheServerOrTheTableRefusesReturnsAtOnce(t *testing.T) {
	s := dial(t, "delays")
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
		c := connection(t)
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

func TestANodeThatDiesIsWaitedForAndNoAcknowledgedRowIsLost(t *testing.T) {
	s := dial(t, "kill")
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
	if err := shared.stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("the writer ended before the node was killed: %v", err)
	default:
	}
	if err := shared.start(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := len(scan(t, s, "kill", 1024, false)); got != rounds*perRound {
		t.Errorf("%d rows, not %d", got, rounds*perRound)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkApplyAndScan writes and reads 100,000 rows of the demo's shape: 223 partitions.
func BenchmarkApplyAndScan(b *testing.B) {
	s := dial(b, "bench")
	o := newOutbox(b, s, "bench")
	const total, step = 100_000, 5000
	next := counterFrom(0)
	var applied, scanned, applyCPU, scanCPU time.Duration
	rounds := 0
	for b.Loop() {
		rounds++
		start, used := time.Now(), cpu()
		for i := 0; i < total; i += step {
			batch := column.NewBatch(&delays, step)
			for j := i; j < i+step; j++ {
				batch.Cols[0].AppendString(fmt.Appendf(nil, "P%d", j%223))
				batch.Cols[1].AppendInt(int64(j/223) * 3_600_000_000)
				batch.Cols[2].AppendInt(int64(j))
				batch.Cols[3].AppendFloat(float64(j))
				batch.Cols[4].AppendNull()
				batch.Cols[5].AppendNull()
				batch.N++
			}
			entries, err := o.Stage(batch, next)
			if err == nil {
				err = o.Apply(context.Background(), entries)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		applied, applyCPU = applied+time.Since(start), applyCPU+cpu()-used
		start, used = time.Now(), cpu()
		if n := countRows(b, s); n != total {
			b.Fatalf("%d rows, not %d", n, total)
		}
		scanned, scanCPU = scanned+time.Since(start), scanCPU+cpu()-used
	}
	n := float64(rounds * total)
	b.ReportMetric(n/applied.Seconds(), "apply-rows/s")
	b.ReportMetric(float64(applyCPU.Nanoseconds())/n, "apply-cpu-ns/row")
	b.ReportMetric(n/scanned.Seconds(), "scan-rows/s")
	b.ReportMetric(float64(scanCPU.Nanoseconds())/n, "scan-cpu-ns/row")
}

func countRows(b *testing.B, s *Session) int {
	ctx := context.Background()
	src, err := NewSource(s, channel("bench"))
	if err != nil {
		b.Fatal(err)
	}
	splits, err := src.Splits(ctx)
	if err != nil {
		b.Fatal(err)
	}
	batch, n := column.NewBatch(&delays, 1024), 0
	for _, split := range splits {
		r := open(b, src, split, checkpoint.Position{})
		for err = nil; err == nil; n += batch.N {
			batch.Reset()
			_, err = r.Read(ctx, batch, 1024)
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
	return n
}
