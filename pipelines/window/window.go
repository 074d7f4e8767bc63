package window

import (
	"fmt"
	"math"
	"time"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// Assigner maps event times to windows. A window is named by its start, which is unique within one assigner.
type Assigner struct {
	size   int64 // microseconds; 0 is the global window
	period int64 // of the starts; equal to size for fixed windows
	offset int64 // 0 <= offset < period
}

// New makes the assigner that c describes. An empty type is global, as in Beam. Durations count in whole microseconds.
func New(c physical.WindowConfig) (Assigner, error) {
	switch c.Type {
	case "", "global":
		return Assigner{}, nil
	case "fixed":
		return periodic(c.Type, c.Size, c.Size, c.Offset)
	case "sliding":
		return periodic(c.Type, c.Size, c.Period, c.Offset)
	case "sessions":
		return Assigner{}, fmt.Errorf("assign windows: type sessions is not supported; use fixed or sliding windows")
	}
	return Assigner{}, fmt.Errorf("assign windows: unknown type %q (global, fixed, sliding)", c.Type)
}

func periodic(kind string, size, period, offset time.Duration) (Assigner, error) {
	s, p := size.Microseconds(), period.Microseconds()
	switch {
	case s <= 0:
		return Assigner{}, fmt.Errorf("assign %s windows: size is %s; give one of at least 1us", kind, size)
	case p <= 0:
		return Assigner{}, fmt.Errorf("assign %s windows: period is %s; give one of at least 1us", kind, period)
	case p > s:
		return Assigner{}, fmt.Errorf("assign %s windows: period %s is longer than size %s, so that rows between two windows would be lost", kind, period, size)
	}
	o := offset.Microseconds() % p
	if o < 0 {
		o += p
	}
	return Assigner{size: s, period: p, offset: o}, nil
}

// Global reports whether there is one window for all time.
func (a Assigner) Global() bool { return a.size == 0 }

// Single reports whether every row falls into exactly one window.
func (a Assigner) Single() bool { return a.size == a.period }

// Start is the start of the latest window that contains t: of the only one, unless the windows slide.
func (a Assigner) Start(t column.Time) column.Time {
	if a.size == 0 {
		return column.MinTime
	}
	// floor((t - offset) / period), in an order that cannot overflow
	r := t % a.period
	if r -= a.offset; r < 0 {
		r += a.period
	}
	if r < 0 { // t was negative: one more period
		r += a.period
	}
	if t < math.MinInt64+r {
		return column.MinTime
	}
	return t - r
}

// Assign appends to dst the starts of the windows that contain t, earliest first.
func (a Assigner) Assign(t column.Time, dst []column.Time) []column.Time {
	last := a.Start(t)
	if a.Single() {
		return append(dst, last)
	}
	n := len(dst)
	for s := last; a.End(s) > t; s -= a.period {
		dst = append(dst, s)
		if s < math.MinInt64+a.period {
			break
		}
	}
	for i, j := n, len(dst)-1; i < j; i, j = i+1, j-1 {
		dst[i], dst[j] = dst[j], dst[i]
	}
	return dst
}

// End is the first time after the window that starts at start; MaxTime for the global window.
func (a Assigner) End(start column.Time) column.Time {
	if a.size == 0 || start > math.MaxInt64-a.size {
		return column.MaxTime
	}
	if start == column.MinTime { // clamped: the end is that of the window which the earliest time lies in
		r := start % a.period
		if r -= a.offset; r < 0 {
			r += a.period
		}
		if r < 0 {
			r += a.period
		}
		return start + (a.size - r)
	}
	return start + a.size
}

// MaxTime is the last microsecond inside the window.
func (a Assigner) MaxTime(start column.Time) column.Time { return a.End(start) - 1 }
