package kernel

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// Assertion compares its whole input with what is expected, as multisets.
type Assertion struct {
	path string
	want map[string]int
	got  map[string]int
}

// AssertionError says which rows differ. Rows are JSON objects without nulls.
type AssertionError struct {
	Node       string
	Missing    []string // expected and not there, one entry a row
	Unexpected []string
}

// Error shows at most ten rows of each kind.
func (e *AssertionError) Error() string {
	return fmt.Sprintf("%s: the rows are not those expected: %d missing%s, %d unexpected%s", e.Node, len(e.Missing), sample(e.Missing), len(e.Unexpected), sample(e.Unexpected))
}

func sample(rows []string) string {
	if len(rows) == 0 {
		return ""
	}
	more := ""
	if len(rows) > 10 {
		rows, more = rows[:10], ", …"
	}
	return " (" + strings.Join(rows, ", ") + more + ")"
}

// NewAssertion makes the kernel of an assert node.
func NewAssertion(n physical.Node) (*Assertion, error) {
	cfg, err := Config[physical.AssertConfig](n)
	if err != nil {
		return nil, err
	}
	a := &Assertion{path: n.Path, want: map[string]int{}, got: map[string]int{}}
	for i, e := range cfg.Elements {
		text, err := canonical(e)
		if err != nil {
			return nil, wrong(n, fmt.Errorf("element %d: %w", i+1, err))
		}
		a.want[text]++
	}
	return a, nil
}

// Add notes the rows of a batch.
func (a *Assertion) Add(b *column.Batch) error {
	var err error
	b.Rows(func(row int) {
		if err != nil {
			return
		}
		var data []byte
		if data, err = rowJSON(b, row, true); err != nil {
			return
		}
		var text string
		if text, err = canonical(data); err == nil {
			a.got[text]++
		}
	})
	return err
}

// Check compares what was added with what is expected: nil, or *AssertionError.
func (a *Assertion) Check() error {
	e := &AssertionError{Node: a.path}
	for text, n := range a.want {
		for range n - a.got[text] {
			e.Missing = append(e.Missing, text)
		}
	}
	for text, n := range a.got {
		for range n - a.want[text] {
			e.Unexpected = append(e.Unexpected, text)
		}
	}
	if len(e.Missing)+len(e.Unexpected) == 0 {
		return nil
	}
	slices.Sort(e.Missing)
	slices.Sort(e.Unexpected)
	return e
}

// canonical brings a JSON value into one form: keys sorted, nulls of the top level dropped, a scalar as {"element": scalar}, whole numbers alike
// whether they are written 2 or 2.0.
func canonical(data []byte) (string, error) {
	var v any
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return "", fmt.Errorf("read %q as JSON: %w", data, err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		m = map[string]any{"element": v}
	}
	for k, x := range m {
		if x == nil {
			delete(m, k)
		}
	}
	out, err := valueJSON(numbers(m))
	return string(out), err
}

func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = numbers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = numbers(x)
		}
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f)
		}
		return f
	}
	return v
}
