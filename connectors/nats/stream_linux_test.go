package nats_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/connectors/connectortest"
	"github.com/weir-project/weir/connectors/nats"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// readSome opens a stream after a position and reads n rows.
func (b *bus) readSome(t *testing.T, cfg physical.ReadConfig, from checkpoint.Position, n int) ([]connectortest.Row, checkpoint.Position, connectors.Reader, error) {
	t.Helper()
	src, err := nats.NewSource(b.dial(t), cfg)
	must(t, err)
	r, err := src.Open(t.Context(), connectors.Split{ID: "S"}, from)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	rows, at, err := readFrom(t.Context(), r, n)
	return rows, at, r, err
}

func readFrom(ctx context.Context, r connectors.Reader, n int) (rows []connectortest.Row, at checkpoint.Position, err error) {
	batch := column.NewBatch(&connectortest.Schema, 16)
	for len(rows) < n {
		batch.Reset()
		if at, err = r.Read(ctx, batch, n-len(rows)); err != nil {
			return rows, at, err
		}
		rows = append(rows, connectortest.RowsOf(batch)...)
	}
	return rows, at, nil
}

func says(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: got %v, want %q in it", what, err, w)
		}
	}
}

func TestWhatLeftTheStreamBeforeItWasReadIsAnError(t *testing.T) {
	b := start(t)
	name := b.stream(t)
	must(t, b.publish(t, name+".in", connectortest.Rows(1, 100)))
	_, at, r, err := b.readSome(t, read(t, name, ""), checkpoint.Position{}, 10)
	must(t, err)
	must(t, r.Close())
	s, err := b.js.Stream(t.Context(), name)
	must(t, err)

	// Deleted from the middle: somebody's hand, and passed over.
	must(t, s.DeleteMsg(t.Context(), 15))
	rows, _, _, err := b.readSome(t, read(t, name, ""), at, 10)
	must(t, err)
	if rows[4].ID != 16 || rows[9].ID != 21 {
		t.Errorf("after sequence 15 was deleted, rows 11 to 21 are %v", rows)
	}
	// Purged to sequence 49: 11 to 49 were never read.
	must(t, s.Purge(t.Context(), jetstream.WithPurgeSequence(50)))
	_, _, _, err = b.readSome(t, read(t, name, ""), at, 1)
	says(t, "a purge", err, "39 messages from sequence 11 to 49 were removed", "weir rerun")
	// Who begins anew begins with what is kept.
	rows, _, _, err = b.readSome(t, read(t, name, ""), checkpoint.Position{}, 1)
	must(t, err)
	if rows[0].ID != 50 {
		t.Errorf("a new reader begins with row %v", rows[0])
	}
}

func TestAStreamThatIsGoneOrMadeAnewIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	b := start(t)
	name := b.stream(t)
	must(t, b.publish(t, name+".in", connectortest.Rows(1, 5)))
	_, at, r, err := b.readSome(t, read(t, name, ""), checkpoint.Position{}, 5)
	must(t, err)
	time.AfterFunc(200*time.Millisecond, func() { _ = b.js.DeleteStream(context.Background(), name) }) // while the reader waits
	_, _, err = readFrom(t.Context(), r, 1)
	says(t, "a stream that was deleted", err, "there is no stream", name, "nats stream ls")

	// The server may still be deleting its files.
	again, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	must(t, lifecycle.Poll(again, lifecycle.Backoff{Min: 20 * time.Millisecond, Max: 20 * time.Millisecond}, func(ctx context.Context) (bool, string, error) {
		_, err := b.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}})
		return err == nil, "make the stream again", nil
	}))
	must(t, b.publish(t, name+".in", connectortest.Rows(1, 50)))
	_, _, _, err = b.readSome(t, read(t, name, ""), at, 1)
	says(t, "a stream that was made anew", err, "made anew", "weir rerun")

	// A sink whose stream is deleted does not wait for it in silence.
	cfg := physical.WriteConfig{Connector: "nats", Format: "json", Config: config(t, nats.Config{Stream: name, Subject: name + ".out"})}
	o, err := nats.NewOutbox(t.Context(), b.dial(t), cfg, connectortest.Schema, "slot")
	must(t, err)
	entries, err := o.Stage(connectortest.Batch(connectortest.Rows(1, 3)), func() int64 { return time.Now().UnixNano() })
	must(t, err)
	must(t, b.js.DeleteStream(t.Context(), name))
	says(t, "a sink without its stream", o.Apply(t.Context(), entries), "there is no stream", name)
}

func TestAQuietFilterFollowsItsStream(t *testing.T) {
	t.Parallel()
	b := start(t)
	name := b.stream(t)
	must(t, b.publish(t, name+".rare", connectortest.Rows(1, 1)))
	must(t, b.publish(t, name+".often", connectortest.Rows(100, 500)))
	_, at, r, err := b.readSome(t, read(t, name, name+".rare"), checkpoint.Position{}, 1)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	batch := column.NewBatch(&connectortest.Schema, 16)
	for at.Offset < 501 { // no row of it comes, and the place moves
		if at, err = r.Read(ctx, batch, 10); err != nil || batch.N > 0 {
			t.Fatalf("%d rows and %v at %+v", batch.N, err, at)
		}
	}
	// What leaves the stream then was none of its messages.
	s, err := b.js.Stream(t.Context(), name)
	must(t, err)
	must(t, s.Purge(t.Context(), jetstream.WithPurgeSequence(400)))
	must(t, b.publish(t, name+".rare", connectortest.Rows(2, 1)))
	rows, _, _, err := b.readSome(t, read(t, name, name+".rare"), at, 1)
	must(t, err)
	if rows[0].ID != 2 {
		t.Errorf("got %v", rows)
	}
}

