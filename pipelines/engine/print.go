package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
)

// printer shows rows: each at once as JSON, or at the end as a sorted, limited table.
type printer struct {
	kernel *kernel.Printer
	out    io.Writer // nil: log
	log    *slog.Logger
	line   []byte
}

func newPrinter(v *vertex, out io.Writer, log *slog.Logger) (operator, error) {
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	k, err := kernel.NewPrinter(v.spec, in)
	return &printer{kernel: k, out: out, log: log}, err
}

func (p *printer) process(v *vertex, b *column.Batch, ps pass) error {
	var err error
	if p.kernel.Whole() {
		p.kernel.Add(b)
	} else {
		b.Rows(func(row int) {
			if err == nil {
				err = p.print(v, b, row)
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

func (p *printer) print(v *vertex, b *column.Batch, row int) error {
	var err error
	if p.line, err = p.kernel.AppendRow(p.line[:0], b, row); err != nil {
		return err
	}
	if p.out == nil {
		p.log.Info("row", "node", v.spec.Path, "row", strings.TrimSuffix(string(p.line), "\n"))
		return nil
	}
	if _, err := p.out.Write(p.line); err != nil {
		return v.fail(fmt.Errorf("print a row: %w", err))
	}
	return nil
}

// show prints the table, after the last commit.
func (p *printer) show() error {
	if !p.kernel.Whole() {
		return nil
	}
	text := p.kernel.Table()
	if p.out == nil {
		p.log.Info("table", "text", text)
		return nil
	}
	_, err := io.WriteString(p.out, text)
	return err
}

// AssertionError says which rows differ.
type AssertionError = kernel.AssertionError

// assertion compares its whole input with what is expected, as multisets.
type assertion struct{ kernel *kernel.Assertion }

func newAssertion(v *vertex) (operator, error) {
	k, err := kernel.NewAssertion(v.spec)
	return assertion{k}, err
}

func (a assertion) process(v *vertex, b *column.Batch, p pass) error {
	if len(v.outs) == 0 {
		v.counted(b, p)
	}
	if err := a.kernel.Add(b); err != nil || len(v.outs) == 0 {
		return err
	}
	return v.emit(b, p)
}

func (a assertion) finish(context.Context) error { return a.kernel.Check() }
