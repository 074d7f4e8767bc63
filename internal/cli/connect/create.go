package connect

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

// create is Beam YAML's Create: rows that stand in the pipeline itself. Their event time is minus infinity.
type create struct {
	schema column.Schema
	rows   []json.RawMessage
}

func newCreate(cfg physical.ReadConfig) (connectors.Source, error) {
	var c struct {
		Elements []json.RawMessage `json:"elements"`
	}
	if err := json.Unmarshal(cfg.Config, &c); err != nil {
		return nil, fmt.Errorf("read the elements of Create: %w", err)
	}
	return &create{schema: cfg.Schema, rows: c.Elements}, nil
}

func (c *create) Splits(context.Context) ([]connectors.Split, error) {
	return []connectors.Split{{ID: "elements"}}, nil
}

func (c *create) Open(_ context.Context, _ connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	return &createReader{create: c, at: from.Offset, decode: codec.NewJSONDecoder(c.schema)}, nil
}

func (c *create) Close() error { return nil }

type createReader struct {
	*create
	at     int64
	decode *codec.JSONDecoder
}

func (r *createReader) Read(_ context.Context, b *column.Batch, max int) (checkpoint.Position, error) {
	if r.at >= int64(len(r.rows)) {
		return checkpoint.Position{Offset: r.at, Ended: true}, io.EOF
	}
	for n := 0; n < max && r.at < int64(len(r.rows)); n++ {
		if err := r.decode.Decode(b, r.rows[r.at]); err != nil {
			return checkpoint.Position{Offset: r.at}, fmt.Errorf("element %d of Create: %w", r.at+1, err)
		}
		b.AppendTime(column.MinTime)
		r.at++
	}
	return checkpoint.Position{Offset: r.at}, nil
}
