package physical

import (
	"encoding/json"
	"time"

	"github.com/weir-project/weir/pipelines/column"
)

// ReadConfig is a source. Exactly one of Channel and Connector is set.
type ReadConfig struct {
	Channel   string          `json:"channel,omitempty"`
	Connector string          `json:"connector,omitempty"` // file, generator, kafka, nats, create
	Format    string          `json:"format,omitempty"`    // csv, json, text, raw
	Config    json.RawMessage `json:"config,omitempty"`    // the connector's own, validated by its declaration
	Schema    column.Schema   `json:"schema"`
	Bounded   bool            `json:"bounded"`
	Pace      float64         `json:"pace,omitempty"`     // rows a second, 0 = as fast as it goes (weir: block)
	Disorder  time.Duration   `json:"disorder,omitempty"` // bound on event-time disorder (weir: block); 0 = none declared (C10)
	Idle      time.Duration   `json:"idle,omitempty"`     // after which a silent split is idle
}

// Field is a computed column: Source copies an input field, else Expr is compiled by pipelines/expr.
type Field struct {
	Name     string      `json:"name"`
	Expr     string      `json:"expr"`
	Language string      `json:"language,omitempty"` // generic or python; empty is generic
	Kind     column.Kind `json:"kind"`
}

// MapConfig computes a row's columns: the output schema is exactly Fields, in order.
type MapConfig struct {
	Fields []Field `json:"fields"`
}

// FilterConfig keeps the rows for which Keep is true.
type FilterConfig struct {
	Keep     string `json:"keep"`
	Language string `json:"language,omitempty"`
}

// TimeConfig assigns the event time: an integer or number field is seconds since 1970, a timestamp field is itself (Beam YAML).
type TimeConfig struct {
	Timestamp string `json:"timestamp"`
	Language  string `json:"language,omitempty"`
}

// WindowConfig assigns windows to the rows.
type WindowConfig struct {
	Type   string        `json:"type"` // global, fixed, sliding, sessions
	Size   time.Duration `json:"size,omitempty"`
	Period time.Duration `json:"period,omitempty"`
	Offset time.Duration `json:"offset,omitempty"`
	Gap    time.Duration `json:"gap,omitempty"`
}

// WindowInfoConfig makes windowing explicit as columns (Beam YAML's ExtractWindowingInfo): Fields maps a new column's name to
// timestamp, window_start or window_end. The window is derived from the row's event time.
type WindowInfoConfig struct {
	Fields []WindowField `json:"fields"`
	Window WindowConfig  `json:"window"`
}

// WindowField is one column of WindowInfoConfig.
type WindowField struct {
	Name string `json:"name"`
	Of   string `json:"of"`
}

// Aggregate is one combined column.
type Aggregate struct {
	Name     string      `json:"name"`
	Fn       string      `json:"fn"`                 // count, sum, min, max, mean, any, all
	Expr     string      `json:"expr"`               // the value; empty for count of rows
	Language string      `json:"language,omitempty"` // of Expr: generic or python; empty is generic
	Kind     column.Kind `json:"kind"`               // of the result
}

// CombineConfig aggregates by key and window. Output: the keys, then the aggregates.
// Output rows carry the event time of their window's end minus one microsecond, as Beam's default timestamp combiner does.
// The one pane fires when the watermark passes the window's end plus Lateness; rows of a window that fired are late: counted, dropped.
type CombineConfig struct {
	GroupBy    []string      `json:"group_by"`
	Aggregates []Aggregate   `json:"aggregates"`
	Window     WindowConfig  `json:"window"`
	Lateness   time.Duration `json:"lateness,omitempty"` // weir: block
}

// LookupConfig joins each row of the input to the rows of a side input that are equal in all keys; null is equal to nothing. The side
// input is read whole by every slot, before its first row and again at each recovery; it belongs to no slot, so it has no positions.
type LookupConfig struct {
	Side   []Node        `json:"side"` // what makes the side input, in topological order; the rows of the last node are looked up
	Keys   []LookupKey   `json:"keys"`
	Keep   bool          `json:"keep,omitempty"` // a row that matches nothing goes on with nulls; else it is dropped
	Fields []LookupField `json:"fields"`         // of the output, in order
}

// LookupKey is a pair of fields of one type that must be equal.
type LookupKey struct {
	Field string `json:"field"` // of the input
	Side  string `json:"side"`  // of the side input
}

// LookupField is one column of the output: a copy of a field of the input, or of the side input.
type LookupField struct {
	Name  string `json:"name"`
	Field string `json:"field"`
	Side  bool   `json:"side,omitempty"`
}

// WriteConfig is a sink. Exactly one of Channel and Connector is set.
type WriteConfig struct {
	Channel   string          `json:"channel,omitempty"`
	Connector string          `json:"connector,omitempty"` // file, discard, kafka, nats
	Format    string          `json:"format,omitempty"`    // csv, json, text
	Config    json.RawMessage `json:"config,omitempty"`
	Sort      []string        `json:"sort,omitempty"` // weir: block; a leading "-" is descending; bounded stages only
}

// LogConfig prints rows: a table where Sort or Limit are set.
type LogConfig struct {
	Sort   []string `json:"sort,omitempty"`
	Limit  int      `json:"limit,omitempty"`
	Title  string   `json:"title,omitempty"`
	Prefix string   `json:"prefix,omitempty"` // printed before each row (Beam YAML's)
	Table  bool     `json:"table,omitempty"`
}

// AssertConfig compares the whole input as a multiset, nulls dropped (Beam YAML's AssertEqual).
type AssertConfig struct {
	Elements []json.RawMessage `json:"elements"`
}
