package connectortest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

// Row is one row of Schema.
type Row struct {
	ID   int64
	Text string
}

func (r Row) String() string { return fmt.Sprintf("%d %.20q", r.ID, r.Text) }

// Schema is that of all rows of the suite.
var Schema = column.Schema{Fields: []column.Field{{Name: "id", Kind: column.Int64}, {Name: "text", Kind: column.String}}}

// Rows makes n rows from an id on, whose texts need escaping in every format.
func Rows(first int64, n int) []Row {
	out := make([]Row, n)
	for i := range out {
		id := first + int64(i)
		out[i] = Row{ID: id, Text: fmt.Sprintf("row %d, \"quoted\" – ü\\n", id)}
	}
	return out
}

// Batch holds rows, with the id as microseconds of event time.
func Batch(rows []Row) *column.Batch {
	b := column.NewBatch(&Schema, len(rows))
	for _, r := range rows {
		b.Cols[0].AppendInt(r.ID)
		b.Cols[1].AppendString([]byte(r.Text))
		b.AppendTime(r.ID)
		b.N++
	}
	return b
}

// JSON is a row as a message of JSON has it.
func (r Row) JSON() []byte {
	data, err := json.Marshal(map[string]any{"id": r.ID, "text": r.Text})
	if err != nil {
		panic(err) // an integer and a string
	}
	return data
}

// RowsOf copies the rows of a batch, of numbers alone too.
func RowsOf(b *column.Batch) []Row {
	var out []Row
	b.Rows(func(i int) {
		r := Row{ID: b.Cols[0].Ints[i]}
		if len(b.Cols) > 1 {
			r.Text = string(b.Cols[1].At(i))
		}
		out = append(out, r)
	})
	return out
}

// same says how two multisets of rows differ; ordered asks for one order.
func same(got, want []Row, ordered bool) error {
	if !ordered {
		got, want = slices.Clone(got), slices.Clone(want)
		by := func(a, b Row) int { return cmp.Or(cmp.Compare(a.ID, b.ID), strings.Compare(a.Text, b.Text)) }
		slices.SortFunc(got, by)
		slices.SortFunc(want, by)
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("row %d of %d is %v and should be %v (of %d)", i, len(got), got[i], want[i], len(want))
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d rows, and %d were written", len(got), len(want))
	}
	return nil
}

// stand is where a reader was after a Read: so many rows of the split were given out.
type stand struct {
	rows     int
	position checkpoint.Position
}

// stored is a position as the progress keeps it.
func stored(p checkpoint.Position) (checkpoint.Position, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return p, err
	}
	var out checkpoint.Position
	return out, json.Unmarshal(data, &out)
}

// readOn reads from an open reader until it has n rows, or to the end where n is negative. size gives the most rows of the next Read. The
// positions after each Read are returned with the rows.
func (s Source) readOn(ctx context.Context, r connectors.Reader, n int, size func() int) (rows []Row, stands []stand, err error) {
	b := s.batch()
	for n < 0 || len(rows) < n {
		b.Reset()
		limit := size()
		if n >= 0 {
			limit = min(limit, n-len(rows))
		}
		at, err := r.Read(ctx, b, limit)
		if errors.Is(err, io.EOF) && b.N == 0 {
			at.Ended = true
			return rows, append(stands, stand{len(rows), at}), nil
		}
		if err != nil {
			return rows, stands, err
		}
		if b.N > limit {
			return rows, stands, fmt.Errorf("a Read of at most %d rows brought %d", limit, b.N)
		}
		if at, err = stored(at); err != nil {
			return rows, stands, err
		}
		rows, stands = append(rows, RowsOf(b)...), append(stands, stand{len(rows), at})
		stands[len(stands)-1].rows = len(rows)
	}
	return rows, stands, nil
}

// within gives a claim's part a limit, so that what blocks for ever is an error and not the end of the test binary.
func within(ctx context.Context, limit time.Duration, what string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s took longer than %s", what, limit))
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("%s panicked: %v", what, p)
			}
		}()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(limit + beyond):
		return fmt.Errorf("%s did not return %s after its context had ended", what, beyond)
	}
}

// errNotDeclared: the connector does not promise what the claim is about.
var errNotDeclared = errors.New("the connector does not declare it")

// report skips a claim that was not declared, so that nobody takes it for one that is kept.
func report(t *testing.T, err error) {
	t.Helper()
	switch {
	case errors.Is(err, errNotDeclared):
		t.Skip(err)
	case err != nil:
		t.Error(err)
	}
}

// The limit of one claim, and how long it may go on after that. The suite's own tests lower them.
var (
	limit  = 2 * time.Minute
	beyond = 5 * time.Second
)
