package watermark

import (
	"time"

	"github.com/weir-project/weir/pipelines/column"
)

// Tracker is the watermark of one split of a source. The zero value is not ready: use NewTracker.
type Tracker struct {
	bound    int64 // microseconds; negative: none declared
	idleTime time.Duration
	max      column.Time // latest event time seen
	mark     column.Time
	heard    time.Time
	ended    bool
}

// NewTracker makes the tracker of a split. disorder bounds how much earlier than the latest row seen a later one may be; at zero
// or less none is declared, and the watermark stays at MinTime until the end (C10). idle is the silence after which the split no
// longer holds the others up; zero means never. from is where an earlier owner stood (MinTime at the start), now the time of day.
func NewTracker(disorder, idle time.Duration, from column.Time, now time.Time) Tracker {
	t := Tracker{bound: -1, idleTime: idle, max: column.MinTime, mark: from, heard: now}
	if disorder > 0 {
		// Rounded up: a bound must not be tighter than the one declared.
		t.bound = (disorder + time.Microsecond - 1).Microseconds()
	}
	return t
}

// Observe takes the latest event time of a batch of rows that were read at now.
func (t *Tracker) Observe(latest column.Time, now time.Time) {
	t.heard = now
	if latest > t.max {
		t.max = latest
	}
	if t.bound < 0 || t.ended || t.max < column.MinTime+t.bound {
		return
	}
	if w := t.max - t.bound; w > t.mark {
		t.mark = w
	}
}

// End says that the split has no more rows.
func (t *Tracker) End() { t.ended, t.mark = true, column.MaxTime }

// Ended reports whether End was called.
func (t *Tracker) Ended() bool { return t.ended }

// Watermark is where the split stands; MaxTime after its end.
func (t *Tracker) Watermark() column.Time { return t.mark }

// Idle reports whether the split has been silent for so long that it shall not hold up the others.
func (t *Tracker) Idle(now time.Time) bool {
	return !t.ended && t.idleTime > 0 && now.Sub(t.heard) >= t.idleTime
}

// Input is what one of several inputs contributes to Min.
type Input struct {
	Mark column.Time
	Idle bool
}

// Min is the watermark of several inputs together: the least of those that are not idle, never before floor, the value given out
// last. With no input at all it is MaxTime: nothing can come. If all are idle it stays at floor, and idle is true.
func Min(inputs []Input, floor column.Time) (mark column.Time, idle bool) {
	mark, idle = column.MaxTime, len(inputs) > 0
	for _, in := range inputs {
		if in.Idle {
			continue
		}
		idle = false
		mark = min(mark, in.Mark)
	}
	if idle {
		return floor, true
	}
	return max(mark, floor), false
}
