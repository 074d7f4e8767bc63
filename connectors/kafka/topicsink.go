package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// NewTopicSink writes rows to a topic that others made, after the commit that names them: each Apply is one transaction under the id, so a reader that
// reads committed sees all of it or nothing. Whoever is killed between that transaction and the next commit applies the entries again: at least once.
func NewTopicSink(c *Client, cfg TopicConfig, write physical.WriteConfig, in column.Schema, id string) (connectors.Outbox, error) {
	s := &topicSink{parts: map[int32]*outgoing{}, client: c, cfg: cfg, raw: write.Format == "raw", rows: codec.NewJSONEncoder(in)}
	for _, k := range cfg.Key {
		i := in.Index(k)
		if i < 0 {
			return nil, fmt.Errorf("the key %s of topic %s is not a column of the rows (%s)", k, cfg.Topic, strings.Join(in.Names(), ", "))
		}
		s.keys = append(s.keys, i)
	}
	s.producer = producer{client: c, id: id, timeout: 10 * time.Second}
	return s, nil
}

type topicSink struct {
	client   *Client
	cfg      TopicConfig
	raw      bool
	rows     *codec.JSONEncoder
	keys     []int
	producer producer
	ready    bool // the producer owns its id
	turn     int32
	key      []byte
	value    []byte
	size     int                 // of the last entry
	parts    map[int32]*outgoing // memory, by partition
}

// topicEntry is the first byte of an entry: a batch of rows, each {length of key, key, length of value, value, milliseconds}, all as varints.
const topicEntry = 1

// Stage encodes a batch as one entry.
func (s *topicSink) Stage(b *column.Batch, _ func() int64) ([][]byte, error) {
	entry := append(make([]byte, 0, s.size+s.size/8), topicEntry)
	b.Rows(func(row int) {
		if s.raw {
			s.value = append(s.value[:0], b.Cols[0].At(row)...)
		} else {
			s.value = s.rows.AppendRow(s.value[:0], b, row)
		}
		if len(s.keys) > 0 {
			s.key = codec.AppendKey(s.key[:0], b, row, s.keys)
		}
		entry = append(binary.AppendUvarint(entry, uint64(len(s.key))), s.key...)
		entry = append(binary.AppendUvarint(entry, uint64(len(s.value))), s.value...)
		entry = binary.AppendVarint(entry, timestamp(b.Times[row]))
	})
	if b.Len() == 0 {
		return nil, nil
	}
	s.size = len(entry)
	return [][]byte{entry}, nil
}

// timestamp of a record in milliseconds, rounded towards the past; -1 is Kafka's "none".
func timestamp(t column.Time) int64 {
	switch {
	case t == column.MinTime:
		return -1
	case t < 0 && t%1000 != 0:
		return t/1000 - 1
	}
	return t / 1000
}

// Finish implements connectors.Outbox: nothing is held back.
func (s *topicSink) Finish(context.Context) ([][]byte, error) { return nil, nil }

// Apply writes entries in one transaction.
func (s *topicSink) Apply(ctx context.Context, entries [][]byte) (err error) {
	defer func() {
		if err != nil {
			s.ready = false // initialising the id again aborts what is half written
		}
	}()
	parts, err := s.client.existing(ctx, s.cfg.Topic)
	if err != nil {
		return err
	}
	for _, o := range s.parts {
		o.records.Reset()
		o.sent, o.offsets = 0, o.offsets[:0]
	}
	for _, e := range entries {
		if err := s.spread(e, parts); err != nil {
			return fmt.Errorf("write to topic %s: %w", s.cfg.Topic, err)
		}
	}
	var list []*outgoing
	var places []place
	for p := range int32(parts) {
		if o := s.parts[p]; o != nil && o.records.Len() > 0 {
			list, places = append(list, o), append(places, o.place)
		}
	}
	if len(list) == 0 {
		return nil
	}
	if !s.ready {
		if err := s.producer.init(ctx); err != nil {
			return err
		}
		s.ready = true
	}
	if err := s.producer.begin(ctx, places); err != nil {
		return err
	}
	if err := s.producer.write(ctx, list); err != nil {
		return err
	}
	return s.producer.commit(ctx)
}

// spread puts the rows of an entry to the partitions of their keys; rows without keys stay together, and entries take turns.
func (s *topicSink) spread(entry []byte, parts int) error {
	if len(entry) == 0 || entry[0] != topicEntry {
		return fmt.Errorf("an entry of %d bytes is not of version %d", len(entry), topicEntry)
	}
	rest := entry[1:]
	part := s.turn % int32(parts)
	s.turn++
	for len(rest) > 0 {
		key, r, ok := cutBytes(rest)
		value, r, ok2 := cutBytes(r)
		millis, n := binary.Varint(r)
		if !ok || !ok2 || n <= 0 {
			return errors.New("an entry ends within a row")
		}
		rest = r[n:]
		if len(s.keys) > 0 {
			part = codec.Partition(key, parts)
		}
		o := s.parts[part]
		if o == nil {
			o = &outgoing{place: place{s.cfg.Topic, part}, records: &checkpoint.Records{}}
			s.parts[part] = o
		}
		o.records.Append(key, value, millis)
	}
	return nil
}

func cutBytes(b []byte) (value, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

// Close implements connectors.Outbox; the client stays the caller's.
func (s *topicSink) Close() error { return nil }
