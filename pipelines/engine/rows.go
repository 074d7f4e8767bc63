package engine

import (
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/watermark"
)

// through passes batches on: flatten, and a windowing without an aggregation (each operator that needs windows carries its own).
type through struct{}

func (through) process(v *vertex, b *column.Batch, p pass) error { return v.emit(b, p) }

// applied is an operator that is one kernel: each row becomes a row.
type applied struct {
	kernel interface {
		Apply(b *column.Batch) (*column.Batch, error)
	}
}

func (a applied) process(v *vertex, b *column.Batch, p pass) error {
	out, err := a.kernel.Apply(b)
	if err != nil {
		return err
	}
	return v.emit(out, p)
}

func newMapper(v *vertex) (operator, error) {
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	k, err := kernel.NewMap(v.spec, in)
	return applied{k}, err
}

func newWindowInfo(v *vertex) (operator, error) {
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	k, err := kernel.NewWindowInfo(v.spec, in)
	return applied{k}, err
}

// filter counts what its kernel takes out.
type filter struct{ kernel *kernel.Filter }

func newFilter(v *vertex) (operator, error) {
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	k, err := kernel.NewFilter(v.spec, in)
	return filter{k}, err
}

func (f filter) process(v *vertex, b *column.Batch, p pass) error {
	out, err := f.kernel.Apply(b)
	if err != nil {
		return err
	}
	if !p.derived {
		v.flow.counters.Filtered += int64(b.Len() - out.Len())
	}
	return v.emit(out, p)
}

// timer assigns event times. What its inputs know of event time says nothing about the new times, so the node has a watermark of its own: from the
// bound on disorder of the sources before it, tracked for each split, or else MinTime until the end.
type timer struct {
	kernel   *kernel.Time
	trackers map[int]*watermark.Tracker // by split, if a bound was declared
}

func newTimer(v *vertex) (operator, error) {
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	k, err := kernel.NewTime(v.spec, in)
	return &timer{kernel: k, trackers: map[int]*watermark.Tracker{}}, err
}

func (t *timer) process(v *vertex, b *column.Batch, p pass) error {
	out, err := t.kernel.Apply(b)
	if err != nil {
		return err
	}
	if tr := t.trackers[p.split]; tr != nil {
		tr.Observe(t.kernel.Latest(), v.flow.now)
	}
	return v.emit(out, p)
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
