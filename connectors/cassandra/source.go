package cassandra

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"github.com/gocql/gocql"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

const (
	// MaxSplits is into how many ranges the ring is cut.
	MaxSplits = 12
	pageSize  = 5000 // rows
)

// tokenRange holds the partitions whose token is in (After, To].
type tokenRange struct {
	After int64 `json:"after"`
	To    int64 `json:"to"`
}

// Source reads a table whole, at LOCAL_QUORUM.
type Source struct {
	session *Session
	table   *table
	query   string
}

// NewSource makes a source of a channel's table. Rows that are written while it reads may be seen or not. It does not close the session.
func NewSource(s *Session, ch physical.Channel) (connectors.Source, error) {
	t, err := newTable(ch, ch.Schema)
	if err != nil {
		return nil, fmt.Errorf("open cassandra source: %w", err)
	}
	token := "token(" + list(t.key) + ")"
	return &Source{session: s, table: t, query: fmt.Sprintf("SELECT %s FROM %s WHERE %s > ? AND %s <= ?", t.columns(), t.name, token, token)}, nil
}

// Splits are MaxSplits equal ranges of the Murmur3 ring. A partition lies whole in one.
func (s *Source) Splits(context.Context) ([]connectors.Split, error) {
	var out []connectors.Split
	for i, r := range ranges(MaxSplits) {
		data, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("list token ranges: %w", err)
		}
		out = append(out, connectors.Split{ID: fmt.Sprintf("tokens-%02d-of-%02d", i, MaxSplits), Data: data})
	}
	return out, nil
}

// ranges cut the ring into n. Its first token, -2^63, is no partition's: the partitioner maps it to the last.
func ranges(n int) []tokenRange {
	out := make([]tokenRange, n)
	for i := range out {
		out[i] = tokenRange{After: cut(i, n), To: cut(i+1, n)}
	}
	return out
}

// cut is -2^63 + i/n of the ring.
func cut(i, n int) int64 {
	if i == n {
		return math.MaxInt64
	}
	q, _ := bits.Div64(uint64(i), 0, uint64(n)) // i * 2^64 / n
	return int64(q ^ 1<<63)
}

// Open starts after from. State is the driver's paging state of the page that was being read, Offset how many of its rows were.
func (s *Source) Open(_ context.Context, split connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	r := &reader{source: s, split: split.ID, ended: from.Ended, offset: from.Offset}
	if err := json.Unmarshal(split.Data, &r.tokens); err != nil {
		return nil, fmt.Errorf("open cassandra split %s: %w", split.ID, err)
	}
	var err error
	if r.state, err = base64.StdEncoding.DecodeString(from.State); err != nil {
		return nil, fmt.Errorf("open cassandra split %s: read paging state: %w", split.ID, err)
	}
	r.cells = make([]cell, len(s.table.fields))
	for i := range r.cells {
		r.cells[i].field = &s.table.fields[i]
		r.into = append(r.into, &r.cells[i])
	}
	return r, nil
}

// Close releases nothing: the session is the caller's.
func (s *Source) Close() error { return nil }

// reader reads one range page by page.
type reader struct {
	source *Source
	split  string
	tokens tokenRange
	page   *gocql.Iter // nil between pages
	state  []byte      // of the page that is read, or comes next
	offset int64       // rows of that page that were read
	ended  bool
	cells  []cell
	into   []any
}

// Read appends the rest of a page, or max rows of it. Values are copied.
func (r *reader) Read(ctx context.Context, b *column.Batch, max int) (checkpoint.Position, error) {
	if r.page == nil && !r.ended {
		if err := r.source.session.retry(ctx, func() error { return r.fetch(ctx) }); err != nil {
			return r.position(), r.failed(err)
		}
	}
	if r.ended {
		return r.position(), io.EOF
	}
	for i := range r.cells {
		r.cells[i].to = &b.Cols[i]
	}
	for n := 0; n < max; n++ {
		if !r.page.Scan(r.into...) {
			err := r.turn()
			return r.position(), err
		}
		b.N++
		r.offset++
	}
	return r.position(), nil
}

func (r *reader) failed(err error) error {
	return fmt.Errorf("read cassandra table %s, split %s: %w", r.source.table.plain, r.split, err)
}

// turn leaves a page that was read to its end.
func (r *reader) turn() error {
	next := r.page.PageState()
	err := r.page.Close()
	r.page = nil
	if err != nil {
		return r.failed(err)
	}
	r.state, r.offset, r.ended = next, 0, len(next) == 0
	return nil
}

// fetch gets the page of state and skips the rows that were read before. Empty pages are passed over.
func (r *reader) fetch(ctx context.Context) error {
	for {
		q := r.source.session.cql.Query(r.source.query, r.tokens.After, r.tokens.To).WithContext(ctx).PageSize(pageSize).Idempotent(true)
		page := q.PageState(r.state).Iter() // a page state, empty too, turns the driver's own paging off
		if page.NumRows() > int(r.offset) {
			r.page = page
			return r.skip()
		}
		next := page.PageState()
		if err := page.Close(); err != nil {
			return err
		}
		r.state, r.offset = next, 0
		if len(next) == 0 {
			r.ended = true
			return nil
		}
	}
}

// skip passes over the rows of a page that were read before.
func (r *reader) skip() error {
	nothing := make([]any, len(r.into))
	for n := range r.offset {
		if !r.page.Scan(nothing...) {
			err := r.page.Close()
			r.page = nil
			return fmt.Errorf("skip the %d rows that were read before: stopped after %d: %w", r.offset, n, errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	return nil
}

func (r *reader) position() checkpoint.Position {
	return checkpoint.Position{Offset: r.offset, State: base64.StdEncoding.EncodeToString(r.state), Ended: r.ended}
}

func (r *reader) Close() error {
	if r.page == nil {
		return nil
	}
	return r.page.Close()
}

// cell appends a value to a column.
type cell struct {
	field *column.Field
	to    *column.Column
}

// UnmarshalCQL reads a value as CQL spells it.
func (c *cell) UnmarshalCQL(info gocql.TypeInfo, data []byte) error {
	if err := checkType(*c.field, info); err != nil {
		return err
	}
	kind := c.field.Kind
	text := kind == column.String || kind == column.Bytes
	size := 8
	if kind == column.Bool {
		size = 1
	}
	switch {
	case data == nil || !text && len(data) == 0:
		if !c.field.Nullable {
			return failValue("column %q is null, and the field is not nullable", c.field.Name)
		}
		c.to.AppendNull()
		return nil
	case text:
		c.to.AppendString(data)
		return nil
	case len(data) != size:
		return failValue("column %q has %d bytes, not %d", c.field.Name, len(data), size)
	case kind == column.Bool:
		c.to.AppendBool(data[0] != 0)
		return nil
	}
	switch v := int64(binary.BigEndian.Uint64(data)); kind {
	case column.Float64:
		c.to.AppendFloat(math.Float64frombits(uint64(v)))
	case column.Timestamp:
		if v > column.MaxTime/1000 || v < column.MinTime/1000 {
			return failValue("column %q is %d milliseconds since 1970, beyond 64 bits of microseconds", c.field.Name, v)
		}
		c.to.AppendInt(v * 1000)
	default:
		c.to.AppendInt(v)
	}
	return nil
}
