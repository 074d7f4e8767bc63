package engine

import (
	"testing"
	"time"
)

// A slot that stood still has not listened: its sources are not idle for that.
func TestOnlyTheTimeThatASlotListensCountsAsSilence(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := &attempt{cfg: &SlotConfig{Clock: func() time.Time { return now }, CommitInterval: time.Second}, attention: now}
	began := a.attention
	step := func(waits, works time.Duration) {
		since := now
		now = now.Add(waits)
		a.listened(since)
		now = now.Add(works)
	}
	step(300*time.Millisecond, 40*time.Second) // a commit, and an outbox that a slow database takes
	step(700*time.Millisecond, 0)
	if got := a.attention.Sub(began); got != time.Second {
		t.Errorf("it listened for %s, want 1s", got)
	}
	step(time.Hour, 0) // the process was paused while it waited
	if got := a.attention.Sub(began); got != 3*time.Second {
		t.Errorf("after a pause it listened for %s, want 3s: no longer than its own timer twice", got)
	}
}
