// Command franz is Kafka by franz-go: the hand-written peer of w1, in two guarantees, and what the harness needs beside it (topics, filling, reading
// back), so that what Weir wrote is read by a client that is not Weir's.
//
//	franz create --connection FILE --topic in --partitions 2
//	franz fill   --connection FILE --topic in --events 1000000 --seed 1     prints the truth
//	franz pass   --connection FILE --topic in --to out --events 1000000 --group g --guarantee exactly-once
//	franz check  --connection FILE --topic out                              prints the hash of what was committed
//	franz check  --connection FILE --topic out --field payload              the same, of one field of rows in JSON
//	franz last   --connection FILE --topic out                              prints when the last commit was, in milliseconds since 1970
//	franz empty  --connection FILE --topic out                              deletes its records
//	franz delete --connection FILE --topic out
//
// FILE holds {"servers": […], "user": …, "password": …} and nobody else can read it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-project/weir/benchmarks/workloads"
)

type options struct {
	connection, topic, to, group, guarantee, field string
	partitions, events                             int
	seed                                           uint64
}

func main() {
	var o options
	f := flag.NewFlagSet("franz", flag.ExitOnError)
	f.StringVar(&o.connection, "connection", "", "file that says how to reach the broker")
	f.StringVar(&o.topic, "topic", "", "topic")
	f.StringVar(&o.to, "to", "", "topic to pass to")
	f.StringVar(&o.group, "group", "", "consumer group")
	f.StringVar(&o.guarantee, "guarantee", "at-least-once", "at-least-once or exactly-once")
	f.StringVar(&o.field, "field", "", "of a value in JSON, to hash in its place")
	f.IntVar(&o.partitions, "partitions", 2, "of a new topic")
	f.IntVar(&o.events, "events", 0, "how many")
	f.Uint64Var(&o.seed, "seed", 1, "of the values")
	verbs := map[string]func(context.Context, options) error{"create": create, "fill": fill, "pass": pass, "check": check, "last": last, "empty": empty, "delete": remove}
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		log.Fatal("franz create | fill | pass | check | last | empty | delete")
	}
	if err := f.Parse(os.Args[2:]); err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := verbs[os.Args[1]](ctx, o); err != nil {
		log.Fatalf("%s %q: %v", os.Args[1], o.topic, err) //nolint:gosec // whoever runs it typed the name
	}
}

// dial connects with the options that every verb needs.
func (o options) dial(more ...kgo.Opt) []kgo.Opt {
	data, err := os.ReadFile(o.connection)
	if err != nil {
		log.Fatal(err)
	}
	var c struct {
		Servers        []string
		User, Password string
	}
	if err := json.Unmarshal(data, &c); err != nil {
		log.Fatal(err)
	}
	opts := append([]kgo.Opt{kgo.SeedBrokers(c.Servers...)}, more...)
	if c.User != "" {
		opts = append(opts, kgo.SASL(scram.Auth{User: c.User, Pass: c.Password}.AsSha512Mechanism()))
	}
	return opts
}

func create(ctx context.Context, o options) error {
	c, err := kgo.NewClient(o.dial()...)
	if err != nil {
		return err
	}
	defer c.Close()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = o.topic, int32(o.partitions), -1
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, t)
	res, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(res.Topics[0].ErrorCode)
}

func remove(ctx context.Context, o options) error {
	c, err := kgo.NewClient(o.dial()...)
	if err != nil {
		return err
	}
	defer c.Close()
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = &o.topic
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics, req.TopicNames = append(req.Topics, t), []string{o.topic}
	res, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(res.Topics[0].ErrorCode)
}

