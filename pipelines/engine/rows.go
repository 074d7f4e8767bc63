package engine

import (
	"errors"
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/expr"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/watermark"
	"github.com/weir-project/weir/pipelines/window"
)

// through passes batches on: flatten, and a windowing without an aggregation (each operator that needs windows carries its own).
type through struct{}

func (through) process(v *vertex, b *column.Batch, p pass) error { return v.emit(b, p) }

// computed is one column that a program makes, or that the input has already.
type computed struct {
	source  int // of the input; -1 = program
	program *expr.Program
	kind    column.Kind // wanted; differs from the program's where an integer becomes a number
	raw     column.Column
	out     column.Column
}

func compute(src, language string, kind column.Kind, in column.Schema) (computed, error) {
	if i := in.Index(src); i >= 0 && (kind == column.Invalid || in.Fields[i].Kind == kind) {
		return computed{source: i, kind: in.Fields[i].Kind}, nil
	}
	p, err := expr.Compile(src, language, in)
	if err != nil {
		return computed{}, fmt.Errorf("expression %q: %w", src, err)
	}
	have := p.Kind()
	if kind == column.Invalid {
		kind = have
	}
	if have != kind && !(have == column.Int64 && (kind == column.Float64 || kind == column.Timestamp)) {
		return computed{}, fmt.Errorf("expression %q makes values of type %s and not %s", src, have, kind)
	}
	return computed{source: -1, program: p, kind: kind}, nil
}

// eval returns the column for b: a value at each selected row.
func (c *computed) eval(b *column.Batch) (*column.Column, error) {
	if c.source >= 0 {
		return &b.Cols[c.source], nil
	}
	if c.program.Kind() == c.kind {
		return &c.out, c.program.Eval(b, &c.out)
	}
	if err := c.program.Eval(b, &c.raw); err != nil {
		return nil, err
	}
	c.out.Kind = c.kind
	c.out.Null = append(c.out.Null[:0], c.raw.Null...)
	if c.kind == column.Float64 {
		c.out.Floats = c.out.Floats[:0]
		for _, i := range c.raw.Ints {
			c.out.Floats = append(c.out.Floats, float64(i))
		}
	} else {
		c.out.Ints = append(c.out.Ints[:0], c.raw.Ints...)
	}
	return &c.out, nil
}

// mapper computes the columns of its output. Columns that only change their name or place are shared with the input.
type mapper struct {
	fields []computed
	out    column.Batch
}

func newMapper(v *vertex) (operator, error) {
	cfg, err := config[physical.MapConfig](v.spec)
	if err != nil {
		return nil, err
	}
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	m := &mapper{}
	m.out.Schema = &v.spec.Out
	for _, f := range cfg.Fields {
		c, err := compute(f.Expr, f.Language, f.Kind, in)
		if err != nil {
			return nil, v.fail(fmt.Errorf("field %s: %w", f.Name, err))
		}
		m.fields = append(m.fields, c)
	}
	m.out.Cols = make([]column.Column, len(m.fields))
	return m, nil
}

func (m *mapper) process(v *vertex, b *column.Batch, p pass) error {
	m.out.N, m.out.Sel, m.out.Times = b.N, b.Sel, b.Times
	for i := range m.fields {
		c, err := m.fields[i].eval(b)
		if err != nil {
			return v.fail(err)
		}
		m.out.Cols[i] = *c
	}
	return v.emit(&m.out, p)
}

// filter narrows the selection.
type filter struct {
	program *expr.Program
	sel     []int32
	out     column.Batch
}

func newFilter(v *vertex) (operator, error) {
	cfg, err := config[physical.FilterConfig](v.spec)
	if err != nil {
		return nil, err
	}
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	p, err := expr.Compile(cfg.Keep, cfg.Language, in)
	if err != nil {
		return nil, v.fail(fmt.Errorf("keep %q: %w", cfg.Keep, err))
	}
	if p.Kind() != column.Bool {
		return nil, v.fail(fmt.Errorf("keep %q makes values of type %s and not boolean", cfg.Keep, p.Kind()))
	}
	return &filter{program: p}, nil
}

func (f *filter) process(v *vertex, b *column.Batch, p pass) error {
	var err error
	if f.sel, err = f.program.Filter(b, f.sel[:0]); err != nil {
		return v.fail(err)
	}
	if !p.derived {
		v.flow.counters.Filtered += int64(b.Len() - len(f.sel))
	}
	if len(f.sel) == 0 {
		return nil
	}
	f.out = *b
	f.out.Sel = f.sel
	return v.emit(&f.out, p)
}

// timer assigns event times. What its inputs know of event time says nothing about the new times, so the node has a watermark of its own: from the
// bound on disorder of the sources before it, tracked for each split, or else MinTime until the end.
type timer struct {
	at       computed
	times    []column.Time
	out      column.Batch
	trackers map[int]*watermark.Tracker // by split, if a bound was declared
}

func newTimer(v *vertex) (operator, error) {
	cfg, err := config[physical.TimeConfig](v.spec)
	if err != nil {
		return nil, err
	}
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	c, err := compute(cfg.Timestamp, cfg.Language, column.Invalid, in)
	if err != nil {
		return nil, v.fail(err)
	}
	switch c.kind {
	case column.Int64, column.Float64, column.Timestamp:
	default:
		return nil, v.fail(fmt.Errorf("timestamp %q is of type %s; it must be a timestamp, or a number of seconds since 1970", cfg.Timestamp, c.kind))
	}
	return &timer{at: c, trackers: map[int]*watermark.Tracker{}}, nil
}

