package nats_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/connectors/connectortest"
	"github.com/weir-project/weir/connectors/nats"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/operatortest"
	"github.com/weir-project/weir/pipelines/physical"
)

func TestMain(m *testing.M) { operatortest.Main(m) }

// bus is a server of its own process with one client of a test, beside those of the connector.
type bus struct {
	*operatortest.Nats
	conn physical.Connection
	js   jetstream.JetStream
}

func start(t testing.TB) *bus {
	t.Helper()
	n := operatortest.StartNats(t)
	b := &bus{Nats: n, conn: physical.Connection{Operator: "nats", Servers: []string{n.Client.Address}, User: n.Client.User, Password: n.Client.Password,
		CA: n.Bundle.CAPEM, Cert: n.Bundle.CertPEM, Key: n.Bundle.KeyPEM}}
	conn, err := natsgo.Connect("tls://"+n.Client.Address, natsgo.UserInfo(n.Client.User, n.Client.Password), natsgo.Secure(n.Client.TLS), natsgo.MaxReconnects(-1),
		natsgo.ReconnectWait(20*time.Millisecond))
	must(t, err)
	t.Cleanup(conn.Close)
	b.js, err = jetstream.New(conn)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var streams atomic.Int64

// stream makes a stream of its own as the stream operator does.
func (b *bus) stream(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("S%d", streams.Add(1))
	must(t, b.Client.EnsureStreams(t.Context(), []operators.JetStream{{Name: name, Subjects: []string{name + ".>"}, Duplicates: 2 * time.Minute}}))
	return name
}

func (b *bus) dial(t testing.TB) *nats.Client {
	t.Helper()
	c, err := nats.Dial(t.Context(), b.conn, "test")
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func config(t testing.TB, c nats.Config) json.RawMessage {
	t.Helper()
	c.Service = "bus"
	raw, err := json.Marshal(c)
	must(t, err)
	return raw
}

func read(t testing.TB, stream, subject string) physical.ReadConfig {
	return physical.ReadConfig{Connector: "nats", Format: "json", Schema: connectortest.Schema, Config: config(t, nats.Config{Stream: stream, Subject: subject})}
}

func (b *bus) publish(t testing.TB, subject string, rows []connectortest.Row) error {
	for _, r := range rows {
		if _, err := b.js.PublishAsync(subject, r.JSON()); err != nil {
			return err
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("publish %d rows to %s: no answer", len(rows), subject)
	}
}

// Not beside others: a claim measures the heap.
func TestASourceKeepsEveryClaim(t *testing.T) {
	b := start(t)
	connectortest.TestSource(t, connectortest.Source{Ordered: true, Ahead: 12 << 20, Place: func(t testing.TB, rows []connectortest.Row) *connectortest.SourcePlace {
		name := b.stream(t)
		must(t, b.publish(t, name+".in", rows))
		return &connectortest.SourcePlace{
			Open: func() (connectors.Source, error) { return nats.NewSource(b.dial(t), read(t, name, "")) },
			More: func(rows []connectortest.Row) error { return b.publish(t, name+".in", rows) },
			Garbage: func() error {
				_, err := b.js.Publish(t.Context(), name+".in", []byte(`{"id": 7, "text": `))
				return err
			},
			Named:   fmt.Sprintf("sequence %d", len(rows)+1),
			Restart: func() error { return b.Nats.Restart(t.Context(), 300*time.Millisecond) },
		}
	}})
}

func TestASinkKeepsEveryClaim(t *testing.T) {
	t.Parallel()
	b := start(t)
	connectortest.TestSink(t, connectortest.Sink{Ordered: true, Entries: true, MaxBytes: 1 << 20, Place: func(t testing.TB) *connectortest.SinkPlace {
		name := b.stream(t)
		return &connectortest.SinkPlace{
			Open: func(ctx context.Context) (connectors.Outbox, error) {
				c, err := nats.Dial(ctx, b.conn, "test")
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { must(t, c.Close()) })
				cfg := physical.WriteConfig{Connector: "nats", Format: "json", Config: config(t, nats.Config{Stream: name, Subject: name + ".out"})}
				return nats.NewOutbox(ctx, c, cfg, connectortest.Schema, "i/default/u/s/f0/0")
			},
			Read:    func(ctx context.Context) ([]connectortest.Row, error) { return b.rows(ctx, name) },
			Restart: func() error { return b.Nats.Restart(t.Context(), 300*time.Millisecond) },
			Halt: func() (func() error, error) {
				p := b.Process
				return func() error { return p.Signal(syscall.SIGCONT) }, p.Signal(syscall.SIGSTOP)
			},
		}
	}})
}

// rows reads a stream with the library's own consumer, so that the reader is not the connector's.
func (b *bus) rows(ctx context.Context, stream string) ([]connectortest.Row, error) {
	c, err := b.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy, MemoryStorage: true})
	if err != nil {
		return nil, err
	}
	var out []connectortest.Row
	for left := int(c.CachedInfo().NumPending); left > 0; {
		batch, err := c.Fetch(left, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return nil, err
		}
		got := 0
		for m := range batch.Messages() {
			var r struct {
				ID   int64
				Text string
			}
			if err := json.Unmarshal(m.Data(), &r); err != nil {
				return nil, err
			}
			out = append(out, connectortest.Row{ID: r.ID, Text: r.Text})
			got++
		}
		if err := batch.Error(); err != nil || got == 0 {
			return nil, fmt.Errorf("read stream %s: %d of %d messages missing, %v", stream, left, len(out), err)
		}
		left -= got
	}
	return out, nil
}
