package nats

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

const (
	// MinWindow is the shortest duplicate window of a stream that takes an exactly_once stage: the sink looks into the stream again after half of
	// it, and an answer may take callTimeout.
	MinWindow = 20 * time.Second
	inFlight  = 256 // messages of one slot without an answer
)

// Outbox is the sink of one slot into one subject of one stream.
type Outbox struct {
	client *Client
	js     jetstream.JetStream // of its own: it counts the answers that are awaited
	config Config
	encode rowEncoder
	now    header
	window time.Duration
	most   int // bytes of a message's data
	staged time.Time
	fresh  time.Time // at this time it was known which messages are in the stream
	value  []byte
	pause  func() // tests: stands still before a message
}

// NewOutbox makes a sink of rows of a schema. slot names the slot and the pipeline's installation for ever: no other sink may have the same. It does
// not close the client.
func NewOutbox(ctx context.Context, c *Client, cfg physical.WriteConfig, in column.Schema, slot string) (*Outbox, error) {
	config, err := ParseConfig(cfg.Config)
	if err != nil {
		return nil, err
	}
	o := &Outbox{client: c, config: config, now: header{owner: rand.Text(), source: slot}, pause: func() {}}
	headers := o.headers()
	o.most = int(c.conn.MaxPayload()) - headers
	fail := func(err error) (*Outbox, error) {
		return nil, fmt.Errorf("open nats sink to stream %s, subject %s: %w", config.Stream, config.Subject, err)
	}
	if o.encode, err = newEncoder(cfg.Format, in); err != nil {
		return fail(err)
	}
	var info *jetstream.StreamInfo
	err = retry(ctx, func() (err error) {
		if info, err = c.stream(ctx, config.Stream); err != nil {
			return err
		}
		return c.takes(ctx, config.Stream, config.Subject)
	})
	if err != nil {
		return fail(err)
	}
	if o.window = info.Config.Duplicates; o.window < MinWindow && !config.AtLeastOnce {
		return fail(fmt.Errorf("the stream's duplicate window is %s, and what is published again is told apart for certain from %s on: run `nats stream edit %s --dupe-window 2m`, or write `guarantee: at_least_once`", o.window, MinWindow, config.Stream))
	}
	if size := int(info.Config.MaxMsgSize); size > 0 {
		o.most = min(o.most, size-headers)
	}
	o.now.floor = info.State.LastSeq
	if o.js, err = jetstream.New(c.conn, jetstream.WithPublishAsyncMaxPending(2*inFlight), jetstream.WithPublishAsyncTimeout(callTimeout)); err != nil {
		return fail(err)
	}
	return o, nil
}

// headers is the most that the headers of a message take of the server's limit for it.
func (o *Outbox) headers() int {
	m := o.toMessage(&message{id: o.now.source + "/" + strconv.FormatUint(math.MaxUint64, 10), at: math.MinInt64 + 1})
	return m.Size() - len(m.Subject)
}

// Stage encodes rows as messages. A row that is larger than the server takes is an error that names it.
func (o *Outbox) Stage(b *column.Batch, next func() int64) ([][]byte, error) {
	var entries [][]byte
	var failed error
	head := o.now.append(nil)
	entry := append([]byte(nil), head...)
	b.Rows(func(row int) {
		if failed != nil {
			return
		}
		o.value = o.encode(o.value[:0], b, row)
		if len(o.value) > o.most {
			failed = fmt.Errorf("stage rows for nats subject %s: row %d has %d bytes, and the server takes at most %d", o.config.Subject, row, len(o.value), o.most)
			return
		}
		at := column.MinTime
		if row < len(b.Times) {
			at = b.Times[row]
		}
		if entry = appendMessage(entry, next(), at, o.value); len(entry) >= maxEntry {
			entries, entry = append(entries, entry), append([]byte(nil), head...)
		}
	})
	if failed != nil {
		return nil, failed
	}
	if len(entry) > len(head) {
		entries = append(entries, entry)
	}
	if o.staged.IsZero() {
		o.staged = time.Now()
	}
	return entries, nil
}

// Finish has nothing: no row is held back.
func (o *Outbox) Finish(context.Context) ([][]byte, error) { return nil, nil }

// Close forgets the answers that are awaited. Twice is fine.
func (o *Outbox) Close() error {
	o.js.CleanupPublisher()
	return nil
}

// errStale: too much time went by since it was known which messages are in the stream.
var errStale = errors.New("half of the stream's duplicate window went by")

// errLost: what was sent before may be gone, and what is sent now would come before it.
var errLost = errors.New("the connection was lost while messages were on their way")

// Apply publishes all messages in order and returns when the stream has acknowledged each, or with the first error. Messages that an earlier Apply, of
// this sink or of one before it, brought into the stream are not published again.
func (o *Outbox) Apply(ctx context.Context, entries [][]byte) error {
	messages, floor, own, err := o.decode(entries)
	if err != nil {
		return fmt.Errorf("apply outbox entry to nats stream %s: %w", o.config.Stream, err)
	}
	if len(messages) == 0 {
		return nil
	}
	o.fresh = o.staged
	sure := own && !o.staged.IsZero() // nobody has published them yet
	for err = errStale; errors.Is(err, errStale); {
		err = retry(ctx, func() error {
			if !sure {
				if err := o.look(ctx, floor, messages); err != nil {
					return err
				}
			}
			sure = false
			return o.publish(ctx, messages)
		})
	}
	if err != nil {
		return fmt.Errorf("publish to nats stream %s, subject %s: %w", o.config.Stream, o.config.Subject, err)
	}
	o.staged = time.Time{}
	return nil
}

