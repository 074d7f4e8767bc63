package cassandra

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/gocql/gocql"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

const (
	maxBatchRows  = 100
	maxBatchBytes = 64 << 10
	inFlight      = 16 // batches of one slot; 12 slots then hold at most 192 requests
)

// Outbox is the sink of one slot into one table.
type Outbox struct {
	session *Session
	table   *table
	insert  string
}

// NewOutbox makes a sink of rows of a schema into a channel's table, whose key must be among the rows' fields. It does not close the session.
func NewOutbox(s *Session, ch physical.Channel, in column.Schema) (connectors.Outbox, error) {
	t, err := newTable(ch, in)
	if err != nil {
		return nil, fmt.Errorf("open cassandra sink: %w", err)
	}
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(t.fields)), ", ")
	return &Outbox{session: s, table: t, insert: fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) USING TIMESTAMP ?", t.name, t.columns(), marks)}, nil
}

// Stage encodes the rows with their final write timestamps. A row that the table cannot hold is an error that names it.
func (o *Outbox) Stage(b *column.Batch, next func() int64) ([][]byte, error) {
	var entries [][]byte
	entry := o.table.header()
	var failed error
	b.Rows(func(row int) {
		if failed != nil {
			return
		}
		if entry, failed = o.table.appendRow(entry, b, row, next()); failed == nil && len(entry) >= maxEntry {
			entries, entry = append(entries, entry), o.table.header()
		}
	})
	if failed != nil {
		return nil, fmt.Errorf("stage rows for cassandra table %s: %w", o.table.plain, failed)
	}
	if len(entry) > headerSize {
		entries = append(entries, entry)
	}
	return entries, nil
}

// Finish has nothing: no row is held back.
func (o *Outbox) Finish(context.Context) ([][]byte, error) { return nil, nil }

// Close ends nothing: no work goes on after Apply returned.
func (o *Outbox) Close() error { return nil }

// Apply writes all rows and returns when LOCAL_QUORUM has acknowledged each, or with the first error. What was written by then is written again
// by the next Apply of the same entries, with the same timestamps.
func (o *Outbox) Apply(ctx context.Context, entries [][]byte) error {
	groups, err := o.groups(entries)
	if err != nil {
		return fmt.Errorf("apply outbox entry to cassandra table %s: %w", o.table.plain, err)
	}
	if len(groups) == 0 {
		return nil
	}
	if err := o.write(ctx, groups); err != nil {
		return fmt.Errorf("write to cassandra table %s at %v: %w", o.table.plain, o.session.servers, err)
	}
	return nil
}

// groups are rows of one partition each, as many as a batch may hold, in the order of their first rows.
func (o *Outbox) groups(entries [][]byte) ([][]stagedRow, error) {
	var groups [][]stagedRow
	type open struct{ at, bytes int }
	current := map[string]open{}
	for _, entry := range entries {
		err := o.table.decode(entry, func(row stagedRow) {
			g, ok := current[string(row.key)]
			if !ok || len(groups[g.at]) == maxBatchRows || g.bytes+row.size > maxBatchBytes {
				g = open{at: len(groups)}
				groups = append(groups, nil)
			}
			groups[g.at] = append(groups[g.at], row)
			g.bytes += row.size
			current[string(row.key)] = g
		})
		if err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// write has inFlight workers; it returns when all are done.
func (o *Outbox) write(ctx context.Context, groups [][]stagedRow) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan []stagedRow)
	var workers sync.WaitGroup
	for range min(inFlight, len(groups)) {
		workers.Go(func() {
			for g := range work {
				if err := o.session.retry(ctx, func() error { return o.writeGroup(ctx, g) }); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, g := range groups {
		if ctx.Err() != nil {
			break
		}
		work <- g
	}
	close(work)
	workers.Wait()
	return context.Cause(ctx)
}

func (o *Outbox) writeGroup(ctx context.Context, rows []stagedRow) error {
	if len(rows) == 1 {
		// Ours is the only retry: gocql's default is none.
		return o.explain(o.session.cql.Query(o.insert, arguments(rows[0])...).WithContext(ctx).Idempotent(true).Exec())
	}
	b := o.session.cql.NewBatch(gocql.UnloggedBatch).WithContext(ctx)
	b.Entries = make([]gocql.BatchEntry, 0, len(rows))
	for _, row := range rows {
		b.Query(o.insert, arguments(row)...)
	}
	return o.explain(o.session.cql.ExecuteBatch(b))
}

// arguments point into the row, so that none is copied to an interface.
func arguments(row stagedRow) []any {
	args := make([]any, 0, len(row.values)+1)
	for i := range row.values {
		args = append(args, &row.values[i])
	}
	return append(args, row.written)
}

// MarshalCQL is the value as it stands in the entry, once the column's type was compared.
func (v *value) MarshalCQL(info gocql.TypeInfo) ([]byte, error) {
	if err := checkType(*v.field, info); err != nil {
		return nil, err
	}
	if v.null {
		return nil, nil
	}
	return v.bytes, nil
}

// explain adds what to do where the table is not there.
func (o *Outbox) explain(err error) error {
	var refused gocql.RequestError
	if errors.As(err, &refused) && refused.Code() == gocql.ErrCodeInvalid {
		return fmt.Errorf("%w; compare the table with the channel's fields (%s)", err, strings.Join(column.Schema{Fields: o.table.fields}.Names(), ", "))
	}
	return err
}
