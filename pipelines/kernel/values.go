package kernel

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/weir-project/weir/pipelines/column"
)

// valueAt is a row's value as a plain Go value: nil, bool, int64, float64, string or time.Time. It is for printing and comparing, not for the data path.
func valueAt(c *column.Column, row int) any {
	if c.IsNull(row) {
		return nil
	}
	switch c.Kind {
	case column.Bool:
		return c.Bools[row]
	case column.Int64:
		return c.Ints[row]
	case column.Float64:
		return c.Floats[row]
	case column.Timestamp:
		return time.UnixMicro(c.Ints[row]).UTC()
	}
	return string(c.At(row))
}

// rowJSON is a row as one JSON object with the columns in their order. Nulls are left out where dropNull says so.
func rowJSON(b *column.Batch, row int, dropNull bool) ([]byte, error) {
	out := []byte{'{'}
	for i := range b.Cols {
		v := valueAt(&b.Cols[i], row)
		if v == nil && dropNull {
			continue
		}
		if len(out) > 1 {
			out = append(out, ", "...)
		}
		name, err := json.Marshal(b.Schema.Fields[i].Name)
		if err != nil {
			return nil, err
		}
		text, err := valueJSON(v)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ": "...), text...)
	}
	return append(out, '}'), nil
}

func valueJSON(v any) ([]byte, error) {
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return json.Marshal(strconv.FormatFloat(f, 'g', -1, 64))
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// cell is a value in a table.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case time.Time:
		return v.Format("2006-01-02 15:04:05.999999")
	}
	return fmt.Sprint(v)
}

// collected keeps copies of rows.
type collected struct {
	names []string
	kinds []column.Kind
	rows  [][]any
}

func newCollected(s column.Schema) collected {
	c := collected{names: s.Names()}
	for _, f := range s.Fields {
		c.kinds = append(c.kinds, f.Kind)
	}
	return c
}

func (c *collected) add(b *column.Batch) {
	b.Rows(func(row int) {
		r := make([]any, len(b.Cols))
		for i := range b.Cols {
			r[i] = valueAt(&b.Cols[i], row)
		}
		c.rows = append(c.rows, r)
	})
}

// compareValues orders values of one kind; nulls come first.
func compareValues(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(boolInt(a != nil), boolInt(b != nil))
	}
	switch a := a.(type) {
	case bool:
		return cmp.Compare(boolInt(a), boolInt(b.(bool)))
	case int64:
		return cmp.Compare(a, b.(int64))
	case float64:
		return cmp.Compare(a, b.(float64))
	case time.Time:
		return a.Compare(b.(time.Time))
	}
	return cmp.Compare(a.(string), b.(string))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