func fill(ctx context.Context, o options) error {
	c, err := kgo.NewClient(o.dial(kgo.DefaultProduceTopic(o.topic), kgo.ProducerBatchMaxBytes(1_000_000), kgo.ProducerLinger(10*time.Millisecond),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.MaxBufferedRecords(200_000), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		return err
	}
	defer c.Close()
	var failed atomic.Pointer[error]
	truth, err := workloads.Values(o.events, o.seed, func(v []byte) error {
		c.Produce(ctx, kgo.SliceRecord(append([]byte(nil), v...)), func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if err := c.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	_, err = fmt.Println(truth)
	return err
}

// span is where the records of a partition begin and end.
type span struct{ from, end int64 }

// check reads what was committed, to the end that the topic has now.
func check(ctx context.Context, o options) error {
	parts, err := o.spans(ctx)
	if err != nil {
		return err
	}
	var h workloads.Hash
	err = o.read(ctx, parts, func(r *kgo.Record) error {
		if r.Attrs.IsControl() {
			return nil
		}
		if o.field == "" {
			h.Add(r.Value)
			return nil
		}
		var row map[string]string
		if err := json.Unmarshal(r.Value, &row); err != nil {
			return fmt.Errorf("partition %d, offset %d: %w", r.Partition, r.Offset, err)
		}
		v, ok := row[o.field]
		if !ok || len(row) != 1 {
			return fmt.Errorf("partition %d, offset %d: a row of one field, %s, is expected: %s", r.Partition, r.Offset, o.field, r.Value)
		}
		h.Add([]byte(v))
		return nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Println(h)
	return err
}

// last looks at the last record of each partition of a topic that is written in transactions: it is the broker's mark of a commit, with the broker's time.
func last(ctx context.Context, o options) error {
	parts, err := o.spans(ctx)
	if err != nil {
		return err
	}
	for p, s := range parts {
		parts[p] = span{s.end - 1, s.end}
	}
	at := int64(-1)
	err = o.read(ctx, parts, func(r *kgo.Record) error {
		if !r.Attrs.IsControl() {
			return fmt.Errorf("partition %d ends with a record at offset %d that is no mark of a commit", r.Partition, r.Offset)
		}
		at = max(at, r.Timestamp.UnixMilli())
		return nil
	})
	if err == nil && at < 0 {
		err = errors.New("it holds nothing")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Println(at)
	return err
}

// read gives what partitions hold between two offsets, marks of commits too.
func (o options) read(ctx context.Context, parts map[int32]span, each func(*kgo.Record) error) error {
	if len(parts) == 0 {
		return nil
	}
	from := map[int32]kgo.Offset{}
	for p, s := range parts {
		from[p] = kgo.NewOffset().At(s.from)
	}
	c, err := kgo.NewClient(o.dial(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{o.topic: from}), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		return err
	}
	defer c.Close()
	for len(parts) > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			s, open := parts[r.Partition]
			if !open || failed != nil || r.Offset >= s.end {
				return
			}
			failed = each(r)
			if r.Offset+1 >= s.end {
				delete(parts, r.Partition)
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// spans are the partitions that hold something, up to their last stable offsets.
func (o options) spans(ctx context.Context) (map[int32]span, error) {
	c, err := kgo.NewClient(o.dial()...)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	begins, err := o.offsets(ctx, c, -2)
	if err != nil {
		return nil, err
	}
	ends, err := o.offsets(ctx, c, -1)
	if err != nil {
		return nil, err
	}
	out := map[int32]span{}
	for p, end := range ends {
		if end > begins[p] {
			out[p] = span{begins[p], end}
		}
	}
	return out, nil
}

// offsets are the partitions' first offsets (-2) or last stable ones (-1).
func (o options) offsets(ctx context.Context, c *kgo.Client, which int64) (map[int32]int64, error) {
	meta := kmsg.NewPtrMetadataRequest()
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = &o.topic
	meta.Topics = append(meta.Topics, mt)
	found, err := meta.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(found.Topics[0].ErrorCode); err != nil {
		return nil, err
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, 1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = o.topic
	for _, p := range found.Topics[0].Partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = p.Partition, which, -1
		topic.Partitions = append(topic.Partitions, rp)
	}
	req.Topics = append(req.Topics, topic)
	out := map[int32]int64{}
	for _, shard := range c.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, p := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			out[p.Partition] = p.Offset
		}
	}
	return out, nil
}

// empty deletes the records that a topic holds now.
func empty(ctx context.Context, o options) error {
	parts, err := o.spans(ctx)
	if err != nil || len(parts) == 0 {
		return err
	}
	c, err := kgo.NewClient(o.dial()...)
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 30_000
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = o.topic
	for p, s := range parts {
		rp := kmsg.NewDeleteRecordsRequestTopicPartition()
		rp.Partition, rp.Offset = p, s.end
		topic.Partitions = append(topic.Partitions, rp)
	}
	req.Topics = append(req.Topics, topic)
	for _, shard := range c.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return shard.Err
		}
		for _, p := range shard.Resp.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

func pass(ctx context.Context, o options) error {
	opts := o.dial(kgo.ConsumerGroup(o.group), kgo.ConsumeTopics(o.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DefaultProduceTopic(o.to),
		kgo.ProducerBatchMaxBytes(1_000_000), kgo.MaxBufferedRecords(200_000), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.FetchMaxPartitionBytes(4<<20))
	switch o.guarantee {
	case "exactly-once":
		return o.exactlyOnce(ctx, append(opts, kgo.TransactionalID(o.group), kgo.FetchIsolationLevel(kgo.ReadCommitted())))
	case "at-least-once":
		return o.atLeastOnce(ctx, append(opts, kgo.DisableAutoCommit()))
	}
	return fmt.Errorf("there is no guarantee %q", o.guarantee)
}

// interval between commits, as Weir's.
const interval = time.Second

func (o options) atLeastOnce(ctx context.Context, opts []kgo.Opt) error {
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer c.Close()
	var failed atomic.Pointer[error]
	commit := func() error {
		if err := c.Flush(ctx); err != nil {
			return err
		}
		if err := failed.Load(); err != nil {
			return *err
		}
		return c.CommitUncommittedOffsets(ctx)
	}
	last := time.Now()
	for n := 0; n < o.events; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			c.Produce(ctx, &kgo.Record{Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
		})
		if time.Since(last) >= interval {
			if err := commit(); err != nil {
				return err
			}
			last = time.Now()
		}
	}
	return commit()
}

func (o options) exactlyOnce(ctx context.Context, opts []kgo.Opt) error {
	s, err := kgo.NewGroupTransactSession(opts...)
	if err != nil {
		return err
	}
	defer s.Close()
	var failed atomic.Pointer[error]
	for n := 0; n < o.events; {
		if err := s.Begin(); err != nil {
			return err
		}
		for began := time.Now(); n < o.events && time.Since(began) < interval; {
			fetches := s.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return err
			}
			fetches.EachRecord(func(r *kgo.Record) {
				n++
				s.Produce(ctx, &kgo.Record{Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}, func(_ *kgo.Record, err error) {
					if err != nil {
						failed.Store(&err)
					}
				})
			})
		}
		committed, err := s.End(ctx, kgo.TryCommit)
		if err != nil {
			return err
		}
		if err := failed.Load(); err != nil {
			return *err
		}
		if !committed {
			return errors.New("a transaction was aborted, as in a rebalance: the loop is alone in its group, so it counts as a failure")
		}
	}
	return nil
}