func (t *timer) process(v *vertex, b *column.Batch, p pass) error {
	c, err := t.at.eval(b)
	if err != nil {
		return v.fail(err)
	}
	latest, err := t.assign(b, c)
	if err != nil {
		return v.fail(err)
	}
	if tr := t.trackers[p.split]; tr != nil {
		tr.Observe(latest, v.flow.now)
	}
	t.out = *b
	t.out.Times = t.times
	return v.emit(&t.out, p)
}

var errNoTime = errors.New("the timestamp of a row is null; filter such rows out before")

func (t *timer) assign(b *column.Batch, c *column.Column) (column.Time, error) {
	if cap(t.times) < b.N {
		t.times = make([]column.Time, b.N)
	}
	t.times = t.times[:b.N]
	latest := column.MinTime
	for i := range b.Len() {
		row := i
		if b.Sel != nil {
			row = int(b.Sel[i])
		}
		if c.IsNull(row) {
			return 0, errNoTime
		}
		at, ok := eventTime(c, row)
		if !ok {
			return 0, fmt.Errorf("the timestamp of a row, %v, is beyond event time; is it in seconds?", valueAt(c, row))
		}
		t.times[row] = at
		latest = max(latest, at)
	}
	return latest, nil
}

// maxSeconds keeps microseconds within an int64, and away from the ends that mean "before all" and "after all".
const maxSeconds = 9_000_000_000_000

func eventTime(c *column.Column, row int) (column.Time, bool) {
	switch c.Kind {
	case column.Timestamp:
		return c.Ints[row], true
	case column.Int64:
		s := c.Ints[row]
		return s * 1e6, s >= -maxSeconds && s <= maxSeconds
	}
	s := c.Floats[row]
	return column.Time(s * 1e6), s >= -maxSeconds && s <= maxSeconds
}

func (t *timer) advance(v *vertex, in column.Time, idle bool) (column.Time, bool, error) {
	if in == column.MaxTime {
		return in, false, nil
	}
	if len(t.trackers) == 0 {
		return column.MinTime, false, nil
	}
	f := v.flow
	f.scratch = f.scratch[:0]
	for _, tr := range t.trackers {
		f.scratch = append(f.scratch, watermark.Input{Mark: tr.Watermark(), Idle: tr.Idle(f.now)})
	}
	mark, allIdle := watermark.Min(f.scratch, v.mark)
	if mark == column.MaxTime { // the splits have ended, the rows may not all be here yet
		mark = v.mark
	}
	return mark, allIdle, nil
}

// windowInfo makes windowing visible as columns behind those of the input.
type windowInfo struct {
	window window.Assigner
	of     []func(window.Assigner, column.Time) column.Time // nil where the column is the input's
	source []int
	own    []column.Column
	out    column.Batch
}

var windowFields = map[string]func(window.Assigner, column.Time) column.Time{
	"timestamp":    func(_ window.Assigner, t column.Time) column.Time { return t },
	"window_start": func(a window.Assigner, t column.Time) column.Time { return a.Start(t) },
	"window_end":   func(a window.Assigner, t column.Time) column.Time { return a.End(a.Start(t)) },
}

func newWindowInfo(v *vertex) (operator, error) {
	cfg, err := config[physical.WindowInfoConfig](v.spec)
	if err != nil {
		return nil, err
	}
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	w := &windowInfo{}
	if w.window, err = window.New(cfg.Window); err != nil {
		return nil, v.fail(err)
	}
	of := map[string]string{}
	for _, f := range cfg.Fields {
		of[f.Name] = f.Of
	}
	for _, f := range v.spec.Out.Fields {
		fn, source := windowFields[of[f.Name]], -1
		if fn == nil {
			if source = in.Index(f.Name); source < 0 || of[f.Name] != "" {
				return nil, v.fail(fmt.Errorf("column %s is neither of the input nor one of timestamp, window_start, window_end (it is %q)", f.Name, of[f.Name]))
			}
		}
		w.of, w.source = append(w.of, fn), append(w.source, source)
	}
	w.own = make([]column.Column, len(w.of))
	w.out.Schema, w.out.Cols = &v.spec.Out, make([]column.Column, len(w.of))
	return w, nil
}

func (w *windowInfo) process(v *vertex, b *column.Batch, p pass) error {
	w.out.N, w.out.Sel, w.out.Times = b.N, b.Sel, b.Times
	for i, of := range w.of {
		if of == nil {
			w.out.Cols[i] = b.Cols[w.source[i]]
			continue
		}
		c := &w.own[i]
		c.Kind = w.out.Schema.Fields[i].Kind
		if cap(c.Ints) < b.N {
			c.Ints = make([]int64, b.N)
		}
		c.Ints = c.Ints[:b.N]
		if b.Sel == nil {
			for r := range b.N {
				c.Ints[r] = of(w.window, b.Times[r])
			}
		} else {
			for _, r := range b.Sel {
				c.Ints[r] = of(w.window, b.Times[r])
			}
		}
		w.out.Cols[i] = *c
	}
	return v.emit(&w.out, p)
}
