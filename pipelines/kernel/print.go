package kernel

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// Printer shows rows: each as a line of JSON, or all of them at the end as a sorted, limited table.
type Printer struct {
	node physical.Node
	cfg  physical.LogConfig
	rows collected
	keys []sortKey
}

type sortKey struct {
	column     int
	descending bool
}

// NewPrinter makes the kernel of a log node; in is the schema of its input.
func NewPrinter(n physical.Node, in column.Schema) (*Printer, error) {
	cfg, err := Config[physical.LogConfig](n)
	if err != nil {
		return nil, err
	}
	p := &Printer{node: n, cfg: cfg, rows: newCollected(in)}
	for _, s := range cfg.Sort {
		name := strings.TrimPrefix(s, "-")
		i := in.Index(name)
		if i < 0 {
			return nil, wrong(n, fmt.Errorf("sort %s is not a column of the input (%s)", name, strings.Join(in.Names(), ", ")))
		}
		p.keys = append(p.keys, sortKey{i, name != s})
	}
	return p, nil
}

// Whole reports whether the rows are kept for one table at the end, and not printed one by one.
func (p *Printer) Whole() bool { return p.cfg.Table || len(p.keys) > 0 || p.cfg.Limit > 0 }

// Add keeps the rows of a batch for the table.
func (p *Printer) Add(b *column.Batch) { p.rows.add(b) }

// AppendRow appends a row as one line of JSON.
func (p *Printer) AppendRow(dst []byte, b *column.Batch, row int) ([]byte, error) {
	text, err := rowJSON(b, row, false)
	if err != nil {
		return dst, wrong(p.node, err)
	}
	return append(append(append(dst, p.cfg.Prefix...), text...), '\n'), nil
}

// Table is the table of all rows that were added.
func (p *Printer) Table() string {
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
	return table(p.cfg.Title, p.rows.names, p.rows.kinds, rows)
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
