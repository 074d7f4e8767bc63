package beam

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	beamwindow "github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/state"
	"github.com/weir-project/weir/pipelines/window"
)

// combineSpec is a combine node with the schema of its input.
type combineSpec struct {
	Node physical.Node `json:"node"`
	In   column.Schema `json:"in"`
}

func (s combineSpec) kernel() (*kernel.Combine, error) { return kernel.NewCombine(s.Node, s.In) }

func parseCombine(spec []byte) (combineSpec, *kernel.Combine, error) {
	var s combineSpec
	if err := json.Unmarshal(spec, &s); err != nil {
		return s, nil, fmt.Errorf("read a combine: %w", err)
	}
	k, err := s.kernel()
	return s, k, err
}

// windows is how Beam divides event time for a combine. Beam's windows begin at multiples of their period, so times are shifted by the offset before and
// back behind it. step is the longest piece of time that no window divides: rows of one step may be aggregated before they are windowed.
type windows struct {
	fn    *beamwindow.Fn
	step  window.Assigner
	shift int64 // microseconds
}

// maxTime bounds the event times that Beam is given, in microseconds either way: 73,000 years.
const maxTime = 1 << 61

func windowsOf(c physical.WindowConfig) (windows, error) {
	if c.Type == "" || c.Type == "global" {
		return windows{fn: beamwindow.NewGlobalWindows()}, nil
	}
	period := c.Size
	if c.Type == "sliding" {
		period = c.Period
	}
	if period < time.Millisecond {
		return windows{}, fmt.Errorf("%s windows have a period of %s", c.Type, period)
	}
	shift := c.Offset % period
	step, err := window.New(physical.WindowConfig{Type: "fixed", Size: gcd(c.Size, period), Offset: shift})
	w := windows{step: step, shift: shift.Microseconds(), fn: beamwindow.NewFixedWindows(c.Size)}
	if c.Type == "sliding" {
		w.fn = beamwindow.NewSlidingWindows(c.Period, c.Size)
		// The SDK rounds towards 1970 and not towards the past, so that times before 1970 fall into windows that they are not in (2.77,
		// exec.assignWindows). Whole periods more change no window, and keep clear of it.
		w.shift -= (maxTime/period.Microseconds() + 1) * period.Microseconds()
	}
	return w, err
}

func gcd(a, b time.Duration) time.Duration {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// partialFn aggregates the rows of a batch by key and step, and emits each partial at the time of its step.
type partialFn struct {
	Spec []byte

	spec    combineSpec
	kernel  *kernel.Combine
	windows windows
	in      *column.Batch
	seed    uint64
}

// Setup is called by Beam, once for each instance.
func (f *partialFn) Setup() error {
	var err error
	if f.spec, f.kernel, err = parseCombine(f.Spec); err != nil {
		return err
	}
	if f.windows, err = windowsOf(f.kernel.Config.Window); err != nil {
		return err
	}
	f.in, f.seed = column.NewBatch(&f.spec.In, batchRows), rand.Uint64() //nolint:gosec // chance, so that keys chosen to collide do not; no secret
	return nil
}

// ProcessElement is called by Beam for each batch.
func (f *partialFn) ProcessElement(ctx context.Context, at beam.EventTime, element []byte, emit func(beam.EventTime, []byte, []byte)) error {
	flags, err := decode(f.in, element)
	if err != nil {
		return err
	}
	values, err := f.kernel.Values(f.in)
	if err != nil {
		return err
	}
	cfg := f.kernel.State
	cfg.Window, cfg.Lateness, cfg.Seed = f.windows.step, 0, f.seed
	table, err := state.New(cfg) // one a batch: what it emits is kept by the runner
	if err != nil {
		return err
	}
	n, _, err := table.Update(f.in, f.kernel.Keys, values)
	if err != nil {
		return fmt.Errorf("%s: %w", f.spec.Node.Path, err)
	}
	if flags&flagDerived == 0 {
		count(ctx, absorbed, n)
	}
	for _, kv := range table.Changes() {
		key := kv.Key[:len(kv.Key)-8]
		if !f.windows.step.Global() {
			if at, err = f.windows.timeOf(start(kv.Key)); err != nil {
				return fmt.Errorf("%s: %w", f.spec.Node.Path, err)
			}
		}
		emit(at, key, kv.Value)
	}
	return nil
}

// start is the start of the window in a key of package state (docs/formats/combine-state.md).
func start(key []byte) column.Time {
	return int64(binary.BigEndian.Uint64(key[len(key)-8:]) ^ 1<<63)
}

// timeOf is the event time in Beam's milliseconds of a step.
func (w windows) timeOf(step column.Time) (beam.EventTime, error) {
	if step < -maxTime || step > maxTime {
		return 0, fmt.Errorf("a row has no event time, or one that is beyond Beam's, and its windows need one; put an AssignTimestamps in front")
	}
	return mtime.FromMilliseconds((step - w.shift) / 1000), nil
}

// mergeFn merges partials.
type mergeFn struct {
	Spec []byte

	merger *state.Merger
}

// Setup is called by Beam, once for each instance.
func (f *mergeFn) Setup() error {
	_, k, err := parseCombine(f.Spec)
	if err == nil {
		f.merger, err = state.NewMerger(k.State)
	}
	return err
}

// MergeAccumulators is called by Beam for two partials of one key and window.
func (f *mergeFn) MergeAccumulators(a, b []byte) ([]byte, error) {
	if f.merger == nil {
		if err := f.Setup(); err != nil {
			return nil, err
		}
	}
	return f.merger.Merge(a, b)
}

// resultFn makes rows of merged partials.
type resultFn struct {
	Spec []byte

	kernel  *kernel.Combine
	windows windows
	table   *state.Table // of a global window, for one entry at a time
	out     *column.Batch
	schema  column.Schema
}

// Setup is called by Beam, once for each instance.
func (f *resultFn) Setup() error {
	s, k, err := parseCombine(f.Spec)
	if err != nil {
		return err
	}
	f.kernel, f.schema = k, s.Node.Out
	if f.windows, err = windowsOf(k.Config.Window); err != nil {
		return err
	}
	cfg := k.State
	cfg.Window, cfg.Lateness = window.Assigner{}, 0
	f.out = column.NewBatch(&f.schema, 1)
	f.table, err = state.New(cfg)
	return err
}

// ProcessElement is called by Beam for each key and window.
func (f *resultFn) ProcessElement(ctx context.Context, w beam.Window, key, value []byte, emit func([]byte)) error {
	full := binary.BigEndian.AppendUint64(append([]byte(nil), key...), 0) // the start of the global window
	if err := f.table.Restore([]checkpoint.KV{{Key: full, Value: value}}); err != nil {
		return err
	}
	f.table.SetFired(column.MinTime)
	err := f.table.Fire(column.MaxTime, f.out, 1, func(b *column.Batch) error {
		if iw, ok := w.(beamwindow.IntervalWindow); ok {
			b.Times[0] = int64(iw.End)*1000 + f.windows.shift - 1
		}
		count(ctx, emitted, 1)
		emit(encode(b, flagDerived))
		return nil
	})
	f.table.Changes() // forgets what was restored
	return err
}
