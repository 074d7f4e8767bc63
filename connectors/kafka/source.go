package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/segmentio/kafka-go"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// Channel reads a channel's topic: a split is a partition ("0" … "n-1"), a position is the offset of the next record, a row is a JSON object,
// and a record's timestamp is its event time. The client stays the caller's.
func Channel(c *Client, ch physical.Channel) connectors.Source {
	return &channelSource{client: c, channel: ch}
}

type channelSource struct {
	client  *Client
	channel physical.Channel
}

func (s *channelSource) Splits(ctx context.Context) ([]connectors.Split, error) {
	n, err := s.client.Partitions(ctx, s.channel.Kafka.Topic)
	if err != nil {
		return nil, fmt.Errorf("list the partitions of channel %s: %w", s.channel.Name, err)
	}
	if want := s.channel.Kafka.Partitions; want > 0 && n != want {
		return nil, fmt.Errorf("channel %s: topic %s has %d partitions, and the pipeline was compiled for %d: the keys would go elsewhere",
			s.channel.Name, s.channel.Kafka.Topic, n, want)
	}
	out := make([]connectors.Split, n)
	for i := range out {
		out[i].ID = strconv.Itoa(i)
	}
	return out, nil
}

func (s *channelSource) Open(ctx context.Context, split connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	p, err := strconv.ParseInt(split.ID, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("channel %s: split %q is not a partition's number", s.channel.Name, split.ID)
	}
	t, err := openTail(ctx, s.client, s.channel.Kafka.Topic, int32(p), from.Offset)
	if err != nil {
		return nil, fmt.Errorf("channel %s: %w", s.channel.Name, err)
	}
	return &rowReader{tail: t, rows: codec.NewJSONDecoder(s.channel.Schema), end: math.MaxInt64}, nil
}

// End is a partition's last stable offset: a transaction that is open is not there yet. It lets the engine say how many records wait.
func (s *channelSource) End(ctx context.Context, split connectors.Split) (int64, error) {
	p, err := strconv.ParseInt(split.ID, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("channel %s: split %q is not a partition's number", s.channel.Name, split.ID)
	}
	return s.client.Latest(ctx, s.channel.Kafka.Topic, int32(p))
}

func (s *channelSource) Close() error { return nil }

// openTail starts at from. A place that is no longer kept is refused: jumping over it would lose records (I1). That holds for 0 too: a channel is
// made with its readers, and begins at 0.
func openTail(ctx context.Context, c *Client, topic string, p int32, from int64) (*tail, error) {
	if from == 0 {
		first, err := c.Earliest(ctx, topic, p)
		if err != nil {
			return nil, err
		}
		if first > 0 {
			return nil, gone(fmt.Errorf("open %s/%d: %w", topic, p, &goneError{offset: 0, start: first, end: first, err: kafka.OffsetOutOfRange}))
		}
	}
	return newTail(c, topic, p, from), nil
}

// rowReader implements connectors.Reader.
type rowReader struct {
	tail *tail
	rows *codec.JSONDecoder
	raw  bool  // the value is the row's only column
	end  int64 // no record at or after it is given out; MaxInt64 of a channel
}

// Read blocks until there is a row or the place moved over control records. An error leaves the rows before it for the call that got them: a bad
// record is reported by the call that would begin with it.
func (r *rowReader) Read(ctx context.Context, b *column.Batch, limit int) (checkpoint.Position, error) {
	from, have := r.tail.next, 0
	if from >= r.end {
		return r.ended()
	}
	for have < limit && r.tail.next < r.end {
		if !r.tail.current() {
			ok, err := r.tail.load()
			if err != nil {
				return r.stop(have, from, err)
			}
			if !ok && (have > 0 || r.tail.next > from) {
				break
			}
			if !ok {
				if err := r.tail.fill(ctx); err != nil {
					return r.stop(have, from, gone(err))
				}
				continue
			}
		}
		n, err := r.take(b, limit-have)
		if have += n; err != nil {
			return r.stop(have, from, err)
		}
		if r.tail.packed {
			break // the rows refer to the buffer that the next compressed batch overwrites
		}
	}
	return checkpoint.Position{Offset: r.tail.next}, nil
}

// ended is the answer at the end.
func (r *rowReader) ended() (checkpoint.Position, error) {
	return checkpoint.Position{Offset: r.tail.next, Ended: true}, io.EOF
}

// stop ends a Read by an error, or by the rows before it.
func (r *rowReader) stop(have int, from int64, err error) (checkpoint.Position, error) {
	if have > 0 {
		return checkpoint.Position{Offset: r.tail.next}, nil
	}
	return checkpoint.Position{Offset: from}, err
}

// take decodes at most limit records of the current batch.
func (r *rowReader) take(b *column.Batch, limit int) (int, error) {
	c, first := &r.tail.cols, r.tail.at
	end := min(c.Len(), first+limit)
	if c.Offsets[end-1] >= r.end {
		n, _ := slices.BinarySearch(c.Offsets[first:end], r.end)
		end = first + n
	}
	for i := first; i < end; i++ {
		if r.raw {
			b.Cols[0].AppendString(c.Buf[c.Values[i].Off : c.Values[i].Off+c.Values[i].Len])
			b.N++
		} else if err := r.rows.DecodeAt(b, c.Buf, c.Values[i]); err != nil {
			offset := c.Offsets[i]
			r.tail.took(i)
			return i - first, r.tail.fail(fmt.Sprintf("decode the record at offset %d of", offset), malformed{err})
		}
		b.AppendTime(eventTime(c.Times[i]))
	}
	r.tail.took(end)
	return end - first, nil
}

// eventTime of a record's timestamp, milliseconds; -1 is Kafka's "none", with which rows that have no event time are written.
func eventTime(millis int64) column.Time {
	if millis == -1 {
		return column.MinTime
	}
	return millis * 1000
}

func (r *rowReader) Close() error { return nil }

// gone adds what it means where the place is not kept.
func gone(err error) error {
	var g *goneError
	switch {
	case !errors.As(err, &g):
		return err
	case g.offset > g.end:
		return fmt.Errorf("%w; the partition lost records that were read already (an unclean election, or a power cut with one replica): `weir rerun` starts again", err)
	}
	return fmt.Errorf("%w; records were deleted before they were read: `weir rerun` starts again from what is kept", err)
}
