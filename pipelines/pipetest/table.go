package pipetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

// Table keeps the newest write of each row, as Cassandra does: by write timestamp, not by arrival.
type Table struct {
	mu     sync.Mutex // guards the rest
	rows   map[string]tableRow
	Writes int // that were applied, repeats included
}

type tableRow struct {
	text string
	at   int64
}

// Rows are the table's rows as JSON objects with sorted keys, sorted.
func (t *Table) Rows() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, r := range t.rows {
		out = append(out, r.text)
	}
	slices.Sort(out)
	return out
}

func (t *Table) source(schema column.Schema) *RowSource {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &RowSource{schema: schema, splits: 3}
	for _, k := range slices.Sorted(maps.Keys(t.rows)) {
		b := column.NewBatch(&schema, 1)
		if err := decodeRow(b, schema, []byte(t.rows[k].text)); err != nil {
			panic(err) // the table holds only what its outbox encoded
		}
		var row []any
		for i := range b.Cols {
			row = append(row, value(&b.Cols[i], 0))
		}
		s.rows = append(s.rows, row)
	}
	return s
}

func value(c *column.Column, i int) any {
	if c.IsNull(i) {
		return nil
	}
	switch c.Kind {
	case column.Bool:
		return c.Bools[i]
	case column.Float64:
		return c.Floats[i]
	case column.Int64, column.Timestamp:
		return c.Ints[i]
	}
	return string(c.At(i))
}

// tableOutbox writes a table: an upsert by key, or one row for each write timestamp where it has no key.
type tableOutbox struct {
	world  *World
	table  *Table
	slot   checkpoint.Slot
	schema column.Schema
	key    []string
}

type tableEntry struct {
	Key string          `json:"key"`
	Row json.RawMessage `json:"row"`
	At  int64           `json:"at"`
}

// Stage implements connectors.Outbox.
func (o *tableOutbox) Stage(b *column.Batch, next func() int64) ([][]byte, error) {
	var out [][]byte
	var err error
	b.Rows(func(row int) {
		m, at := map[string]any{}, next()
		for i, f := range o.schema.Fields {
			m[f.Name] = value(&b.Cols[i], row)
		}
		var key []string
		for _, k := range o.key {
			key = append(key, fmt.Sprint(m[k]))
		}
		if len(o.key) == 0 {
			key = []string{fmt.Sprint(o.slot, at)}
		}
		text, e1 := json.Marshal(m)
		entry, e2 := json.Marshal(tableEntry{Key: strings.Join(key, "|"), Row: text, At: at})
		if e1 != nil || e2 != nil {
			err = fmt.Errorf("encode row %v: %w", m, errors.Join(e1, e2))
		}
		out = append(out, entry)
	})
	return out, err
}

// Finish implements connectors.Outbox.
func (o *tableOutbox) Finish(context.Context) ([][]byte, error) { return nil, nil }

// Apply implements connectors.Outbox.
func (o *tableOutbox) Apply(_ context.Context, entries [][]byte) error {
	if err := o.world.strike(ApplyBefore, o.slot); err != nil {
		return err
	}
	for _, data := range entries {
		var e tableEntry
		if err := json.Unmarshal(data, &e); err != nil {
			return err
		}
		o.table.write(e)
	}
	return o.world.strike(ApplyAfter, o.slot)
}

func (t *Table) write(e tableEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Writes++
	if old, ok := t.rows[e.Key]; !ok || e.At >= old.at {
		t.rows[e.Key] = tableRow{text: string(e.Row), at: e.At}
	}
}

// Close implements connectors.Outbox.
func (o *tableOutbox) Close() error { return nil }
