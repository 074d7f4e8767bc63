package nats_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/connectors/connectortest"
	"github.com/weir-project/weir/connectors/nats"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// sink opens a slot's sink into a stream; a stage that asks for at_least_once may have a shorter window.
func (b *bus) sink(t *testing.T, c *nats.Client, stream, slot string, weak bool) *nats.Outbox {
	t.Helper()
	cfg := physical.WriteConfig{Connector: "nats", Format: "json", Config: config(t, nats.Config{Stream: stream, Subject: stream + ".out", AtLeastOnce: weak})}
	o, err := nats.NewOutbox(t.Context(), c, cfg, connectortest.Schema, slot)
	must(t, err)
	t.Cleanup(func() { must(t, o.Close()) })
	return o
}

// ticking gives write timestamps.
func ticking() func() int64 {
	at := time.Now().UnixMicro()
	return func() int64 { at++; return at }
}

// short makes a stream, or makes it anew, whose server forgets ids after 100 ms.
func (b *bus) short(t *testing.T, name string) {
	t.Helper()
	if err := b.js.DeleteStream(t.Context(), name); err != nil && !strings.Contains(err.Error(), "not found") {
		t.Fatal(err)
	}
	poll(t, "make stream "+name, func() bool {
		_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Duplicates: 100 * time.Millisecond})
		return err == nil
	})
}

// forgotten waits until the server does not know an id any more that is given to it now, and returns how many messages that took.
func (b *bus) forgotten(t *testing.T, name string) (probes int) {
	t.Helper()
	poll(t, "an id to be forgotten", func() bool {
		ack, err := b.js.Publish(t.Context(), name+".probe", nil, jetstream.WithMsgID("probe"))
		must(t, err)
		if !ack.Duplicate {
			probes++
		}
		return probes == 2
	})
	return probes
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	err := lifecycle.Poll(t.Context(), lifecycle.Backoff{Min: 10 * time.Millisecond, Max: 10 * time.Millisecond}, func(context.Context) (bool, string, error) { return done(), what, nil })
	must(t, err)
}

func (b *bus) holds(t *testing.T, stream string, want []connectortest.Row) {
	t.Helper()
	got, err := b.rows(t.Context(), stream)
	must(t, err)
	if len(got) != len(want) {
		t.Fatalf("the stream holds %d rows, and %d were applied", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("row %d of the stream is %v and should be %v", i, got[i], want[i])
		}
	}
}

// TestALostConnectionKeepsTheOrder: what was on its way is lost with the server, which is back before the next message is sent.
func TestALostConnectionKeepsTheOrder(t *testing.T) {
	t.Parallel()
	b := start(t)
	name := b.stream(t)
	c := b.dial(t)
	o := b.sink(t, c, name, "slot", false)
	rows := connectortest.Rows(1, 20)
	entries, err := o.Stage(connectortest.Batch(rows), ticking())
	must(t, err)
	n := 0
	o.Pause(2*time.Minute, func() {
		switch n++; n {
		case 1:
			must(t, b.Process.Signal(syscall.SIGSTOP))
		case 11:
			must(t, b.Nats.Restart(t.Context(), 0))
			poll(t, "the connection", func() bool { return c.Reconnects() == 1 })
		}
	})
	must(t, o.Apply(t.Context(), entries))
	b.holds(t, name, rows)
}

// TestAnOwnerThatStoodStillLooksBeforeItGoesOn: another took over meanwhile, and the server has forgotten the ids.
func TestAnOwnerThatStoodStillLooksBeforeItGoesOn(t *testing.T) {
	b := start(t)
	b.short(t, "STILL")
	zombie, heir := b.sink(t, b.dial(t), "STILL", "slot", true), b.sink(t, b.dial(t), "STILL", "slot", true)
	strict := nats.Config{Stream: "STILL", Subject: "STILL.out"}
	zombie.Strict(strict)
	rows := connectortest.Rows(1, 20)
	entries, err := zombie.Stage(connectortest.Batch(rows), ticking())
	must(t, err)
	n, probes := 0, 0
	zombie.Pause(100*time.Millisecond, func() {
		if n++; n == 11 {
			must(t, heir.Apply(t.Context(), entries))
			probes = b.forgotten(t, "STILL")
		}
	})
	must(t, zombie.Apply(t.Context(), entries))
	s, err := b.js.Stream(t.Context(), "STILL")
	must(t, err)
	if got := int(s.CachedInfo().State.Msgs) - probes; got != len(rows) || n < 11 {
		t.Errorf("the stream holds %d rows of %d, after %d messages", got, len(rows), n)
	}
}

