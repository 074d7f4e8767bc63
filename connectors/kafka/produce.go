package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/segmentio/kafka-go/protocol"
	produceapi "github.com/segmentio/kafka-go/protocol/produce"

	"github.com/weir-project/weir/connectors/kafka/record"
	"github.com/weir-project/weir/pipelines/checkpoint"
)

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// batch is one record batch on its way: Kafka takes one a partition in a request.
type batch struct {
	place
	records  *checkpoint.Records
	from, to int
	producer record.Producer
	raw      []byte // encoded once, so that a repetition sends the same bytes
	attempts int    // requests that carried it
	base     int64  // offset of its first record, once it was acknowledged
	err      error
}

// maxBatch keeps batches below Kafka's default limit of 1 MiB (message.max.bytes).
const maxBatch = 900 << 10

// produceWaitMillis is how long the broker may wait for its replicas.
const produceWaitMillis = 8000

// produce is a Produce request, version 8, for partitions of one leader. kafka-go's RawProduce would copy the batches once more.
type produce struct {
	broker   int32
	clientID string
	id       string // transactional id; empty without a transaction
	batches  []*batch
}

func (*produce) ApiKey() protocol.ApiKey { return protocol.Produce }

func (p *produce) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: p.broker}, nil
}

func (p *produce) Required(map[protocol.ApiKey]int16) bool { return true }

func (p *produce) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	id := correlation.Add(1)
	for _, piece := range p.encode(id) {
		if _, err := rw.Write(piece); err != nil {
			return nil, err
		}
	}
	got, res, err := protocol.ReadResponse(rw, protocol.Produce, produceVersion)
	if err == nil && got != id {
		err = fmt.Errorf("the answer is to request %d, and %d was asked", got, id)
	}
	return res, err
}

// copyBelow is the size up to which a batch is copied into the request; a larger one is written from where it lies.
const copyBelow = 32 << 10

// encode makes the request, in the pieces to write.
func (p *produce) encode(id int32) [][]byte {
	out := header(make([]byte, 0, 4096), int16(protocol.Produce), produceVersion, id, p.clientID)
	if p.id == "" {
		out = binary.BigEndian.AppendUint16(out, ^uint16(0))
	} else {
		out = appendString(out, p.id)
	}
	out = binary.BigEndian.AppendUint16(out, ^uint16(0)) // acks -1: all replicas in sync
	out = binary.BigEndian.AppendUint32(out, produceWaitMillis)
	groups := byTopic(p.batches)
	out = binary.BigEndian.AppendUint32(out, uint32(len(groups)))
	var pieces [][]byte
	size := 0
	for _, g := range groups {
		out = appendString(out, g[0].topic)
		out = binary.BigEndian.AppendUint32(out, uint32(len(g)))
		for _, b := range g {
			out = binary.BigEndian.AppendUint32(out, uint32(b.partition))
			out = binary.BigEndian.AppendUint32(out, uint32(len(b.raw)))
			if len(b.raw) < copyBelow {
				out = append(out, b.raw...)
				continue
			}
			pieces = append(pieces, out, b.raw)
			size += len(out) + len(b.raw)
			out = nil
		}
	}
	if size += len(out); len(out) > 0 {
		pieces = append(pieces, out)
	}
	binary.BigEndian.PutUint32(pieces[0], uint32(size-4))
	return pieces
}

// byTopic groups batches by their topic.
func byTopic(batches []*batch) [][]*batch {
	var out [][]*batch
	at := map[string]int{}
	for _, b := range batches {
		i, ok := at[b.topic]
		if !ok {
			i = len(out)
			at[b.topic], out = i, append(out, nil)
		}
		out[i] = append(out[i], b)
	}
	return out
}

// send delivers batches of different partitions, all leaders at once, and returns when each was acknowledged or one has failed for good. A repetition
// carries the same sequence numbers: a broker that has a batch already answers with its old offset.
func (c *Client) send(ctx context.Context, id string, batches []*batch) error {
	pending := slices.Clone(batches)
	heal := func(error) {
		for _, b := range pending {
			if moved(b.err) {
				c.forget(b.topic)
			}
		}
	}
	return retry(ctx, retryFor, heal, func(ctx context.Context) error {
		c.sendOnce(ctx, id, pending)
		pending = slices.DeleteFunc(pending, func(b *batch) bool { return b.err == nil })
		return worst(pending)
	})
}

// worst is an error that no repetition heals, if one of the batches has such, else any.
func worst(batches []*batch) error {
	var err error
	for _, b := range batches {
		if err == nil || !retriable(b.err) {
			err = b.err
		}
	}
	return err
}

// sendOnce sends each batch to its leader and notes the outcome in it.
func (c *Client) sendOnce(ctx context.Context, id string, batches []*batch) {
	leaders := map[int32][]*batch{}
	for _, b := range batches {
		broker, err := c.leader(ctx, b.topic, b.partition)
		if b.err = err; err == nil {
			leaders[broker] = append(leaders[broker], b)
		}
	}
	var all sync.WaitGroup
	for broker, group := range leaders {
		all.Go(func() { c.sendTo(ctx, broker, id, group) })
	}
	all.Wait()
}

func (c *Client) sendTo(ctx context.Context, broker int32, id string, batches []*batch) {
	note := func(b *batch, err error) {
		if b.err = err; err != nil {
			b.err = &Error{Op: "produce to", Topic: b.topic, Partition: b.partition, Subject: id, Broker: c.through(broker), Err: err}
		}
	}
	for _, b := range batches {
		b.attempts++
	}
	m, err := c.roundTrip(ctx, &produce{broker: broker, clientID: c.clientID, id: id, batches: batches})
	res, ok := m.(*produceapi.Response)
	if err == nil && !ok {
		err = malformed{fmt.Errorf("the answer to a produce request is a %T", m)}
	}
	for _, b := range batches {
		if err != nil {
			note(b, err)
			continue
		}
		base, err := acknowledged(res, b.place)
		b.base = base
		note(b, err)
	}
}

var errNotAnswered = malformed{errors.New("the answer does not say what became of it")}

func acknowledged(res *produceapi.Response, at place) (int64, error) {
	for _, t := range res.Topics {
		if t.Topic != at.topic {
			continue
		}
		for _, p := range t.Partitions {
			if p.Partition != at.partition {
				continue
			}
			err := codeError(p.ErrorCode)
			if err != nil && p.ErrorMessage != "" {
				err = fmt.Errorf("%w (%s)", err, p.ErrorMessage)
			}
			if err == nil && p.BaseOffset < 0 {
				err = malformed{fmt.Errorf("it was acknowledged without an offset (%d)", p.BaseOffset)}
			}
			return p.BaseOffset, err
		}
	}
	return 0, errNotAnswered
}
