package kafka

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// The ends of a partition, as ListOffsets names them.
const (
	latest   int64 = -1
	earliest int64 = -2
)

// readCommitted is the isolation level of every read.
const readCommitted int8 = 1

// Earliest is the offset of a partition's first record that is kept.
func (c *Client) Earliest(ctx context.Context, topic string, p int32) (int64, error) {
	return c.listOffset(ctx, topic, p, earliest)
}

// Latest is a partition's last stable offset: below it every transaction has ended. It comes from ListOffsets, never from Fetch, whose high
// watermark may be stale after a failover.
func (c *Client) Latest(ctx context.Context, topic string, p int32) (int64, error) {
	return c.listOffset(ctx, topic, p, latest)
}

func (c *Client) listOffset(ctx context.Context, topic string, p int32, at int64) (int64, error) {
	var offset int64
	err := retry(ctx, retryFor, func(err error) { c.healTopic(topic, err) }, func(ctx context.Context) (err error) {
		offset, err = c.listOffsetOnce(ctx, topic, p, at)
		return err
	})
	return offset, err
}

// healTopic drops what is known of a topic after an error that says it is stale.
func (c *Client) healTopic(topic string, err error) {
	if moved(err) {
		c.forget(topic)
	}
}

func (c *Client) listOffsetOnce(ctx context.Context, topic string, p int32, at int64) (int64, error) {
	broker, err := c.leader(ctx, topic, p)
	if err != nil {
		return 0, err
	}
	fail := func(err error) (int64, error) {
		return 0, &Error{Op: "list the offsets of", Topic: topic, Partition: p, Broker: c.through(broker), Err: err}
	}
	res, err := call[*listoffsets.Response](ctx, c, broker, listOffsetsVersion, &listoffsets.Request{
		ReplicaID: -1, IsolationLevel: readCommitted,
		Topics: []listoffsets.RequestTopic{{Topic: topic, Partitions: []listoffsets.RequestPartition{{Partition: p, CurrentLeaderEpoch: -1, Timestamp: at}}}},
	})
	if err != nil {
		return fail(err)
	}
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return fail(malformed{fmt.Errorf("the answer has %d topics, and 1 was asked for", len(res.Topics))})
	}
	got := res.Topics[0].Partitions[0]
	if err := codeError(got.ErrorCode); err != nil {
		return fail(err)
	}
	return got.Offset, nil
}
