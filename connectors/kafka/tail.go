package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-project/weir/connectors/kafka/record"
)

// tail reads one partition's committed records in order. It is used by one goroutine.
//
//	for ok, err := t.load(); …   // the next visible batch of the answer, in t.cols from t.at on
//	err := t.fill(ctx)           // the answer is used up: ask for another
type tail struct {
	client    *Client
	topic     string
	partition int32
	next      int64 // everything before it was given out or is never visible
	codec     codecs

	buf    []byte // the answer; nil while a request owns it
	recs   []byte // its records
	pos    int    // place in recs
	filter *committedFilter

	cols    record.Columns
	at      int   // first record of cols that was not given out
	end     int64 // offset after the batch in cols
	packed  bool  // cols lie in a buffer that the next compressed batch overwrites
	scratch record.Columns
	stable  int64 // last stable offset that the last answer told
}

func newTail(c *Client, topic string, p int32, from int64) *tail {
	return &tail{client: c, topic: topic, partition: p, next: from}
}

func (t *tail) fail(op string, err error) error {
	return &Error{Op: op, Topic: t.topic, Partition: t.partition, Err: err}
}

// current says that cols hold a record to give out.
func (t *tail) current() bool { return t.at < t.cols.Len() }

// took gives out the records of cols before n, and moves the place after them.
func (t *tail) took(n int) {
	t.at = n
	if t.current() {
		t.next = t.cols.Offsets[n]
		return
	}
	t.next = t.end
}

// load makes the next visible batch of the answer current. false: nothing more is in it, and next has moved past its control batches too.
func (t *tail) load() (bool, error) {
	for t.pos < len(t.recs) {
		batch, pos, err := record.Next(t.recs, t.pos)
		if errors.Is(err, record.ErrPartial) && t.pos > 0 {
			break // cut at the answer's limit
		}
		if err != nil {
			return false, t.fail("read", malformed{fmt.Errorf("at offset %d: %w", t.next, err)})
		}
		visible, err := t.show(&batch)
		if err != nil {
			return false, t.fail("read", malformed{err})
		}
		t.pos = pos
		if visible {
			return true, nil
		}
		t.next = max(t.next, batch.Next)
	}
	t.recs, t.pos = nil, 0
	return false, nil
}

// show decodes a batch unless it has nothing to give out.
func (t *tail) show(b *record.Batch) (bool, error) {
	drop, err := t.filter.drops(b, &t.scratch, t.codec)
	if drop || err != nil || b.Next <= t.next {
		return false, err
	}
	if err := b.Decode(&t.cols, t.codec); err != nil {
		return false, err
	}
	t.at, _ = slices.BinarySearch(t.cols.Offsets, t.next) // a batch may begin before the place
	t.end, t.packed = b.Next, b.Compression != record.None
	return t.current(), nil
}

// fill fetches once, repeating what can be repeated. The broker answers after 500 ms at the latest, perhaps with nothing.
func (t *tail) fill(ctx context.Context) error {
	heal := func(err error) { t.client.healTopic(t.topic, err) }
	return retry(ctx, retryFor, heal, t.fillOnce)
}

func (t *tail) fillOnce(ctx context.Context) error {
	broker, err := t.client.leader(ctx, t.topic, t.partition)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		return &Error{Op: fmt.Sprintf("fetch offset %d of", t.next), Topic: t.topic, Partition: t.partition, Broker: t.client.through(broker), Err: err}
	}
	request := &fetch{broker: broker, clientID: t.client.clientID, wants: []want{{t.topic, t.partition, t.next}}, buf: t.buf}
	t.buf = nil // a request that is given up may still write to it
	res, err := t.client.roundTrip(ctx, request)
	if err != nil {
		return fail(err)
	}
	answer, ok := res.(*fetchAnswer)
	if !ok || len(answer.parts) != 1 {
		return fail(malformed{fmt.Errorf("the answer (%T) is not about the one partition that was asked for", res)})
	}
	t.buf = answer.buf
	part := answer.parts[0]
	if errors.Is(part.err, kafkago.OffsetOutOfRange) {
		start, end, err := t.client.bounds(ctx, t.topic, t.partition) // a real broker's answer does not say
		if err != nil {
			return err
		}
		return fail(&goneError{t.next, start, end, part.err})
	}
	if part.err != nil {
		return fail(part.err)
	}
	t.stable, t.recs, t.pos = part.stable, part.records, 0
	t.filter = newCommittedFilter(part.aborted)
	return nil
}
