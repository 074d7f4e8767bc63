package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

const (
	pullMessages = 1024    // of one request
	pullBytes    = 4 << 20 // of one request, so that a reader holds no more
	pullFor      = 2 * time.Second
	heartbeat    = 500 * time.Millisecond
	silence      = 3 * heartbeat // after which the request is taken for lost
	forgetAfter  = time.Minute   // the server forgets a consumer that nobody asks
)

// reader reads a stream in order. It has an ephemeral consumer, which it makes anew from its own place whenever anything is odd: a gap in the
// consumer's numbers, a request that nobody answers, a server that was restarted.
type reader struct {
	client *Client
	stream string
	filter string
	next   uint64 // sequence of the stream to read next
	made   string // when the stream was made; empty: not looked yet
	decode rowDecoder

	info     *jetstream.StreamInfo
	sub      *nats.Subscription
	inbox    string
	incoming chan *nats.Msg
	consumer string // empty: none
	told     uint64 // messages that the consumer has numbered so far
	request  int    // number of the present request, the last part of its reply subject
	asked    int    // messages that it may still bring; 0: there is none
	got      int    // messages that it brought
	upTo     uint64 // last sequence of the stream before it was sent, of a filtered stream that is quiet
	bytes    int    // that a request asks for
	kept     *nats.Msg
	failed   error
}

// Read blocks until there is a row, or the place moved over messages of other subjects. An error leaves the rows before it for the call that got
// them. What was removed from the stream before it was read is an error.
func (r *reader) Read(ctx context.Context, b *column.Batch, max int) (checkpoint.Position, error) {
	if err := r.failed; err != nil {
		r.failed = nil
		return r.position(), err
	}
	if r.made == "" {
		// The beginning is resolved before the first row, so that what is removed from then on is missed.
		err := retry(ctx, func() error { return r.look(ctx) })
		return r.position(), r.fail(err)
	}
	from, have, gap := r.next, 0, uint64(0)
	for have < max {
		m, err := r.message(ctx, have == 0)
		if err != nil {
			if have == 0 {
				return r.position(), r.fail(err)
			}
			r.failed = r.fail(err)
			break
		}
		if m == nil { // nothing more is here, or only the place moved
			break
		}
		at, taken, err := r.take(b, m)
		if err != nil {
			if have == 0 {
				return r.position(), r.fail(err)
			}
			r.kept = m
			break
		}
		if taken > r.next && gap == 0 {
			gap = r.next
		}
		b.AppendTime(at)
		r.next = taken + 1
		have++
	}
	if gap > 0 {
		if err := retry(ctx, func() error { return r.removed(ctx, gap) }); err != nil {
			r.next, r.kept = from, nil
			r.drop()
			return r.position(), r.fail(err)
		}
	}
	return r.position(), nil
}

func (r *reader) position() checkpoint.Position {
	return checkpoint.Position{Offset: int64(r.next) - 1, State: r.made}
}

func (r *reader) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read nats stream %s after sequence %d: %w", r.stream, r.next-1, err)
}

// take decodes a message into the batch.
func (r *reader) take(b *column.Batch, m *nats.Msg) (at column.Time, sequence uint64, err error) {
	meta, err := m.Metadata()
	if err != nil {
		return 0, 0, &lasting{fmt.Errorf("read a message's place: %w", err)}
	}
	if at, err = eventTime(m, meta.Timestamp); err == nil {
		err = r.decode(b, m.Data)
	}
	if err != nil {
		return 0, 0, &lasting{fmt.Errorf("decode the message at sequence %d (subject %s, %d bytes): %w", meta.Sequence.Stream, m.Subject, len(m.Data), err)}
	}
	return at, meta.Sequence.Stream, nil
}

// eventTime is the header's, else the time at which the server took the message.
func eventTime(m *nats.Msg, taken time.Time) (column.Time, error) {
	text := m.Header.Get(TimeHeader)
	if text == "" {
		return taken.UnixMicro(), nil
	}
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("header %s %q is not a number of microseconds since 1970", TimeHeader, text)
	}
	return at, nil
}

