package engine

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// The size of a batch, and what a slot buffers at most before it commits without waiting for its interval.
const (
	BatchRows        = 2048
	MaxBufferedBytes = 4 << 20
	MaxBufferedRows  = 64 << 10
)

// buffer is the output of a slot since its last commit.
type buffer struct {
	outputs map[string]map[int32]*checkpoint.Records // by topic, by partition; kept and reset between commits
	sources map[string]string                        // topic -> watermark topic
	outbox  [][]byte
	rows    int
	bytes   int
}

func newBuffer() *buffer {
	return &buffer{outputs: map[string]map[int32]*checkpoint.Records{}, sources: map[string]string{}}
}

func (b *buffer) reset() {
	for _, parts := range b.outputs {
		for _, r := range parts {
			r.Reset()
		}
	}
	b.outbox, b.rows, b.bytes = nil, 0, 0
}

func (b *buffer) full() bool { return b.rows >= MaxBufferedRows || b.bytes >= MaxBufferedBytes }

// written are the outputs that hold something.
func (b *buffer) written() map[string]map[int32]*checkpoint.Records {
	out := map[string]map[int32]*checkpoint.Records{}
	for topic, parts := range b.outputs {
		for p, r := range parts {
			if r.Len() == 0 {
				continue
			}
			if out[topic] == nil {
				out[topic] = map[int32]*checkpoint.Records{}
			}
			out[topic][p] = r
		}
	}
	return out
}

func (v *vertex) counted(b *column.Batch, p pass) {
	n := int64(b.Len())
	v.flow.counters.Written += n
	if !p.derived {
		v.flow.counters.Out += n
	}
}

// discard is the sink that only counts.
type discard struct{}

func (discard) process(v *vertex, b *column.Batch, p pass) error {
	v.counted(b, p)
	return nil
}

// channelSink encodes rows for a Kafka channel.
type channelSink struct {
	kafka   *physical.KafkaChannel
	encoder encoder
	keyed   bool
	parts   map[int32]*checkpoint.Records
	buf     *buffer
	key     []byte
	value   []byte
	next    int32 // partition of the next row without a key
}

func newChannelSink(v *vertex, ch *physical.Channel, buf *buffer) (operator, error) {
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	s := &channelSink{kafka: ch.Kafka, buf: buf, keyed: len(ch.Kafka.Key) > 0}
	if s.encoder, err = newEncoder(in, ch.Kafka.Key); err != nil {
		return nil, v.fail(err)
	}
	if s.kafka.Partitions <= 0 {
		return nil, v.fail(fmt.Errorf("channel %s has %d partitions", ch.Name, s.kafka.Partitions))
	}
	if buf.outputs[s.kafka.Topic] == nil {
		buf.outputs[s.kafka.Topic] = map[int32]*checkpoint.Records{}
	}
	s.parts = buf.outputs[s.kafka.Topic]
	if s.kafka.Watermarks != "" {
		buf.sources[s.kafka.Topic] = s.kafka.Watermarks
	}
	return s, nil
}

func (s *channelSink) process(v *vertex, b *column.Batch, p pass) error {
	v.counted(b, p)
	n := b.Len()
	for i := range n {
		row := i
		if b.Sel != nil {
			row = int(b.Sel[i])
		}
		s.value = s.encoder.row(s.value[:0], b, row)
		part := s.next
		if s.keyed {
			s.key = s.encoder.key(s.key[:0], b, row)
			part = codec.Partition(s.key, s.kafka.Partitions)
		}
		r := s.parts[part]
		if r == nil {
			r = &checkpoint.Records{}
			s.parts[part] = r
		}
		r.Append(s.key, s.value, millis(b.Times[row]))
		s.buf.bytes += len(s.key) + len(s.value) + 16
	}
	if !s.keyed { // a batch without keys stays together
		s.next = (s.next + 1) % int32(s.kafka.Partitions)
	}
	s.buf.rows += n
	return nil
}

// millis is a record's timestamp. Rows without an event time have Kafka's "no timestamp".
func millis(t column.Time) int64 {
	if t == column.MinTime {
		return -1
	}
	return floorMillis(t)
}

// floorMillis rounds towards the past, for records and for published watermarks alike: a record that is not earlier than a watermark stays so.
func floorMillis(t column.Time) int64 {
	m := t / 1000
	if t%1000 < 0 {
		m--
	}
	return m
}

// publishable is the watermark that may be told of rows whose times were rounded to milliseconds.
func publishable(t column.Time) column.Time {
	if t == column.MaxTime || t < column.MinTime+1000 {
		return t
	}
	return floorMillis(t) * 1000
}

// outboxSink stages rows for a sink that acts after the commit.
type outboxSink struct {
	v      *vertex
	outbox connectors.Outbox
	buf    *buffer
	next   func() int64
}

func (s *outboxSink) process(v *vertex, b *column.Batch, p pass) error {
	v.counted(b, p)
	entries, err := s.outbox.Stage(b, s.next)
	if err != nil {
		return v.fail(err)
	}
	s.buf.rows += b.Len()
	return s.add(entries)
}

func (s *outboxSink) finish(ctx context.Context) error {
	entries, err := s.outbox.Finish(ctx)
	if err != nil {
		return s.v.fail(err)
	}
	return s.add(entries)
}

func (s *outboxSink) add(entries [][]byte) error {
	for _, e := range entries {
		w := wrapEntry(s.v.spec.Path, e)
		s.buf.outbox = append(s.buf.outbox, w)
		s.buf.bytes += len(w)
	}
	return nil
}

// entryVersion is the first byte of an outbox entry (docs/formats/outbox-entry.md).
const entryVersion = 1

// wrapEntry says in front of a sink's entry whose it is: a fragment may have several sinks, and one outbox.
func wrapEntry(path string, entry []byte) []byte {
	dst := make([]byte, 0, 1+binary.MaxVarintLen32+len(path)+len(entry))
	dst = binary.AppendUvarint(append(dst, entryVersion), uint64(len(path)))
	return append(append(dst, path...), entry...)
}

func unwrapEntry(data []byte) (path string, entry []byte, err error) {
	if len(data) == 0 || data[0] != entryVersion {
		return "", nil, fmt.Errorf("read outbox entry of %d bytes: its version is not %d", len(data), entryVersion)
	}
	n, size := binary.Uvarint(data[1:])
	rest := data[1+max(size, 0):]
	if size <= 0 || n > uint64(len(rest)) {
		return "", nil, fmt.Errorf("read outbox entry of %d bytes: it ends in the name of its sink", len(data))
	}
	return string(rest[:n]), rest[n:], nil
}

// apply gives entries to their sinks, in order: runs of one sink's entries together.
func apply(ctx context.Context, sinks map[string]*outboxSink, entries []checkpoint.OutboxEntry) error {
	var path string
	var group [][]byte
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		s := sinks[path]
		if s == nil {
			return fmt.Errorf("apply outbox: %d entries belong to the sink %q, which the pipeline does not have any more; put it back until they are applied", len(group), path)
		}
		if err := s.outbox.Apply(ctx, group); err != nil {
			return fmt.Errorf("apply outbox: %w", s.v.fail(err))
		}
		group = group[:0]
		return nil
	}
	for _, e := range entries {
		p, entry, err := unwrapEntry(e.Value)
		if err != nil {
			return err
		}
		if p != path {
			if err := flush(); err != nil {
				return err
			}
			path = p
		}
		group = append(group, entry)
	}
	return flush()
}
