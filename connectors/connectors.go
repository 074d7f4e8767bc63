// Package connectors holds the words by which the engine speaks to a technology: sources cut into splits, readers that fill batches, sinks
// that act after a commit, and watermarks that cross a channel. One folder below is one technology; its config constructs it.
//
// Nothing here opens anything.
//
//	splits, _ := src.Splits(ctx)
//	r, _ := src.Open(ctx, splits[0], checkpoint.Position{})
//	pos, err := r.Read(ctx, batch, 1024) // io.EOF: the split has ended
package connectors

import (
	"context"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

// Split is a unit of a source's input: a topic partition, a token range, a file. IDs are stable: positions belong to them.
type Split struct {
	ID   string `json:"id"`
	Data []byte `json:"data,omitempty"` // the connector's own
}

// Source lists and opens splits.
type Source interface {
	// Splits lists the input in a stable order. For a bounded source it is called once per run and stored (C8).
	Splits(ctx context.Context) ([]Split, error)
	// Open starts reading after from; the zero position is the beginning of the split.
	Open(ctx context.Context, s Split, from checkpoint.Position) (Reader, error)
	Close() error
}

// Reader reads one split. It is used by one goroutine.
type Reader interface {
	// Read appends at most max rows to b, whose schema is the source's, and returns the position after them. It blocks until there is a row, the
	// context ends, or the split does (io.EOF, with no rows). A reader that fetched control records only may return no rows and a new position.
	// The batch may refer to the reader's buffer until the next Read.
	Read(ctx context.Context, b *column.Batch, max int) (checkpoint.Position, error)
	Close() error
}

// Outbox is a sink that cannot join the slot's transaction: its rows are staged into the commit and applied afterwards, again after a takeover.
// It is used by one goroutine.
type Outbox interface {
	// Stage turns rows into outbox entries. next gives strictly increasing write timestamps in microseconds.
	Stage(b *column.Batch, next func() int64) ([][]byte, error)
	// Finish is called once, at the end of a bounded input, before the last commit: what was held back becomes entries.
	Finish(ctx context.Context) ([][]byte, error)
	// Apply makes entries visible outside, in order. Applying one twice changes nothing.
	Apply(ctx context.Context, entries [][]byte) error
	Close() error
}

// WatermarkReader follows a channel's watermark topic.
type WatermarkReader interface {
	// Poll blocks until there is something after the reader's place, or the context ends, and returns it with the next place.
	Poll(ctx context.Context) (published []checkpoint.Published, next int64, err error)
	Close() error
}
