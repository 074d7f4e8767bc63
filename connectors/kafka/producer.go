package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"github.com/segmentio/kafka-go/protocol/initproducerid"

	"github.com/weir-project/weir/connectors/kafka/record"
	"github.com/weir-project/weir/pipelines/checkpoint"
)

// producer is one transactional id's producer, version 1 of the protocol (docs/adr/0002): partitions are added before they are
// written, and the epoch stays until the next init. It is used by one goroutine.
type producer struct {
	client    *Client
	id        string
	timeout   time.Duration
	pid       int64
	epoch     int16
	sequences map[place]int32
	added     map[place]bool // partitions of the open transaction
	codec     codecs
	pack      record.Compression
}

// init takes the transactional id: an open transaction is aborted, an earlier holder fenced. It waits for the end of a transaction that is being
// completed (51). The id and epoch asked for are always -1: 0 is accepted for a new id and refused the next time.
func (p *producer) init(ctx context.Context) error {
	p.added = nil
	var res *initproducerid.Response
	err := p.coordinate(ctx, "initialise the producer", func(ctx context.Context, broker int32) (err error) {
		res, err = call[*initproducerid.Response](ctx, p.client, broker, initProducerVersion, &initproducerid.Request{
			TransactionalID: p.id, TransactionTimeoutMs: int32(p.timeout.Milliseconds()), ProducerID: -1, ProducerEpoch: -1,
		})
		if err == nil {
			err = codeError(res.ErrorCode)
		}
		return err
	})
	if err != nil {
		return err
	}
	p.pid, p.epoch, p.sequences = res.ProducerID, res.ProducerEpoch, map[place]int32{}
	return nil
}

// coordinate calls the coordinator, finding it again where it has moved.
func (p *producer) coordinate(ctx context.Context, op string, f func(context.Context, int32) error) error {
	heal := func(err error) {
		if coordinatorMoved(err) {
			p.client.forgetCoordinator(p.id)
		}
	}
	return retry(ctx, retryFor, heal, func(ctx context.Context) error { return p.coordinateOnce(ctx, op, f) })
}

func (p *producer) coordinateOnce(ctx context.Context, op string, f func(context.Context, int32) error) error {
	broker, err := p.client.coordinator(ctx, p.id)
	if err != nil {
		return err
	}
	if err := f(ctx, broker); err != nil {
		return &Error{Op: op, Subject: p.id, Broker: p.client.through(broker), Err: err}
	}
	return nil
}

// begin opens a transaction over partitions. Nothing may be written before it has succeeded: a write would join the transaction that was
// committed last.
func (p *producer) begin(ctx context.Context, places []place) error {
	request := &addpartitionstotxn.Request{TransactionalID: p.id, ProducerID: p.pid, ProducerEpoch: p.epoch}
	at := map[string]int{}
	for _, w := range places {
		i, ok := at[w.topic]
		if !ok {
			i = len(request.Topics)
			at[w.topic] = i
			request.Topics = append(request.Topics, addpartitionstotxn.RequestTopic{Name: w.topic})
		}
		request.Topics[i].Partitions = append(request.Topics[i].Partitions, w.partition)
	}
	err := p.coordinate(ctx, "add partitions to the transaction", func(ctx context.Context, broker int32) error {
		res, err := call[*addpartitionstotxn.Response](ctx, p.client, broker, addPartitionsVersion, request)
		if err != nil {
			return err
		}
		return addedAll(res, len(places))
	})
	if err != nil {
		return err
	}
	p.added = map[place]bool{}
	for _, w := range places {
		p.added[w] = true
	}
	return nil
}

// notAttempted is OPERATION_NOT_ATTEMPTED: another partition of the request was refused, and that one tells why.
const notAttempted = 55

func addedAll(res *addpartitionstotxn.Response, want int) error {
	var other error
	n := 0
	for _, t := range res.Results {
		for _, r := range t.Results {
			n++
			if r.ErrorCode == notAttempted {
				other = kafkago.Error(notAttempted)
			} else if err := codeError(r.ErrorCode); err != nil {
				return fmt.Errorf("%s/%d: %w", t.Name, r.PartitionIndex, err)
			}
		}
	}
	if other == nil && n != want {
		return malformed{fmt.Errorf("the answer is about %d partitions, and %d were asked for", n, want)}
	}
	return other
}

