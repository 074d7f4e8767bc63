package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// createSource gives the rows that stand in the pipeline itself (Beam YAML's Create): one split, whose position is the index of a row. It needs nothing
// outside, so the engine has it and Connections are not asked.
type createSource struct {
	schema column.Schema
	rows   []json.RawMessage
}

// NewCreateSource opens the create connector: Config is {"elements": [row, …]}, each a JSON object.
func NewCreateSource(cfg physical.ReadConfig) (connectors.Source, error) {
	var c struct {
		Elements []json.RawMessage `json:"elements"`
	}
	if err := json.Unmarshal(cfg.Config, &c); err != nil {
		return nil, fmt.Errorf("read the elements: %w", err)
	}
	return &createSource{schema: cfg.Schema, rows: c.Elements}, nil
}

// Splits implements connectors.Source.
func (s *createSource) Splits(context.Context) ([]connectors.Split, error) {
	return []connectors.Split{{ID: "elements"}}, nil
}

// Open implements connectors.Source.
func (s *createSource) Open(_ context.Context, _ connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	if from.Offset < 0 || from.Offset > int64(len(s.rows)) {
		return nil, fmt.Errorf("position %d is not within %d elements", from.Offset, len(s.rows))
	}
	return &createReader{rows: s.rows, next: int(from.Offset), decoder: codec.NewJSONDecoder(s.schema)}, nil
}

// Close implements connectors.Source.
func (s *createSource) Close() error { return nil }

type createReader struct {
	rows    []json.RawMessage
	next    int
	decoder *codec.JSONDecoder
}

// Read implements connectors.Reader.
func (r *createReader) Read(ctx context.Context, b *column.Batch, limit int) (checkpoint.Position, error) {
	if ctx.Err() != nil {
		return checkpoint.Position{}, context.Cause(ctx)
	}
	if r.next == len(r.rows) {
		return checkpoint.Position{Offset: int64(r.next), Ended: true}, io.EOF
	}
	for ; limit > 0 && r.next < len(r.rows); limit-- {
		if err := r.decoder.Decode(b, r.rows[r.next]); err != nil {
			return checkpoint.Position{}, fmt.Errorf("element %d: %w", r.next+1, err)
		}
		r.next++
	}
	return checkpoint.Position{Offset: int64(r.next)}, nil
}

// Close implements connectors.Reader.
func (r *createReader) Close() error { return nil }
