package kafka

import (
	"context"
	"fmt"
	"net"
	"strconv"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// The versions of the protocol that are spoken: those that every broker from 2.4 to 4.x serves.
const (
	metadataVersion        = 8
	findCoordinatorVersion = 2
	listOffsetsVersion     = 5
	initProducerVersion    = 4
	addPartitionsVersion   = 3
	endTxnVersion          = 3
	produceVersion         = 8
	fetchVersion           = 11
)

// Partitions is the number of a topic's partitions, asked from the cluster where it is not known yet.
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	n := 0
	err := retry(ctx, retryFor, func(error) { c.forget(topic) }, func(ctx context.Context) error {
		ps, err := c.topic(ctx, topic)
		n = len(ps)
		return err
	})
	return n, err
}

// leader finds the broker that leads a partition: kafka-go's error UnknownTopicOrPartition or LeaderNotAvailable where none does.
func (c *Client) leader(ctx context.Context, topic string, p int32) (int32, error) {
	ps, err := c.topic(ctx, topic)
	if err != nil {
		return 0, err
	}
	if p < 0 || int(p) >= len(ps) {
		return 0, &Error{Op: "find the leader of", Topic: topic, Partition: p, Err: fmt.Errorf("the topic has %d partitions: %w", len(ps), kafkago.UnknownTopicOrPartition)}
	}
	if ps[p].err != 0 && ps[p].leader < 0 {
		return 0, &Error{Op: "find the leader of", Topic: topic, Partition: p, Err: kafkago.Error(ps[p].err)}
	}
	if ps[p].leader < 0 {
		return 0, &Error{Op: "find the leader of", Topic: topic, Partition: p, Err: kafkago.LeaderNotAvailable}
	}
	return ps[p].leader, nil
}

// topic returns the cached partitions of a topic, or asks.
func (c *Client) topic(ctx context.Context, topic string) ([]partition, error) {
	c.view.mu.Lock()
	ps := c.view.topics[topic]
	c.view.mu.Unlock()
	if ps != nil {
		return ps, nil
	}
	res, err := call[*metadata.Response](ctx, c, anyBroker, metadataVersion, &metadata.Request{TopicNames: []string{topic}})
	if err != nil {
		return nil, &Error{Op: "ask for the metadata of " + topic, Broker: c.through(anyBroker), Err: err}
	}
	return c.learn(topic, res)
}

func (c *Client) learn(topic string, res *metadata.Response) ([]partition, error) {
	c.view.mu.Lock()
	defer c.view.mu.Unlock()
	for _, b := range res.Brokers {
		c.view.brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	for _, t := range res.Topics {
		if t.Name != topic {
			continue
		}
		if t.ErrorCode != 0 {
			return nil, &Error{Op: "ask for the metadata of " + topic, Err: kafkago.Error(t.ErrorCode)}
		}
		ps := make([]partition, len(t.Partitions))
		for i := range ps {
			ps[i].leader = -1
		}
		for _, p := range t.Partitions {
			if p.PartitionIndex >= 0 && int(p.PartitionIndex) < len(ps) {
				ps[p.PartitionIndex] = partition{p.LeaderID, p.ErrorCode}
			}
		}
		c.view.topics[topic] = ps
		return ps, nil
	}
	return nil, &Error{Op: "ask for the metadata of " + topic, Err: kafkago.UnknownTopicOrPartition}
}

// forget drops what is known of a topic: its leaders moved.
func (c *Client) forget(topic string) {
	c.view.mu.Lock()
	delete(c.view.topics, topic)
	c.view.mu.Unlock()
}

// coordinator finds the broker that coordinates a transactional id, from the cache or by asking.
func (c *Client) coordinator(ctx context.Context, id string) (int32, error) {
	c.view.mu.Lock()
	b, ok := c.view.coordinators[id]
	c.view.mu.Unlock()
	if ok {
		return b, nil
	}
	res, err := call[*findcoordinator.Response](ctx, c, anyBroker, findCoordinatorVersion, &findcoordinator.Request{Key: id, KeyType: 1})
	if err == nil {
		err = codeError(res.ErrorCode)
	}
	if err != nil {
		return 0, &Error{Op: "find the transaction coordinator", Subject: id, Broker: c.through(anyBroker), Err: err}
	}
	c.view.mu.Lock()
	defer c.view.mu.Unlock()
	c.view.coordinators[id] = res.NodeID
	c.view.brokers[res.NodeID] = net.JoinHostPort(res.Host, strconv.Itoa(int(res.Port)))
	return res.NodeID, nil
}

func (c *Client) forgetCoordinator(id string) {
	c.view.mu.Lock()
	delete(c.view.coordinators, id)
	c.view.mu.Unlock()
}