// look compares the stream with the place.
func (r *reader) look(ctx context.Context) error {
	info, err := r.client.stream(ctx, r.stream)
	if err != nil {
		return err
	}
	if err := readable(info); err != nil {
		return err
	}
	s := info.State
	switch made := madeAt(info); {
	case r.made == "":
		r.made = made
		if r.next == 1 {
			r.next = max(1, s.FirstSeq)
		}
	case r.made != made:
		return &lasting{fmt.Errorf("the stream was made anew at %s, and the position is of the one made at %s: `weir rerun PIPELINE` reads the new one from its beginning", made, r.made)}
	}
	if r.next > s.LastSeq+1 {
		return &lasting{fmt.Errorf("the stream ends at sequence %d, so it lost messages that were read already (a restored backup, or a power cut without sync): `weir rerun PIPELINE` reads what is there from its beginning", s.LastSeq)}
	}
	r.info = info
	return r.gone(info, r.next)
}

// gone is an error where messages from a place on were removed from the beginning of the stream before they were read. Messages that were deleted from
// its middle were deleted by somebody's hand or replaced by newer ones of their subject, as the stream's limits ask for, and are passed over.
func (r *reader) gone(info *jetstream.StreamInfo, from uint64) error {
	first := info.State.FirstSeq
	if first <= from || info.Config.MaxMsgsPerSubject > 0 {
		return nil
	}
	which := "messages"
	if r.filter != "" {
		which = "messages, perhaps also of subject " + r.filter + ","
	}
	return &lasting{fmt.Errorf("%d %s from sequence %d to %d were removed before they were read (the stream's limits, or a purge; it begins at %d): `weir rerun PIPELINE` reads what is kept from its beginning", first-from, which, from, first-1, first)}
}

func (r *reader) removed(ctx context.Context, from uint64) error {
	info, err := r.client.stream(ctx, r.stream)
	if err != nil {
		return err
	}
	return r.gone(info, from)
}

// message is the next one. nil: nothing is here and wait is false, or only the place moved.
func (r *reader) message(ctx context.Context, wait bool) (*nats.Msg, error) {
	if m := r.kept; m != nil {
		r.kept = nil
		return m, nil
	}
	for moved := r.next; ; {
		if r.consumer == "" {
			if err := retry(ctx, func() error { return r.open(ctx) }); err != nil {
				return nil, err
			}
		}
		if r.asked == 0 {
			if r.next > moved || !wait {
				return nil, nil
			}
			if err := r.pull(ctx); err != nil {
				r.drop()
				if !passing(err) {
					return nil, err
				}
				continue
			}
		}
		m, err := r.receive(ctx, wait)
		if err != nil || m == nil && !wait {
			return nil, err
		}
		if m == nil {
			continue
		}
		if ours, err := r.inOrder(m); ours || err != nil {
			return m, err
		}
	}
}

// receive takes what the server sent: nil where there is nothing yet, or nothing for so long that the consumer was given up.
func (r *reader) receive(ctx context.Context, wait bool) (*nats.Msg, error) {
	select {
	case m := <-r.incoming:
		return m, nil
	default:
	}
	if !wait {
		return nil, nil
	}
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	select {
	case m := <-r.incoming:
		return m, nil
	case <-quiet.C:
		r.drop()
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-r.client.ctx.Done():
		return nil, &lasting{nats.ErrConnectionClosed}
	}
}

// inOrder says whether a message is the next of the stream. Anything else is about the request, or of a consumer that was given up.
func (r *reader) inOrder(m *nats.Msg) (bool, error) {
	if m.Reply == "" || m.Header.Get("Status") != "" {
		return false, r.status(m)
	}
	meta, err := m.Metadata()
	if err != nil {
		return false, &lasting{fmt.Errorf("read a message's place: %w", err)}
	}
	if meta.Consumer != r.consumer {
		return false, nil
	}
	if meta.Sequence.Consumer != r.told+1 { // one was lost on its way
		r.drop()
		return false, nil
	}
	r.told++
	r.asked--
	r.got++
	return true, nil
}

