package kernel

import (
	"errors"
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/state"
)

// MaxSideInput is how much memory the side input of one lookup may take, in bytes: every slot holds it whole.
const MaxSideInput = 64 << 20

// Lookup joins rows to a side input, which Add has filled before (ADR 9).
type Lookup struct {
	keys  []int // of the input
	keep  bool
	table *state.Lookup
	from  []lookupColumn // by output column

	rows    []int32 // scratch: a row of the input and
	matches []int32 // the row of the table that it matches, or -1
	out     column.Batch
	own     []column.Column // memory of the columns that are made here
	times   []column.Time
}

// lookupColumn says where a column of the output is: in the input, or among the kept columns of the table.
type lookupColumn struct {
	side  bool
	index int
}

// NewLookup makes the kernel of a lookup with an empty table. seed is of its hash: any number, chosen by the caller at random.
func NewLookup(n physical.Node, in column.Schema, seed uint64) (*Lookup, error) {
	cfg, err := Config[physical.LookupConfig](n)
	if err != nil {
		return nil, err
	}
	if len(cfg.Side) == 0 || len(cfg.Keys) == 0 || len(cfg.Fields) != len(n.Out.Fields) {
		return nil, wrong(n, errors.New("it has no side input, no keys to look up by, or other fields than its output"))
	}
	l := &Lookup{keep: cfg.Keep}
	side := cfg.Side[len(cfg.Side)-1].Out
	sc := state.LookupConfig{Schema: side, Limit: MaxSideInput, Seed: seed}
	for _, k := range cfg.Keys {
		a, b := in.Index(k.Field), side.Index(k.Side)
		if a < 0 || b < 0 || in.Fields[a].Kind != side.Fields[b].Kind {
			return nil, wrong(n, fmt.Errorf("key %s = %s: they are not fields of one type of the input (%v) and the side input (%v)", k.Field, k.Side, in.Names(), side.Names()))
		}
		l.keys, sc.Keys = append(l.keys, a), append(sc.Keys, b)
	}
	for _, f := range cfg.Fields {
		c := lookupColumn{side: f.Side, index: in.Index(f.Field)}
		if f.Side {
			c.index = side.Index(f.Field)
		}
		if c.index < 0 {
			return nil, wrong(n, fmt.Errorf("field %s: there is no %s", f.Name, f.Field))
		}
		if f.Side {
			sc.Keep = append(sc.Keep, c.index)
			c.index = len(sc.Keep) - 1
		}
		l.from = append(l.from, c)
	}
	l.table = state.NewLookup(sc)
	l.out.Schema, l.out.Cols, l.own = &n.Out, make([]column.Column, len(l.from)), make([]column.Column, len(l.from))
	for i, f := range n.Out.Fields {
		l.own[i].Kind = f.Kind
	}
	return l, nil
}

// Add copies rows of the side input into the table. The error is a *state.TooBigError.
func (l *Lookup) Add(b *column.Batch) error { return l.table.Add(b) }

// Apply joins a batch and gives what comes out to emit, in batches of at most size rows where rows have several matches. dropped is the number
// of rows that matched nothing and were not kept, copied that of rows that came out beyond one for each of the others.
func (l *Lookup) Apply(b *column.Batch, size int, emit func(*column.Batch) error) (dropped, copied int, err error) {
	l.rows, l.matches, dropped = l.table.Probe(b, l.keys, l.keep, l.rows[:0], l.matches[:0])
	if l.keep {
		dropped = 0
	}
	copied = len(l.rows) - (b.Len() - dropped)
	if l.table.Unique() {
		if len(l.rows) == 0 {
			return dropped, 0, nil
		}
		return dropped, 0, emit(l.beside(b))
	}
	for at := 0; at < len(l.rows); at += size {
		end := min(at+size, len(l.rows))
		if err := emit(l.gathered(b, l.rows[at:end], l.matches[at:end])); err != nil {
			return 0, 0, err
		}
	}
	return dropped, copied, nil
}

// beside puts the columns of the table beside those of the input, which stay where they are: each row has one match at most.
func (l *Lookup) beside(b *column.Batch) *column.Batch {
	l.out.N, l.out.Sel, l.out.Times = b.N, l.rows, b.Times
	for i, f := range l.from {
		if !f.side {
			l.out.Cols[i] = b.Cols[f.index]
			continue
		}
		spread(&l.own[i], &l.table.Rows().Cols[f.index], b.N, l.rows, l.matches)
		l.out.Cols[i] = l.own[i]
	}
	return &l.out
}

// gathered copies the pairs of rows and matches into a dense batch.
func (l *Lookup) gathered(b *column.Batch, rows, matches []int32) *column.Batch {
	l.times = l.times[:0]
	for _, r := range rows {
		l.times = append(l.times, b.Times[r])
	}
	l.out.N, l.out.Sel, l.out.Times = len(rows), nil, l.times
	for i, f := range l.from {
		if f.side {
			take(&l.own[i], &l.table.Rows().Cols[f.index], matches)
		} else {
			take(&l.own[i], &b.Cols[f.index], rows)
		}
		l.out.Cols[i] = l.own[i]
	}
	return &l.out
}

// spread makes dst a column of n rows in which each of rows has the value of its match.
func spread(dst, src *column.Column, n int, rows, matches []int32) {
	size(dst, n)
	dst.Buf, dst.Borrowed = src.Buf, true
	nulls := len(src.Null) > 0
	for i, m := range matches {
		if m < 0 || nulls && src.Null[m] {
			markNull(dst, n, rows[i])
			continue
		}
		set(dst, int(rows[i]), src, int(m))
	}
}

// take makes dst the values of src at the given rows; -1 is null.
func take(dst, src *column.Column, at []int32) {
	size(dst, len(at))
	dst.Buf, dst.Borrowed = src.Buf, true
	for i, r := range at {
		if r < 0 || src.IsNull(int(r)) {
			markNull(dst, len(at), int32(i))
			continue
		}
		set(dst, i, src, int(r))
	}
}

// size gives a column n values of any kind and no nulls.
func size(c *column.Column, n int) {
	c.Null = c.Null[:0]
	switch c.Kind {
	case column.Bool:
		c.Bools = grown(c.Bools, n)
	case column.Int64, column.Timestamp:
		c.Ints = grown(c.Ints, n)
	case column.Float64:
		c.Floats = grown(c.Floats, n)
	default:
		c.Spans = grown(c.Spans, n)
	}
}

func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// markNull makes a row of a column of n null.
func markNull(c *column.Column, n int, row int32) {
	if len(c.Null) == 0 {
		c.Null = grown(c.Null, n)
		clear(c.Null)
	}
	c.Null[row] = true
	if c.Kind == column.String || c.Kind == column.Bytes {
		c.Spans[row] = column.Span{}
	}
}

func set(dst *column.Column, to int, src *column.Column, from int) {
	switch dst.Kind {
	case column.Bool:
		dst.Bools[to] = src.Bools[from]
	case column.Int64, column.Timestamp:
		dst.Ints[to] = src.Ints[from]
	case column.Float64:
		dst.Floats[to] = src.Floats[from]
	default:
		dst.Spans[to] = src.Spans[from]
	}
}
