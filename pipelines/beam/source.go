package beam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

// splitsFn emits the splits of a source, which were listed before.
type splitsFn struct{ Splits []byte }

// ProcessElement is called by Beam once.
func (f *splitsFn) ProcessElement(_ []byte, emit func([]byte)) error {
	var splits []json.RawMessage
	if err := json.Unmarshal(f.Splits, &splits); err != nil {
		return fmt.Errorf("read the splits: %w", err)
	}
	for _, s := range splits {
		emit(s)
	}
	return nil
}

// readFn reads splits of the source at Node into batches.
type readFn struct {
	Node    string
	Readers int
}

// ProcessElement is called by Beam for each split.
func (f *readFn) ProcessElement(ctx context.Context, element []byte, emit func([]byte)) error {
	var sp connectors.Split
	if err := json.Unmarshal(element, &sp); err != nil {
		return fmt.Errorf("read a split: %w", err)
	}
	src, err := running.source(f.Node)
	if err != nil {
		return err
	}
	r, err := src.source.Open(ctx, sp, checkpoint.Position{})
	if err != nil {
		return fmt.Errorf("%s: open split %s: %w", f.Node, sp.ID, err)
	}
	err = f.readAll(ctx, r, column.NewBatch(&src.schema, batchRows), emit)
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("%s: read split %s: %w", f.Node, sp.ID, err)
	}
	return nil
}

func (f *readFn) readAll(ctx context.Context, r connectors.Reader, b *column.Batch, emit func([]byte)) error {
	for {
		b.Reset()
		_, err := r.Read(ctx, b, batchRows)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for len(b.Times) < b.N {
			b.Times = append(b.Times, column.MinTime)
		}
		if b.N > 0 {
			count(ctx, read, b.N)
			passed(ctx, 0, b.N, f.Readers)
			emit(encode(b, 0))
		} else if err != nil {
			return nil //nolint:nilerr // io.EOF
		}
	}
}