// TestASinkOfAStreamThatWasMadeAnewLooksFromItsBeginning: sequences begin again, and the sink's floor with them.
func TestASinkOfAStreamThatWasMadeAnewLooksFromItsBeginning(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.short(t, "ANEW")
	next := ticking()
	o := b.sink(t, b.dial(t), "ANEW", "slot", true)
	apply := func(rows []connectortest.Row) [][]byte {
		entries, err := o.Stage(connectortest.Batch(rows), next)
		must(t, err)
		must(t, o.Apply(t.Context(), entries))
		return entries
	}
	apply(connectortest.Rows(1, 50))
	if o.Floor() != 50 {
		t.Errorf("after 50 messages the floor is %d", o.Floor())
	}
	b.short(t, "ANEW")
	apply(connectortest.Rows(101, 10))
	entries := apply(connectortest.Rows(201, 60))
	probes := b.forgotten(t, "ANEW")
	must(t, b.sink(t, b.dial(t), "ANEW", "slot", true).Apply(t.Context(), entries))
	s, err := b.js.Stream(t.Context(), "ANEW")
	must(t, err)
	if got := int(s.CachedInfo().State.Msgs) - probes; got != 70 {
		t.Errorf("the stream holds %d rows, and 70 were applied", got)
	}
}

// TestTheLargestRowThatIsStagedCanBePublished: what is committed and cannot be applied would stop its slot for ever.
func TestTheLargestRowThatIsStagedCanBePublished(t *testing.T) {
	b := start(t)
	name := b.stream(t)
	for _, slot := range []string{"s", strings.Repeat("transform/", 90)} {
		o := b.sink(t, b.dial(t), name, slot, false)
		low, high := 1, 1<<20 // the largest text that is staged
		for low < high {
			n := (low + high + 1) / 2
			if _, err := o.Stage(textOf(n), ticking()); err != nil {
				high = n - 1
			} else {
				low = n
			}
		}
		entries, err := o.Stage(textOf(low), ticking())
		must(t, err)
		must(t, o.Apply(t.Context(), entries))
		if low < 1<<20-2048 {
			t.Errorf("of a message of 1 MiB a row may have %d bytes", low)
		}
	}
}

func textOf(n int) *column.Batch {
	return connectortest.Batch([]connectortest.Row{{ID: 1 << 62, Text: strings.Repeat("x", n)}})
}

// TestSilenceIsNoEndWhileMessagesWait: a server that is slow answers a request with silence though it has something.
func TestSilenceIsNoEndWhileMessagesWait(t *testing.T) {
	b := start(t)
	name := b.stream(t)
	must(t, b.publish(t, name+".often", connectortest.Rows(1, 100)))
	quiet := func(from int64) uint64 {
		src, err := nats.NewSource(b.dial(t), read(t, name, name+".rare"))
		must(t, err)
		r, err := src.Open(t.Context(), connectors.Split{ID: "S"}, checkpoint.Position{Offset: from})
		must(t, err)
		defer r.Close()
		upTo, err := nats.QuietPull(t.Context(), r, false)
		must(t, err)
		return upTo
	}
	if upTo := quiet(10); upTo != 100 {
		t.Errorf("nothing of the subject waits, and silence means the end up to %d and not 100", upTo)
	}
	must(t, b.publish(t, name+".rare", connectortest.Rows(500, 1)))
	if upTo := quiet(10); upTo != 0 {
		t.Errorf("a message waits, and silence would be taken for the end up to %d", upTo)
	}
}

// TestAForgottenConsumerIsMadeAgain: it lies in the memory of the server, and ends with it.
func TestAForgottenConsumerIsMadeAgain(t *testing.T) {
	b := start(t)
	name := b.stream(t)
	src, err := nats.NewSource(b.dial(t), read(t, name, name+".rare"))
	must(t, err)
	r, err := src.Open(t.Context(), connectors.Split{ID: "S"}, checkpoint.Position{})
	must(t, err)
	defer r.Close()
	if _, err := nats.QuietPull(t.Context(), r, true); err == nil || !nats.Passing(err) {
		t.Errorf("a consumer that is gone ends the reader: %v", err)
	}
}

// TestALargeBacklogEndsWithItsContext: it fills the buffers between here and a server that stands still.
func TestALargeBacklogEndsWithItsContext(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until a write is given up")
	}
	b := start(t)
	name := b.stream(t)
	o := b.sink(t, b.dial(t), name, "slot", false)
	var rows []connectortest.Row
	for i := range 100 {
		rows = append(rows, connectortest.Row{ID: int64(i), Text: strings.Repeat("x", 200<<10)})
	}
	entries, err := o.Stage(connectortest.Batch(rows), ticking())
	must(t, err)
	must(t, b.Process.Signal(syscall.SIGSTOP))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := o.Apply(ctx, entries); err == nil {
		t.Error("messages were applied to a server that stood still")
	}
	took := time.Since(began)
	must(t, b.Process.Signal(syscall.SIGCONT))
	if took > 5*time.Second {
		t.Errorf("it returned %s after it was called, and its context had ended after 200ms", took)
	}
	must(t, o.Apply(t.Context(), entries))
	b.holds(t, name, rows)
}
