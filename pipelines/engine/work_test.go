package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/pipetest"
)

// In the bubble's time transforms take none, so that whatever a slot says to have spent is what it waited for.
func TestASlotsTimeIsWhatItWaitedForAndNotWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(3), flights(5000, 1))
		began := time.Now()
		commits, applies := map[checkpoint.Slot]int{}, map[checkpoint.Slot]int{}
		seen := 0
		c.watch = func(r physical.SlotReport) {
			w := r.Work
			if w == nil {
				return
			}
			seen++
			switch at := time.Since(began); {
			case w.Busy != 0 || r.BusyNanos != 0:
				t.Errorf("slot %s was at work for %s of virtual time", r.Slot, time.Duration(w.Busy))
			case w.At != int64(at):
				t.Errorf("slot %s measures %s after %s", r.Slot, time.Duration(w.At), at)
			case w.Commit+w.Sink > w.At:
				t.Errorf("slot %s waited for %s within %s", r.Slot, time.Duration(w.Commit+w.Sink), time.Duration(w.At))
			case r.Slot.Stage == "ingest" && r.State == "running" && w.Rows > 0 && w.Offered != 500 && w.Offered != 0:
				t.Errorf("slot %s is offered %v rows a second, want its half of the pace of 1,000", r.Slot, w.Offered)
			}
		}
		c.world.Fault = func(p pipetest.Point, s checkpoint.Slot, _ int) bool {
			c.mu.Lock()
			switch p {
			case pipetest.CommitBefore:
				commits[s]++
			case pipetest.ApplyBefore:
				applies[s]++
			}
			c.mu.Unlock()
			switch p {
			case pipetest.CommitBefore:
				time.Sleep(30 * time.Millisecond)
			case pipetest.ApplyBefore:
				time.Sleep(200 * time.Millisecond)
			}
			return false
		}
		c.stages("ingest", "hourly")
		if seen < 20 {
			t.Errorf("%d reports with measurements", seen)
		}
		hourly := c.last[slotOf("hourly", 0)]
		if hourly.Work == nil || hourly.Work.Rows != hourly.Counters.In || hourly.Work.Rows == 0 {
			t.Fatalf("hourly counts %d rows and measures %+v", hourly.Counters.In, hourly.Work)
		}
		for s, r := range c.last {
			commit, sink := time.Duration(r.Work.Commit), time.Duration(r.Work.Sink)
			// The last report may come before the commit that says that the last outbox was applied.
			if all := time.Duration(commits[s]) * 30 * time.Millisecond; commit != all && commit != all-30*time.Millisecond {
				t.Errorf("slot %s waited %s for %d commits of 30 ms", s, commit, commits[s])
			}
			if sink != time.Duration(applies[s])*200*time.Millisecond {
				t.Errorf("slot %s waited %s for %d applications of 200 ms", s, sink, applies[s])
			}
		}
	})
}
