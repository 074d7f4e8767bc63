package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// printer shows rows: each at once as JSON, or at the end as a sorted, limited table.
type printer struct {
	cfg  physical.LogConfig
	out  io.Writer
	log  *slog.Logger
	rows collected
	keys []sortKey
}

type sortKey struct {
	column     int
	descending bool
}

func newPrinter(v *vertex, out io.Writer, log *slog.Logger) (operator, error) {
	cfg, err := config[physical.LogConfig](v.spec)
	if err != nil {
		return nil, err
	}
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	p := &printer{cfg: cfg, out: out, log: log, rows: newCollected(in)}
	for _, s := range cfg.Sort {
		name := strings.TrimPrefix(s, "-")
		i := in.Index(name)
		if i < 0 {
			return nil, v.fail(fmt.Errorf("sort %s is not a column of the input (%s)", name, strings.Join(in.Names(), ", ")))
		}
		p.keys = append(p.keys, sortKey{i, name != s})
	}
	return p, nil
}

func (p *printer) whole() bool { return p.cfg.Table || len(p.keys) > 0 || p.cfg.Limit > 0 }

func (p *printer) process(v *vertex, b *column.Batch, ps pass) error {
	var err error
	if p.whole() {
		p.rows.add(b)
	} else {
		b.Rows(func(row int) {
			if err == nil {
				err = p.line(v, b, row)
			}
		})
	}
	if err != nil {
		return err
	}
	if len(v.outs) > 0 {
		return v.emit(b, ps)
	}
	v.counted(b, ps)
	return nil
}

func (p *printer) line(v *vertex, b *column.Batch, row int) error {
	text, err := rowJSON(b, row, false)
	if err != nil {
		return v.fail(err)
	}
	if p.out == nil {
		p.log.Info("row", "node", v.spec.Path, "row", p.cfg.Prefix+string(text))
		return nil
	}
	if _, err := fmt.Fprintf(p.out, "%s%s\n", p.cfg.Prefix, text); err != nil {
		return v.fail(fmt.Errorf("print a row: %w", err))
	}
	return nil
}

// show prints the table, after the last commit.
func (p *printer) show() error {
	if !p.whole() {
		return nil
	}
	rows := p.rows.rows
	slices.SortStableFunc(rows, func(a, b []any) int {
		for _, k := range p.keys {
			c := compareValues(a[k.column], b[k.column])
			if k.descending {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	if p.cfg.Limit > 0 && len(rows) > p.cfg.Limit {
		rows = rows[:p.cfg.Limit]
	}
	text := table(p.cfg.Title, p.rows.names, p.rows.kinds, rows)
	if p.out == nil {
		p.log.Info("table", "text", text)
		return nil
	}
	_, err := io.WriteString(p.out, text)
	return err
}

// table lays rows out in columns: numbers to the right, all else to the left.
func table(title string, names []string, kinds []column.Kind, rows [][]any) string {
	width := make([]int, len(names))
	for i, n := range names {
		width[i] = utf8.RuneCountInString(n)
	}
	cells := make([][]string, len(rows))
	for r, row := range rows {
		for i, v := range row {
			text := cell(v)
			cells[r] = append(cells[r], text)
			width[i] = max(width[i], utf8.RuneCountInString(text))
		}
	}
	var sb strings.Builder
	if title != "" {
		sb.WriteString(title + "\n")
	}
	line := func(texts []string) {
		var l strings.Builder
		for i, t := range texts {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(t))
			if i > 0 {
				l.WriteString("  ")
			}
			if kinds[i] == column.Int64 || kinds[i] == column.Float64 {
				l.WriteString(pad + t)
			} else {
				l.WriteString(t + pad)
			}
		}
		sb.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	line(names)
	for _, c := range cells {
		line(c)
	}
	return sb.String()
}

// assertion compares its whole input with what is expected, as multisets.
type assertion struct {
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

func newAssertion(v *vertex) (operator, error) {
	cfg, err := config[physical.AssertConfig](v.spec)
	if err != nil {
		return nil, err
	}
	a := &assertion{path: v.spec.Path, want: map[string]int{}, got: map[string]int{}}
	for i, e := range cfg.Elements {
		text, err := canonical(e)
		if err != nil {
			return nil, v.fail(fmt.Errorf("element %d: %w", i+1, err))
		}
		a.want[text]++
	}
	return a, nil
}

func (a *assertion) process(v *vertex, b *column.Batch, p pass) error {
	if len(v.outs) == 0 {
		v.counted(b, p)
	}
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
	if err != nil || len(v.outs) == 0 {
		return err
	}
	return v.emit(b, p)
}

func (a *assertion) finish(context.Context) error {
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