// status reads what the server says of a request.
func (r *reader) status(m *nats.Msg) error {
	if m.Subject != r.replyTo() {
		return nil
	}
	code, text := m.Header.Get("Status"), m.Header.Get("Description")
	switch code {
	case "100": // it is alive
		return nil
	case "404", "408": // no more for now
		if r.upTo > 0 && r.got == 0 {
			r.next = max(r.next, r.upTo+1) // all that the filter asks for up to there was read
		}
		r.asked = 0
		return nil
	case "409":
		switch {
		case text == "Message Size Exceeds MaxBytes" && r.got == 0:
			if r.bytes > 256<<20 {
				return &lasting{fmt.Errorf("the message after sequence %d is larger than %d bytes", r.next-1, r.bytes)}
			}
			r.bytes *= 2
			r.asked = 0
			return nil
		case text == "Message Size Exceeds MaxBytes", text == "Batch Completed":
			r.asked = 0
			return nil
		}
	}
	r.drop() // "Consumer Deleted", "Server Shutdown", "No Responders" … : the next look at the stream says what it means
	return nil
}

// open makes a consumer from the place on.
func (r *reader) open(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	if r.sub == nil {
		r.inbox = nats.NewInbox()
		r.incoming = make(chan *nats.Msg, pullMessages+64)
		var err error
		if r.sub, err = r.client.conn.ChanSubscribe(r.inbox+".*", r.incoming); err != nil {
			return err
		}
		r.bytes = pullBytes
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := r.client.js.CreateConsumer(ctx, r.stream, jetstream.ConsumerConfig{
		Description: "a weir reader; its position is in weir's own progress", DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.next,
		AckPolicy: jetstream.AckNonePolicy, ReplayPolicy: jetstream.ReplayInstantPolicy, FilterSubject: r.filter, InactiveThreshold: forgetAfter, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return err
	}
	r.consumer, r.told, r.asked = c.CachedInfo().Name, 0, 0
	return nil
}

// pull asks for more. Where a filtered stream was quiet, its end is read before, so that the place can follow it.
func (r *reader) pull(ctx context.Context) error {
	r.upTo = 0
	if r.filter != "" && r.got == 0 && r.request > 0 {
		var err error
		if r.upTo, err = r.end(ctx); err != nil {
			return err
		}
	}
	r.request++
	r.asked, r.got = pullMessages, 0
	body, err := json.Marshal(struct {
		Expires   time.Duration `json:"expires"`
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{pullFor, r.asked, r.bytes, heartbeat})
	if err != nil {
		return err
	}
	return r.client.conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+r.stream+"."+r.consumer, r.replyTo(), body)
}

var errForgotten = errors.New("the server has forgotten the consumer")

// end is the last sequence of the stream if nothing up to there waits for the consumer, else 0: a server that is slow answers a request with silence
// though it has something.
func (r *reader) end(ctx context.Context) (uint64, error) {
	info, err := r.client.stream(ctx, r.stream)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := r.client.js.Consumer(ctx, r.stream, r.consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, errForgotten
	}
	if err != nil {
		return 0, err
	}
	if c := c.CachedInfo(); c.NumPending > 0 || c.Delivered.Consumer != r.told {
		return 0, nil
	}
	return info.State.LastSeq, nil
}

func (r *reader) replyTo() string { return r.inbox + "." + strconv.Itoa(r.request) }

// drop gives the consumer up; the server forgets it by itself.
func (r *reader) drop() { r.consumer, r.asked = "", 0 }

// Close forgets the consumer. Twice is fine.
func (r *reader) Close() error {
	if r.consumer != "" && r.client.conn.IsConnected() {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		_ = r.client.js.DeleteConsumer(ctx, r.stream, r.consumer) // the server forgets it by itself where this fails
	}
	r.drop()
	if r.sub == nil {
		return nil
	}
	err := r.sub.Unsubscribe()
	r.sub = nil
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription) {
		return nil
	}
	return err
}
