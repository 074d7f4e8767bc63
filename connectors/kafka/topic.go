package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// TopicConfig names a topic that others made, for ReadFromKafka and WriteToKafka: no key, schema or watermark of it is Weir's.
type TopicConfig struct {
	Topic    string        `json:"topic"`
	Earliest bool          `json:"earliest,omitempty"` // begin with the oldest record, else with what comes next
	Stop     bool          `json:"stop,omitempty"`     // at the ends that the partitions had when they were listed
	For      time.Duration `json:"for,omitempty"`      // stop after so long; 0: never
	Key      []string      `json:"key,omitempty"`      // of written records, by which their partition is chosen
}

// bounds is where a split's reading begins and ends, found once, when the splits are listed.
type bounds struct {
	From int64 `json:"from"`
	End  int64 `json:"end"`
}

// Topic reads a topic that others fill. A split is a partition, a position the offset of the next record, a record's timestamp its event time. A
// schema of one string or bytes column named "payload" in the format raw takes whole values; otherwise a value is a JSON object.
func Topic(c *Client, cfg TopicConfig, read physical.ReadConfig) connectors.Source {
	return &topicSource{client: c, cfg: cfg, read: read}
}

type topicSource struct {
	client *Client
	cfg    TopicConfig
	read   physical.ReadConfig
	began  time.Time
}

// Splits finds the partitions and, once, where reading them begins and ends.
func (s *topicSource) Splits(ctx context.Context) ([]connectors.Split, error) {
	n, err := s.client.existing(ctx, s.cfg.Topic)
	if err != nil {
		return nil, err
	}
	out := make([]connectors.Split, n)
	for i := range out {
		b, err := s.bounds(ctx, int32(i))
		if err != nil {
			return nil, err
		}
		data, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("encode where partition %d begins: %w", i, err)
		}
		out[i] = connectors.Split{ID: strconv.Itoa(i), Data: data}
	}
	s.began = time.Now()
	return out, nil
}

// existing counts the partitions of a topic. One that is missing is told at once: nobody is about to make it.
func (c *Client) existing(ctx context.Context, topic string) (int, error) {
	ps, err := c.topic(ctx, topic)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return 0, fmt.Errorf("there is no topic %s at %s, or this user may not see it; nothing is read or written to until it is made", topic, c.bootstrap)
	}
	if err == nil {
		return len(ps), nil
	}
	return c.Partitions(ctx, topic) // what may pass is tried again
}

func (s *topicSource) bounds(ctx context.Context, p int32) (b bounds, err error) {
	b.End = math.MaxInt64
	if s.cfg.Stop {
		if b.End, err = s.client.Latest(ctx, s.cfg.Topic, p); err != nil {
			return b, err
		}
	}
	if s.cfg.Earliest {
		b.From, err = s.client.Earliest(ctx, s.cfg.Topic, p)
	} else {
		b.From, err = s.client.Latest(ctx, s.cfg.Topic, p)
	}
	return b, err
}

// Open implements connectors.Source.
func (s *topicSource) Open(_ context.Context, split connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	p, err := strconv.ParseInt(split.ID, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("topic %s: split %q is not a partition's number", s.cfg.Topic, split.ID)
	}
	var b bounds
	if err := json.Unmarshal(split.Data, &b); err != nil {
		return nil, fmt.Errorf("topic %s: read where partition %s begins: %w", s.cfg.Topic, split.ID, err)
	}
	r := &rowReader{tail: newTail(s.client, s.cfg.Topic, int32(p), max(from.Offset, b.From)), end: b.End}
	if s.read.Format == "raw" {
		r.raw = true
	} else {
		r.rows = codec.NewJSONDecoder(s.read.Schema)
	}
	if s.cfg.For > 0 {
		return &timedReader{r, s.began.Add(s.cfg.For)}, nil
	}
	return r, nil
}

// Close implements connectors.Source; the client stays the caller's.
func (s *topicSource) Close() error { return nil }

// timedReader ends at a time of day.
type timedReader struct {
	*rowReader
	until time.Time
}

func (r *timedReader) Read(ctx context.Context, b *column.Batch, limit int) (checkpoint.Position, error) {
	timed, cancel := context.WithDeadline(ctx, r.until)
	defer cancel()
	if timed.Err() == nil {
		pos, err := r.rowReader.Read(timed, b, limit)
		if err == nil || timed.Err() == nil || ctx.Err() != nil {
			return pos, err
		}
	}
	return r.rowReader.ended()
}
