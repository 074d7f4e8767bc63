package cassandra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/connectors/connectortest"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

var claimTables atomic.Int64

// claimTable makes a table of the suite's rows.
func claimTable(t testing.TB, n node) physical.Channel {
	t.Helper()
	name := fmt.Sprintf("claims_%d", claimTables.Add(1))
	s := session(t, n)
	table := operators.Table{Keyspace: "flights", Name: name, PartitionKey: []string{"id"}, Columns: []operators.Column{{Name: "id", Type: "bigint"}, {Name: "text", Type: "text"}}}
	for _, q := range []string{operators.Keyspace{Name: "flights", Replication: 1}.DDL(), table.DDL()} {
		if err := s.cql.Query(q).Exec(); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	return physical.Channel{Name: name, Schema: connectortest.Schema, Cassandra: &physical.CassandraChannel{Service: "serving", Keyspace: "flights", Table: name, PartitionKey: []string{"id"}}}
}

func session(t testing.TB, n node) *Session {
	t.Helper()
	s, err := Dial(context.Background(), n.connection())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// sourceClaims: a page has 5000 rows of any size, so no bound on a reader's memory is declared.
func sourceClaims(t *testing.T, n node) {
	connectortest.TestSource(t, connectortest.Source{Bounded: true, Place: func(t testing.TB, rows []connectortest.Row) *connectortest.SourcePlace {
		ch := claimTable(t, n)
		o, err := NewOutbox(session(t, n), ch, connectortest.Schema)
		if err != nil {
			t.Fatal(err)
		}
		stamp := time.Now().UnixMicro()
		entries, err := o.Stage(connectortest.Batch(rows), func() int64 { stamp++; return stamp })
		if err == nil {
			err = o.Apply(t.Context(), entries)
		}
		if err != nil {
			t.Fatal(err)
		}
		return &connectortest.SourcePlace{Open: func() (connectors.Source, error) { return NewSource(session(t, n), ch) }}
	}})
}

func sinkClaims(t *testing.T, n node) {
	connectortest.TestSink(t, connectortest.Sink{Entries: true, MaxBytes: 1 << 20, Place: func(t testing.TB) *connectortest.SinkPlace {
		ch := claimTable(t, n)
		return &connectortest.SinkPlace{
			Open: func(ctx context.Context) (connectors.Outbox, error) {
				s, err := Dial(ctx, n.connection())
				if err != nil {
					return nil, err
				}
				t.Cleanup(s.Close)
				return NewOutbox(s, ch, connectortest.Schema)
			},
			Read: func(ctx context.Context) ([]connectortest.Row, error) { return readTable(ctx, session(t, n), ch) },
			Restart: func() error {
				if err := n.Kill(); err != nil {
					return err
				}
				return n.Start(t.Context())
			},
			Halt: func() (func() error, error) {
				p := n.Process
				return func() error { return p.Signal(syscall.SIGCONT) }, p.Signal(syscall.SIGSTOP)
			},
		}
	}})
}

func readTable(ctx context.Context, s *Session, ch physical.Channel) ([]connectortest.Row, error) {
	src, err := NewSource(s, ch)
	if err != nil {
		return nil, err
	}
	splits, err := src.Splits(ctx)
	if err != nil {
		return nil, err
	}
	var out []connectortest.Row
	b := column.NewBatch(&connectortest.Schema, 1024)
	for _, sp := range splits {
		r, err := src.Open(ctx, sp, checkpoint.Position{})
		if err != nil {
			return nil, err
		}
		for err == nil {
			b.Reset()
			_, err = r.Read(ctx, b, 1024)
			out = append(out, connectortest.RowsOf(b)...)
		}
		if !errors.Is(err, io.EOF) {
			return nil, errors.Join(err, r.Close())
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