func TestAStreamThatCannotBeReadAgainOrToldApartIsRefused(t *testing.T) {
	b := start(t)
	_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work"}, Retention: jetstream.WorkQueuePolicy, Duplicates: 5 * time.Second})
	must(t, err)
	src, err := nats.NewSource(b.dial(t), read(t, "WORK", ""))
	must(t, err)
	_, err = src.Splits(t.Context())
	says(t, "a work queue", err, "retention", "nats stream add")
	open := func(c nats.Config) error {
		cfg := physical.WriteConfig{Connector: "nats", Format: "json", Config: config(t, c)}
		_, err := nats.NewOutbox(t.Context(), b.dial(t), cfg, connectortest.Schema, "slot")
		return err
	}
	says(t, "a short window", open(nats.Config{Stream: "WORK", Subject: "work"}), "duplicate window is 5s", "--dupe-window 2m", "at_least_once")
	must(t, open(nats.Config{Stream: "WORK", Subject: "work", AtLeastOnce: true}))
	says(t, "a subject of nobody", open(nats.Config{Stream: "WORK", Subject: "play", AtLeastOnce: true}), "takes the subjects [work]", "play")
}

// TestATakeoverAfterTheWindowDoublesNothing: ids alone would fail here, since the server has forgotten them.
func TestATakeoverAfterTheWindowDoublesNothing(t *testing.T) {
	t.Parallel()
	b := start(t)
	_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SHORT", Subjects: []string{"short"}, Duplicates: 100 * time.Millisecond})
	must(t, err)
	cfg := physical.WriteConfig{Connector: "nats", Format: "json", Config: config(t, nats.Config{Stream: "SHORT", Subject: "short", AtLeastOnce: true})}
	rows := connectortest.Rows(1, 700)
	dead, err := nats.NewOutbox(t.Context(), b.dial(t), cfg, connectortest.Schema, "slot")
	must(t, err)
	stamp := time.Now().UnixMicro()
	entries, err := dead.Stage(connectortest.Batch(rows), func() int64 { stamp++; return stamp })
	must(t, err)
	must(t, dead.Apply(t.Context(), entries))
	for deadline := time.Now().Add(10 * time.Second); ; { // until the server has forgotten the ids
		ack, err := b.js.Publish(t.Context(), "short", rows[0].JSON(), jetstream.WithMsgID("probe"))
		must(t, err)
		if !ack.Duplicate && ack.Sequence > 701 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server still knows an id after 10 s")
		}
	}
	heir, err := nats.NewOutbox(t.Context(), b.dial(t), cfg, connectortest.Schema, "slot")
	must(t, err)
	must(t, heir.Apply(t.Context(), entries))
	s, err := b.js.Stream(t.Context(), "SHORT")
	must(t, err)
	if n := s.CachedInfo().State.Msgs; n != 702 {
		t.Errorf("the stream has %d messages, and 700 rows and 2 probes were published", n)
	}
}

func TestCredentialsThatOthersCanReadAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "login")
	must(t, os.WriteFile(file, []byte("user: me\npassword: secret word\n"), 0o644))
	_, err := nats.Config{URL: "nats://127.0.0.1", Credentials: file}.Connection()
	says(t, "a file of mode 0644", err, "chmod 600")
	must(t, os.Chmod(file, 0o600))
	c, err := nats.Config{URL: "nats://127.0.0.1", Credentials: file}.Connection()
	must(t, err)
	if c.User != "me" || c.Password != "secret word" || c.Servers[0] != "nats://127.0.0.1" {
		t.Errorf("got %+v", c)
	}
	must(t, os.WriteFile(file, []byte("nothing"), 0o600))
	_, err = nats.Config{URL: "nats://127.0.0.1", Credentials: file}.Connection()
	says(t, "a file without a login", err, "user: NAME")
}

func TestAWrongPasswordIsAnErrorAtOnceAndShowsNothing(t *testing.T) {
	b := start(t)
	c := b.conn
	c.Password = "wrong-secret"
	_, err := nats.Dial(t.Context(), c, "test")
	says(t, "a wrong password", err, "Authorization Violation", `as "weir"`)
	if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("got %v", err)
	}
	c = b.conn
	c.Cert, c.Key = nil, nil
	began := time.Now()
	_, err = nats.Dial(t.Context(), c, "test")
	says(t, "a client without a certificate", err, "certificate required")
	c = b.conn
	other, err := security.NewCA("other", time.Now(), rand.Reader)
	must(t, err)
	bundle, err := other.Issue(security.Request{CN: "x", Role: security.RoleNats, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), ClientAuth: true})
	must(t, err)
	c.CA = bundle.CAPEM
	_, err = nats.Dial(t.Context(), c, "test")
	says(t, "a server of another authority", err, "certificate")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("wrong certificates were told of after %s", took)
	}
}
