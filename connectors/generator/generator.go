// Package generator is a source without an outside: a sequence of integers, as Beam's GenerateSequence. Examples, load tests and benchmarks take
// their rows from it by computing fields from the number.
//
// It opens nothing, knows no clock (the pace of a source is the engine's) and gives the same rows again from any position.
//
//	src, err := generator.New(cfg)                  // cfg.Config: {"start": 0, "end": 1000}
//	splits, _ := src.Splits(ctx)                    // one: "sequence"
//	r, _ := src.Open(ctx, splits[0], checkpoint.Position{Offset: 10}) // goes on with the eleventh number
package generator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// Config is the connector's own part of a ReadConfig.
type Config struct {
	Start int64  `json:"start"`         // the first number
	End   *int64 `json:"end,omitempty"` // the one after the last; nil: there is none
}

// Field is the name of the one column.
const Field = "value"

type source struct{ start, count int64 }

// New opens the generator connector. The schema must be the one integer column that its config's declaration gives it.
func New(cfg physical.ReadConfig) (connectors.Source, error) {
	var c Config
	if err := json.Unmarshal(cfg.Config, &c); err != nil {
		return nil, fmt.Errorf("read the sequence's config: %w", err)
	}
	if f := cfg.Schema.Fields; len(f) != 1 || f[0].Kind != column.Int64 {
		return nil, fmt.Errorf("a sequence has one integer column, and the schema has %v", cfg.Schema.Names())
	}
	end := int64(math.MaxInt64)
	if c.End != nil {
		end = *c.End
	}
	if c.Start < 0 || end < c.Start {
		return nil, fmt.Errorf("a sequence from %d to %d is none", c.Start, end)
	}
	return source{c.Start, end - c.Start}, nil
}

// Splits implements connectors.Source.
func (s source) Splits(context.Context) ([]connectors.Split, error) {
	return []connectors.Split{{ID: "sequence"}}, nil
}

// Open implements connectors.Source.
func (s source) Open(_ context.Context, _ connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	if from.Offset < 0 || from.Offset > s.count {
		return nil, fmt.Errorf("position %d is not within a sequence of %d numbers", from.Offset, s.count)
	}
	return &reader{source: s, next: from.Offset}, nil
}

// Close implements connectors.Source.
func (s source) Close() error { return nil }

type reader struct {
	source
	next int64 // numbers given out
}

// Read implements connectors.Reader.
func (r *reader) Read(ctx context.Context, b *column.Batch, limit int) (checkpoint.Position, error) {
	if ctx.Err() != nil {
		return checkpoint.Position{}, context.Cause(ctx)
	}
	if r.next == r.count {
		return checkpoint.Position{Offset: r.next, Ended: true}, io.EOF
	}
	n := min(int64(limit), r.count-r.next)
	for i := range n {
		b.Cols[0].AppendInt(r.start + r.next + i)
	}
	b.N += int(n)
	r.next += n
	return checkpoint.Position{Offset: r.next}, nil
}

// Close implements connectors.Reader.
func (r *reader) Close() error { return nil }