// outgoing are the records of one partition, and where they went once they were written.
type outgoing struct {
	place
	records     *checkpoint.Records
	emptyIsNull bool
	sent        int     // how many were acknowledged
	offsets     []int64 // of each record
}

// write delivers records to partitions of the open transaction: each partition's in order, one batch of each at a time.
func (p *producer) write(ctx context.Context, list []*outgoing) error {
	for {
		round, of, err := p.round(list)
		if err != nil || len(round) == 0 {
			return err
		}
		if err := p.client.send(ctx, p.id, round); err != nil {
			return err
		}
		for i, b := range round {
			of[i].sent = b.to
			of[i].offsets = appendOffsets(of[i].offsets, b.base, b.to-b.from)
			recycle(b)
		}
	}
}

// maxRound bounds the bytes under way: a broker takes requests up to 100 MiB (socket.request.max.bytes).
const maxRound = 32 << 20

// round encodes the next batch of each partition that has one.
func (p *producer) round(list []*outgoing) (round []*batch, of []*outgoing, err error) {
	size := 0
	for _, o := range list {
		if o.sent >= o.records.Len() || size > maxRound {
			continue
		}
		b, err := p.encode(o, o.sent)
		if err != nil {
			return nil, nil, err
		}
		round, of, size = append(round, b), append(of, o), size+len(b.raw)
	}
	return round, of, nil
}

// encode makes the next batch of o and takes its sequence numbers.
func (p *producer) encode(o *outgoing, from int) (*batch, error) {
	if !p.added[o.place] {
		return nil, fmt.Errorf("kafka: %s/%d is not part of the open transaction of %s", o.topic, o.partition, p.id)
	}
	b := &batch{place: o.place, records: o.records, from: from, to: record.Cut(o.records, from, maxBatch)}
	b.producer = record.Producer{ID: p.pid, Epoch: p.epoch, Sequence: p.sequences[o.place], Transactional: true,
		Compression: p.pack, EmptyIsNull: o.emptyIsNull}
	raw, err := record.Append(*batchMemory.Get().(*[]byte), o.records, b.from, b.to, b.producer, p.codec)
	if err != nil {
		return nil, &Error{Op: "encode for", Topic: o.topic, Partition: o.partition, Err: err}
	}
	b.raw = raw
	p.sequences[o.place] = int32((int64(b.producer.Sequence) + int64(b.to-b.from)) & 0x7fffffff) // it wraps to 0, as Kafka's does
	return b, nil
}

// batchMemory is shared by all producers: it holds what is in use at a time, and the garbage collector empties it.
var batchMemory = sync.Pool{New: func() any { return new([]byte) }}

// recycle gives back the memory of a batch that was acknowledged at once. Where an attempt failed before, its connection may still be writing from
// it, and must not find another batch there.
func recycle(b *batch) {
	raw := b.raw[:0]
	b.raw = nil
	if b.attempts == 1 {
		batchMemory.Put(&raw)
	}
}

func appendOffsets(out []int64, base int64, n int) []int64 {
	out = slices.Grow(out, n)
	for i := range n {
		out = append(out, base+int64(i))
	}
	return out
}

// commit ends the transaction, which is open and whose writes were all acknowledged. It is repeated only where the coordinator said that it did
// nothing; without an answer the outcome is unknown, and the owner initialises again to find out.
func (p *producer) commit(ctx context.Context) error {
	p.added = nil
	var unanswered error
	err := p.coordinate(ctx, "commit the transaction", func(ctx context.Context, broker int32) error {
		res, err := call[*endtxn.Response](ctx, p.client, broker, endTxnVersion, &endtxn.Request{
			TransactionalID: p.id, ProducerID: p.pid, ProducerEpoch: p.epoch, Committed: true,
		})
		if err != nil {
			unanswered = &Error{Op: "commit the transaction (whether it was is not known)", Subject: p.id, Broker: p.client.through(broker), Err: err}
			return nil //nolint:nilerr // it must not be repeated, so it is returned below
		}
		return codeError(res.ErrorCode)
	})
	if unanswered != nil {
		p.client.forgetCoordinator(p.id)
		return unanswered
	}
	return err
}
