package cassandra

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"

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

func newOutbox(t testing.TB, s *Session, name string) *Outbox {
	t.Helper()
	o, err := NewOutbox(s, channel(name), delays)
	if err != nil {
		t.Fatal(err)
	}
	return o.(*Outbox)
}
