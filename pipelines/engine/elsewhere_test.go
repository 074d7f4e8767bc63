package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/pipetest"
)

// abroad is a world in which another engine runs jobs: it says that it read and staged as many rows as it is told, and what else run does.
type abroad struct {
	*pipetest.World
	rows int
	jobs int
	run  func(ctx context.Context, n int, res *physical.JobResult) error // n counts the jobs, from 1
}

func (a *abroad) RunJob(ctx context.Context, job physical.Job) (physical.JobResult, error) {
	a.jobs++
	rows := int64(a.rows)
	res := physical.JobResult{Version: physical.JobVersion, Counters: checkpoint.Counters{In: rows, Out: rows, Written: rows}}
	for i := range a.rows {
		res.Outbox = append(res.Outbox, physical.JobEntry{Node: "Write", Entry: fmt.Appendf(nil, `{"key": "%d of job %d", "row": {"job":%d}, "at": 1}`, i, a.jobs, a.jobs)})
	}
	if a.run == nil {
		return res, nil
	}
	err := a.run(ctx, a.jobs, &res)
	return res, err
}

func (a *abroad) slot(term uint64) *engine.Slot {
	f := physical.Fragment{Name: "f0", Slots: 1, Once: true, Nodes: []physical.Node{
		node("Read", physical.OpRead, people, physical.ReadConfig{Connector: "nobody opens it here", Schema: people, Bounded: true}),
		node("Write", physical.OpWrite, people, physical.WriteConfig{Connector: "csv"}, "Read")}}
	return engine.NewSlot(engine.SlotConfig{Slot: slotOf("abroad", 0), Fragment: f, Run: 1, Term: term, Engine: physical.EngineBeam, Runner: physical.RunnerPrism,
		Connections: a, Log: quiet})
}

func (a *abroad) check(t *testing.T, jobs int, rows string) {
	t.Helper()
	got := strings.Join(a.Table("csv").Rows(), " ")
	if a.jobs != jobs || got != rows {
		t.Errorf("%d jobs made %s, want %d and %s", a.jobs, got, jobs, rows)
	}
}

func TestWhatAnotherEngineStagedIsCommittedOnceWhateverFails(t *testing.T) {
	for what, c := range map[string]struct {
		fault pipetest.Fault
		run   func(context.Context, int, *physical.JobResult) error
		jobs  int
		rows  string
	}{
		"nothing":                         {jobs: 1, rows: `{"job":1} {"job":1}`},
		"the first job":                   {run: func(_ context.Context, n int, _ *physical.JobResult) error { return firstFails(n) }, jobs: 2, rows: `{"job":2} {"job":2}`},
		"the commit":                      {fault: pipetest.At(pipetest.CommitBefore, 1), jobs: 2, rows: `{"job":2} {"job":2}`},
		"the answer to the commit":        {fault: pipetest.At(pipetest.CommitUnknown, 1), jobs: 1, rows: `{"job":1} {"job":1}`},
		"the sink, before it did a thing": {fault: pipetest.At(pipetest.ApplyBefore, 1), jobs: 1, rows: `{"job":1} {"job":1}`},
		"the sink, after it did all":      {fault: pipetest.At(pipetest.ApplyAfter, 1), jobs: 1, rows: `{"job":1} {"job":1}`},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &abroad{World: pipetest.NewWorld(), rows: 2, run: c.run}
				a.Fault = c.fault
				if err := a.slot(1).Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				a.check(t, c.jobs, c.rows)
				p := a.Progress(slotOf("abroad", 0))
				if p == nil || !p.Ended || p.Watermark != column.MaxTime || p.Counters.In != 2 || p.Counters.Written != 2 {
					t.Errorf("the progress is %+v", p)
				}
				if err := a.slot(2).Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				a.check(t, c.jobs, c.rows) // the next owner has nothing to do
			})
		})
	}
}

func firstFails(n int) error {
	if n == 1 {
		return errors.New("killed")
	}
	return nil
}

func TestAnOwnerThatWasFencedWhileItsJobRanMakesNothingVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &abroad{World: pipetest.NewWorld(), rows: 1}
		a.run = func(ctx context.Context, n int, _ *physical.JobResult) error {
			if n > 1 {
				return nil
			}
			return a.slot(2).Run(ctx) // takes over, runs the job again and ends
		}
		if err := a.slot(1).Run(t.Context()); !errors.Is(err, checkpoint.ErrFenced) {
			t.Errorf("the first owner ended with %v", err)
		}
		a.check(t, 2, `{"job":2}`)
	})
}

func TestASlotThatIsStoppedStopsItsJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &abroad{World: pipetest.NewWorld(), rows: 1}
		var s *engine.Slot
		a.run = func(ctx context.Context, _ int, _ *physical.JobResult) error {
			s.Stop()
			<-ctx.Done()
			return context.Cause(ctx)
		}
		s = a.slot(1)
		if err := s.Run(t.Context()); err != nil {
			t.Errorf("a stopped slot ended with %v", err)
		}
		a.check(t, 1, "")
	})
}

func TestAJobThatTellsNonsenseCommitsNothing(t *testing.T) {
	for want, run := range map[string]func(*physical.JobResult){
		"conservation of rows (I2) is violated": func(r *physical.JobResult) { r.Counters.In++ },
		"1 missing (a), 0 unexpected": func(r *physical.JobResult) {
			r.Asserted = &physical.JobAssertion{Node: "Assert", Missing: []string{"a"}}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &abroad{World: pipetest.NewWorld(), rows: 1}
			a.run = func(_ context.Context, _ int, r *physical.JobResult) error { run(r); return nil }
			if err := a.slot(1).Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
			a.check(t, 1, "")
		})
	}
}