// decode reads entries: their messages, the least of their floors, and whether this sink staged all of them.
func (o *Outbox) decode(entries [][]byte) (messages []message, floor uint64, own bool, err error) {
	floor, own = ^uint64(0), true
	for _, e := range entries {
		var h header
		if h, messages, err = decodeEntry(e, messages); err != nil {
			return nil, 0, false, err
		}
		floor, own = min(floor, h.floor), own && h.owner == o.now.owner
	}
	return messages, floor, own, nil
}

// publish sends what is not done, in order, with at most inFlight answers awaited, and returns when each was answered. After an error it is not known
// what became of the messages that are not done.
func (o *Outbox) publish(ctx context.Context, messages []message) error {
	type sent struct {
		m   *message
		ack jetstream.PubAckFuture
	}
	var open []sent
	answer := func() error {
		first := open[0]
		open = open[1:]
		ack, err := answered(ctx, first.ack)
		if err != nil {
			return o.explain(ctx, err)
		}
		first.m.done = true
		if !ack.Duplicate { // in a stream that was made anew the numbers begin again, and so does the floor
			o.now.floor = ack.Sequence
		}
		return nil
	}
	connection := o.client.conn.Stats().Reconnects
	for i := range messages {
		if messages[i].done {
			continue
		}
		o.pause()
		if o.client.conn.Stats().Reconnects != connection {
			return errLost
		}
		if !o.config.AtLeastOnce && time.Since(o.fresh) > o.window/2 {
			return &lasting{errStale} // for this loop: Apply looks, and goes on
		}
		ack, err := o.js.PublishMsgAsync(o.toMessage(&messages[i]), jetstream.WithRetryAttempts(0))
		if err != nil {
			return o.explain(ctx, err)
		}
		if open = append(open, sent{&messages[i], ack}); len(open) == inFlight {
			if err := answer(); err != nil {
				return err
			}
		}
	}
	for len(open) > 0 {
		if err := answer(); err != nil {
			return err
		}
	}
	return nil
}

func answered(ctx context.Context, f jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (o *Outbox) toMessage(m *message) *nats.Msg {
	out := nats.NewMsg(o.config.Subject)
	out.Data = m.data
	out.Header.Set(jetstream.MsgIDHeader, m.id)
	out.Header.Set(jetstream.ExpectedStreamHeader, o.config.Stream)
	if m.at != column.MinTime {
		out.Header.Set(TimeHeader, strconv.FormatInt(m.at, 10))
	}
	return out
}

// explain looks at the stream where nothing answered: one that is gone does not come back by waiting.
func (o *Outbox) explain(ctx context.Context, err error) error {
	if !passing(err) {
		return err
	}
	if why := o.client.takes(ctx, o.config.Stream, o.config.Subject); why != nil && !passing(why) {
		return why
	}
	return err
}

// look marks the messages that are in the stream already: it reads the headers of all messages of the subject after floor.
func (o *Outbox) look(ctx context.Context, floor uint64, messages []message) error {
	began := time.Now()
	info, err := o.client.stream(ctx, o.config.Stream)
	if err != nil {
		return err
	}
	if floor > info.State.LastSeq {
		floor = 0 // the stream was made anew
	}
	missing := map[string]*message{}
	for i := range messages {
		if !messages[i].done {
			missing[messages[i].id] = &messages[i]
		}
	}
	calls, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := o.client.js.CreateConsumer(calls, o.config.Stream, jetstream.ConsumerConfig{
		Description: "a weir sink looks for what it published", DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: floor + 1,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, FilterSubject: o.config.Subject, InactiveThreshold: forgetAfter, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return err
	}
	for left := int(c.CachedInfo().NumPending); left > 0 && len(missing) > 0; {
		batch, err := c.Fetch(min(left, pullMessages), jetstream.FetchMaxWait(callTimeout))
		if err != nil {
			return err
		}
		got, err := strike(ctx, batch, missing)
		if err != nil {
			return err
		}
		if left -= got; got == 0 {
			return fmt.Errorf("look for published messages after sequence %d: %d of them did not come", floor, left)
		}
	}
	o.fresh = began
	return nil
}

// strike takes what a batch holds off the missing, and counts its messages.
func strike(ctx context.Context, batch jetstream.MessageBatch, missing map[string]*message) (got int, err error) {
	for {
		select {
		case m, more := <-batch.Messages():
			if !more {
				return got, batch.Error()
			}
			got++
			id := m.Headers().Get(jetstream.MsgIDHeader)
			if found := missing[id]; found != nil {
				found.done = true
				delete(missing, id)
			}
		case <-ctx.Done():
			return got, context.Cause(ctx)
		}
	}
}
