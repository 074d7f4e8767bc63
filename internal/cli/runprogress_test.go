package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/console"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

func reportOf(stage, state string, in, written int64, mark column.Time) engine.LocalProgress {
	return engine.LocalProgress{Stage: stage, Fragment: "f0", Report: physical.SlotReport{State: state, Watermark: mark, Counters: checkpoint.Counters{In: in, Written: written}}}
}

func TestARunsLineTellsRowsAndTheRateSinceTheLastReport(t *testing.T) {
	p := newRunProgress(console.NewProgress(&bytes.Buffer{}))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p.now = func() time.Time { return now }
	for _, step := range []struct {
		after time.Duration
		told  engine.LocalProgress
		note  string
	}{
		{0, reportOf("main", engine.StateStarting, 0, 0, column.MinTime), "0 rows in"},
		{time.Second, reportOf("main", engine.StateRunning, 5000, 0, column.MinTime), "5,000 rows in, 5,000 rows/s"},
		{2 * time.Second, reportOf("main", engine.StateRunning, 11000, 3, 60_000_000), "11,000 rows in, 3,000 rows/s, 3 out, watermark 1970-01-01T00:01:00Z"},
		{time.Millisecond, reportOf("main", engine.StateRunning, 11001, 3, column.MaxTime), "11,001 rows in, 3 out"}, // too soon for a rate
		{time.Second, reportOf("main", engine.StateEnded, 12000, 4, column.MaxTime), "12,000 rows in"},
	} {
		now = now.Add(step.after)
		l := p.line("main/f0", step.told)
		if l.Note != step.note || l.Ended != (step.told.Report.State == engine.StateEnded) {
			t.Errorf("%s: got %q (ended %t), want %q", step.told.Report.State, l.Note, l.Ended, step.note)
		}
	}
}

func TestARunOfSeveralStagesKeepsALineForEach(t *testing.T) {
	var b bytes.Buffer
	p := newRunProgress(console.NewProgress(&b))
	p.show(reportOf("first", engine.StateRunning, 0, 0, column.MinTime))
	p.show(reportOf("second", engine.StateRunning, 0, 0, column.MinTime))
	p.show(reportOf("first", engine.StateEnded, 0, 0, column.MinTime))
	if len(p.lines) != 2 || p.order[0] != "first/f0" || !p.lines["first/f0"].Ended || p.lines["second/f0"].Ended {
		t.Errorf("order %v, lines %+v", p.order, p.lines)
	}
}

func TestTheSummaryNamesWhatWasNotPassedOn(t *testing.T) {
	res := engine.Result{Took: 2 * time.Second, Fragments: []engine.LocalProgress{{Report: physical.SlotReport{Counters: checkpoint.Counters{In: 10, Written: 6, Filtered: 3, Late: 1}}}}}
	if got, want := summary(res), "10 rows in, 6 out in 2.00s (5 rows/s); 3 filtered, 1 late"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := summary(engine.Result{}), "0 rows in, 0 out in 0.00s (0 rows/s)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
