package mainjob

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// counter is a producer that numbers its records, and a reader beside it that ticks them off. What was acknowledged must be read, once.
type counter struct {
	w      *install
	out    *kgo.Client
	in     *kgo.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup

	acked  atomic.Int64
	failed atomic.Int64
	mu     sync.Mutex // guards the rest
	read   map[uint64]int
	acks   map[uint64]bool
	gap    time.Duration // the longest between two reads
	last   time.Time
}

// count begins to produce 200 records a second to a topic of its own, and to read it.
func (w *install) count(topic string, partitions int32) *counter {
	w.t.Helper()
	n := &counter{w: w, out: w.kafka(kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.RoundRobinPartitioner())),
		in: w.kafka(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), read: map[uint64]int{}, acks: map[uint64]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	create := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, partitions, 1
	create.Topics, create.TimeoutMillis = append(create.Topics, t), 10000
	res, err := create.RequestWith(ctx, n.out)
	if err != nil || res.Topics[0].ErrorCode != 0 {
		w.t.Fatalf("make topic %s: %v %+v", topic, err, res)
	}
	n.wg.Go(func() { n.produce(ctx) })
	n.wg.Go(n.consume)
	w.t.Cleanup(n.close)
	return n
}

func (n *counter) produce(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := uint64(0); ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Not ctx: what was begun is to be acknowledged or refused, not given up.
		n.out.Produce(context.Background(), &kgo.Record{Value: binary.BigEndian.AppendUint64(nil, i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				n.failed.Add(1)
				return
			}
			n.acked.Add(1)
			n.mu.Lock()
			defer n.mu.Unlock()
			n.acks[i] = true
		})
	}
}

func (n *counter) consume() {
	for {
		f := n.in.PollFetches(context.Background())
		if f.IsClientClosed() {
			return
		}
		n.mu.Lock()
		f.EachRecord(func(r *kgo.Record) {
			n.read[binary.BigEndian.Uint64(r.Value)]++
			if now := time.Now(); !n.last.IsZero() {
				n.gap, n.last = max(n.gap, now.Sub(n.last)), now
			} else {
				n.last = now
			}
		})
		n.mu.Unlock()
	}
}

// mark tells how far it is.
func (n *counter) mark() {
	n.w.t.Logf("%d records acknowledged, %d refused so far", n.acked.Load(), n.failed.Load())
}

func (n *counter) close() {
	n.cancel()
	n.in.Close()
	n.wg.Wait()
	n.out.Close()
}

// verify ends the producing and wants every acknowledged record read, none twice.
func (n *counter) verify() {
	n.w.t.Helper()
	n.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.out.Flush(ctx); err != nil {
		n.w.t.Fatalf("the producer's last records: %v", err)
	}
	lost, twice := []uint64{}, 0
	for ctx.Err() == nil {
		n.mu.Lock()
		lost, twice = lost[:0], 0
		for i := range n.acks {
			if n.read[i] == 0 {
				lost = append(lost, i)
			}
		}
		for _, times := range n.read {
			if times > 1 {
				twice++
			}
		}
		n.mu.Unlock()
		if len(lost) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond) // the reader is a moment behind
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	text := fmt.Sprintf("%d records acknowledged, %d refused, %d read, %d lost, %d twice; the reader's longest pause was %v", n.acked.Load(), n.failed.Load(), len(n.read), len(lost), twice, n.gap)
	n.w.t.Log(text)
	if len(lost) > 0 || twice > 0 || n.acked.Load() < 100 {
		n.w.t.Error(text)
	}
}
