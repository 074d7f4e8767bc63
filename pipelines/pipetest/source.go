package pipetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// RowSource is a bounded source that gives the same rows each time: row i belongs to split i mod splits.
type RowSource struct {
	schema column.Schema
	splits int
	rows   [][]any
}

// Rows makes a source of rows whose values are nil, bool, int, int64, float64 or string, in the order of the schema.
func Rows(schema column.Schema, splits int, rows [][]any) *RowSource {
	return &RowSource{schema: schema, splits: splits, rows: rows}
}

// Splits implements connectors.Source.
func (s *RowSource) Splits(context.Context) ([]connectors.Split, error) {
	var out []connectors.Split
	for i := range s.splits {
		out = append(out, connectors.Split{ID: "part-" + strconv.Itoa(i)})
	}
	return out, nil
}

// Open implements connectors.Source.
func (s *RowSource) Open(_ context.Context, sp connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	i, err := strconv.Atoi(sp.ID[len("part-"):])
	if err != nil {
		return nil, fmt.Errorf("open split %s: %w", sp.ID, err)
	}
	return &rowReader{source: s, next: i + int(from.Offset)*s.splits, offset: from.Offset}, nil
}

// Close implements connectors.Source.
func (s *RowSource) Close() error { return nil }

type rowReader struct {
	source *RowSource
	next   int
	offset int64
}

// Read implements connectors.Reader.
func (r *rowReader) Read(ctx context.Context, b *column.Batch, limit int) (checkpoint.Position, error) {
	if ctx.Err() != nil {
		return checkpoint.Position{}, context.Cause(ctx)
	}
	if r.next >= len(r.source.rows) {
		return checkpoint.Position{Offset: r.offset, Ended: true}, io.EOF
	}
	for ; limit > 0 && r.next < len(r.source.rows); limit-- {
		for i, v := range r.source.rows[r.next] {
			if err := appendValue(&b.Cols[i], v); err != nil {
				return checkpoint.Position{}, err
			}
		}
		b.AppendTime(column.MinTime)
		b.N++
		r.next += r.source.splits
		r.offset++
	}
	return checkpoint.Position{Offset: r.offset}, nil
}

// Close implements connectors.Reader.
func (r *rowReader) Close() error { return nil }

func appendValue(c *column.Column, v any) error {
	switch v := v.(type) {
	case nil:
		c.AppendNull()
	case bool:
		c.AppendBool(v)
	case int:
		c.AppendInt(int64(v))
	case int64:
		c.AppendInt(v)
	case float64:
		c.AppendFloat(v)
	case string:
		c.AppendString([]byte(v))
	default:
		return fmt.Errorf("a value of type %T has no column", v)
	}
	return nil
}

// topicSource reads a Kafka channel.
type topicSource struct {
	world  *World
	kafka  physical.KafkaChannel
	schema column.Schema
}

// Splits implements connectors.Source.
func (s *topicSource) Splits(context.Context) ([]connectors.Split, error) {
	var out []connectors.Split
	for p := range s.kafka.Partitions {
		out = append(out, connectors.Split{ID: s.kafka.Topic + "/" + strconv.Itoa(p)})
	}
	return out, nil
}

// Open implements connectors.Source.
func (s *topicSource) Open(_ context.Context, sp connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	p, err := strconv.Atoi(sp.ID[len(s.kafka.Topic)+1:])
	if err != nil {
		return nil, fmt.Errorf("open split %s: %w", sp.ID, err)
	}
	return &topicReader{source: s, partition: int32(p), next: from.Offset}, nil
}

// End is the place behind a partition's last record.
func (s *topicSource) End(_ context.Context, sp connectors.Split) (int64, error) {
	p, err := strconv.Atoi(sp.ID[len(s.kafka.Topic)+1:])
	if err != nil {
		return 0, fmt.Errorf("find the end of split %s: %w", sp.ID, err)
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return int64(len(s.world.topics[s.kafka.Topic][int32(p)])), nil
}

// Close implements connectors.Source.
func (s *topicSource) Close() error { return nil }

type topicReader struct {
	source    *topicSource
	partition int32
	next      int64
}

// Read implements connectors.Reader.
func (r *topicReader) Read(ctx context.Context, b *column.Batch, limit int) (checkpoint.Position, error) {
	w := r.source.world
	for {
		w.mu.Lock()
		all, wait := w.topics[r.source.kafka.Topic][r.partition], w.changed
		w.mu.Unlock()
		if int(r.next) < len(all) {
			recs := all[r.next:]
			recs = recs[:min(limit, len(recs))]
			for _, rec := range recs {
				if err := decode(b, r.source.schema, rec); err != nil {
					return checkpoint.Position{}, err
				}
			}
			r.next += int64(len(recs))
			return checkpoint.Position{Offset: r.next}, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return checkpoint.Position{}, context.Cause(ctx)
		}
	}
}

// Close implements connectors.Reader.
func (r *topicReader) Close() error { return nil }

// decode reads a row of JSON with the standard library, so that the test's reader is not the engine's.
func decode(b *column.Batch, schema column.Schema, rec record) error {
	if err := decodeRow(b, schema, rec.value); err != nil {
		return err
	}
	b.AppendTime(rec.millis * 1000)
	b.N++
	return nil
}

func decodeRow(b *column.Batch, schema column.Schema, data []byte) error {
	row := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&row); err != nil {
		return fmt.Errorf("decode %q: %w", data, err)
	}
	for i, f := range schema.Fields {
		v, err := fromJSON(row[f.Name], f.Kind)
		if err != nil {
			return fmt.Errorf("decode %q: field %s: %w", data, f.Name, err)
		}
		if err := appendValue(&b.Cols[i], v); err != nil {
			return err
		}
	}
	return nil
}

func fromJSON(v any, k column.Kind) (any, error) {
	switch x := v.(type) {
	case json.Number:
		if k == column.Float64 {
			return x.Float64()
		}
		return x.Int64()
	case string:
		if k == column.Timestamp {
			t, err := time.Parse(time.RFC3339Nano, x)
			return t.UnixMicro(), err
		}
	}
	return v, nil
}
