package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/pipetest"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// cluster runs the slots of a graph over one world.
type cluster struct {
	t     *testing.T
	world *pipetest.World
	graph physical.Graph
	run   uint64
	term  uint64
	clock engine.Clock
	watch func(physical.SlotReport)
	mu    sync.Mutex // guards last
	last  map[checkpoint.Slot]physical.SlotReport
}

func newCluster(t *testing.T, g physical.Graph, rows [][]any) *cluster {
	c := &cluster{t: t, world: pipetest.NewWorld(), graph: g, run: 1, term: 1, last: map[checkpoint.Slot]physical.SlotReport{}}
	c.world.Sources["flights"] = pipetest.Rows(flightSchema, 2, rows)
	return c
}

func (c *cluster) slot(stage string, i int, term uint64) *engine.Slot {
	for _, s := range c.graph.Stages {
		if s.Name == stage {
			return engine.NewSlot(engine.SlotConfig{Slot: slotOf(stage, i), Fragment: s.Fragments[0], Channels: c.graph.Channels, Run: c.run, Term: term,
				Connections: c.world, Log: quiet, Clock: c.clock, Report: func(r physical.SlotReport) {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.last[r.Slot] = r
					if c.watch != nil {
						c.watch(r)
					}
				}})
		}
	}
	c.t.Fatalf("no stage %s", stage)
	return nil
}

// stages runs all slots of stages to their end.
func (c *cluster) stages(names ...string) {
	c.t.Helper()
	var wg sync.WaitGroup
	for _, s := range c.graph.Stages {
		if !slices.Contains(names, s.Name) {
			continue
		}
		for i := range s.Fragments[0].Slots {
			slot := c.slot(s.Name, i, c.term)
			wg.Go(func() {
				if err := slot.Run(c.t.Context()); err != nil {
					c.t.Errorf("slot %s/%d: %v", s.Name, i, err)
				}
			})
		}
	}
	wg.Wait()
}

func (c *cluster) check(rows [][]any) {
	c.t.Helper()
	delays, late, daily := expect(rows)
	same(c.t, "table of delays", c.world.Table("delays").Rows(), delays)
	same(c.t, "channel of late flights", lateRows(c.t, c.world.Records("flights.late")), late)
	same(c.t, "daily rows", c.world.Table("csv").Rows(), daily)
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("%s: %d rows, want %d; the first that differs is number %d: %s, want %s", what, len(got), len(want), i+1, g, w)
		}
	}
}

func TestDemoIsExact(t *testing.T) {
	rows := flights(5000, 1)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(3), rows)
		began := time.Now()
		c.stages("ingest", "hourly")
		// 5,000 rows at 1,000 a second, and the commits behind them
		if took := time.Since(began); took < 4500*time.Millisecond || took > 9*time.Second {
			t.Errorf("took %s", took)
		}
		c.stages("daily")
		c.check(rows)
		for s, r := range c.last {
			if r.State != engine.StateEnded || r.Counters.Late != 0 {
				t.Errorf("slot %s ended as %+v", s, r)
			}
			if n := c.world.StateKeys(s); n != 0 {
				t.Errorf("slot %s leaves %d keys of state", s, n)
			}
		}
	})
}

func TestResultsAreExactWhereverASlotDies(t *testing.T) {
	rows := flights(3000, 2)
	for name, fault := range map[string]pipetest.Fault{
		"every second commit fails":           pipetest.Every(pipetest.CommitBefore, 2),
		"every second outcome stays unknown":  pipetest.Every(pipetest.CommitUnknown, 2),
		"every second apply fails before":     pipetest.Every(pipetest.ApplyBefore, 2),
		"every second apply fails after":      pipetest.Every(pipetest.ApplyAfter, 2),
		"all kinds, at different boundaries":  pipetest.Any(pipetest.Every(pipetest.CommitBefore, 3), pipetest.Every(pipetest.CommitUnknown, 4), pipetest.Every(pipetest.ApplyBefore, 3), pipetest.Every(pipetest.ApplyAfter, 5)),
		"the first commit of each slot fails": pipetest.Any(pipetest.At(pipetest.CommitBefore, 1), pipetest.At(pipetest.CommitUnknown, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, demo(2), rows)
				c.world.Fault = fault
				c.stages("ingest", "hourly")
				c.stages("daily")
				c.check(rows)
			})
		})
	}
}

func TestEveryBoundaryOnce(t *testing.T) {
	rows := flights(1500, 3)
	for _, p := range []pipetest.Point{pipetest.CommitBefore, pipetest.CommitUnknown, pipetest.ApplyBefore, pipetest.ApplyAfter} {
		for step := 1; step <= 8; step++ {
			t.Run(fmt.Sprint(p, "-", step), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCluster(t, demo(2), rows)
					c.world.Fault = func(q pipetest.Point, s checkpoint.Slot, n int) bool { return q == p && n == step }
					c.stages("ingest", "hourly")
					c.stages("daily")
					c.check(rows)
				})
			})
		}
	}
}

func TestSlotsAreTakenOverMidWay(t *testing.T) {
	rows := flights(4000, 4)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(2), rows)
		var wg sync.WaitGroup
		fenced, ended := 0, 0
		for _, stage := range []string{"ingest", "hourly"} {
			for i := range 2 {
				for term := uint64(1); term <= 4; term++ {
					slot := c.slot(stage, i, term)
					wg.Go(func() {
						time.Sleep(time.Duration(term-1) * 1100 * time.Millisecond)
						err := slot.Run(t.Context())
						c.mu.Lock()
						defer c.mu.Unlock()
						switch {
						case errors.Is(err, checkpoint.ErrFenced):
							fenced++
						case err == nil:
							ended++
						default:
							t.Errorf("%s/%d term %d: %v", stage, i, term, err)
						}
					})
				}
			}
		}
		wg.Wait()
		if fenced < 8 || ended < 4 {
			t.Errorf("%d owners were fenced and %d came to the end", fenced, ended)
		}
		c.stages("daily")
		c.check(rows)
	})
}

// stoppedAfter runs the slots of the two streaming stages, two each, and stops them after a while of the bubble's clock.
func (c *cluster) stoppedAfter(d time.Duration) {
	c.t.Helper()
	var wg sync.WaitGroup
	for _, stage := range []string{"ingest", "hourly"} {
		for i := range 2 {
			slot := c.slot(stage, i, 1)
			wg.Go(func() {
				if err := slot.Run(c.t.Context()); err != nil {
					c.t.Error(err)
				}
			})
			wg.Go(func() { time.Sleep(d); slot.Stop() })
		}
	}
	wg.Wait()
}

func TestStoppedSlotsGoOnWhereTheyCommitted(t *testing.T) {
	rows := flights(6000, 5)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(2), rows)
		for range 4 {
			c.stoppedAfter(700 * time.Millisecond)
		}
		if p := c.world.Progress(slotOf("ingest", 0)); p == nil || p.Ended || p.Counters.In < 500 {
			t.Errorf("after four stops progress is %+v", p)
		}
		c.stages("ingest", "hourly")
		c.stages("daily")
		c.check(rows)
	})
}

func TestTheSameInputGivesTheSameOutput(t *testing.T) {
	rows := flights(2000, 6)
	var first []string
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, demo(3), rows)
			c.stages("ingest", "hourly")
			var all []string
			all = append(append(all, c.world.Table("delays").Rows()...), lateRows(t, c.world.Records("flights.late"))...)
			if first == nil {
				first = all
			}
			same(t, "both runs", all, first)
		})
	}
}

func TestAnEndedSlotSaysSoToItsNextOwnerAndARunThatFollowsBeginsAnew(t *testing.T) {
	rows := flights(1000, 7)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(2), rows)
		c.stages("ingest", "hourly")
		before := c.world.Progress(slotOf("hourly", 1)).Epoch
		if err := c.slot("hourly", 1, 2).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := c.world.Progress(slotOf("hourly", 1)).Epoch; after != before {
			t.Errorf("an ended slot went from epoch %d to %d", before, after)
		}
		c.run, c.term = 2, 3
		c.stages("ingest", "hourly")
		p := c.world.Progress(slotOf("hourly", 1))
		if p.Run != 2 || !p.Ended || p.Counters.In == 0 || p.Counters.In >= 1000 {
			t.Errorf("the second run ended with %+v", p)
		}
		delays, _, _ := expect(rows)
		same(t, "table of delays after a second run", c.world.Table("delays").Rows(), delays)
		if n := len(c.world.Records("flights.departures")); n != 2000 {
			t.Errorf("the channel holds %d records of two runs", n)
		}
	})
}

func TestRowsBeyondTheDeclaredDisorderAreCountedAsLate(t *testing.T) {
	rows := flights(2000, 8)
	rows = append(rows, []any{int64(978307200), 5, "A00"}, []any{int64(978307201), 500, "A01"})
	synctest.Test(t, func(t *testing.T) {
		g := demo(1)
		g.Stages[0].Fragments[0].Slots = 1
		c := newCluster(t, g, rows)
		c.world.Sources["flights"] = pipetest.Rows(flightSchema, 1, rows)
		c.stages("ingest", "hourly")
		if got := c.last[slotOf("hourly", 0)].Counters; got.Late != 2 || got.In != 2002 || got.Absorbed != 2000 {
			t.Errorf("counters are %+v", got)
		}
		delays, late, _ := expect(rows[:2000])
		same(t, "table of delays", c.world.Table("delays").Rows(), delays)
		if n := len(c.world.Records("flights.late")); n != len(late)+1 {
			t.Errorf("%d very late flights, want %d", n, len(late)+1)
		}
	})
}

func TestASlotThatOwnsNoSplitSaysSoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := demo(2)
		g.Stages[0].Fragments[0].Slots = 3 // and two splits
		c := newCluster(t, g, nil)
		began := time.Now()
		c.stages("ingest", "hourly")
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("an empty input took %s", took)
		}
	})
}

func TestASlotThatCannotGoOnSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(1), flights(10, 9))
		c.world.Fault = func(p pipetest.Point, _ checkpoint.Slot, n int) bool { return p == pipetest.CommitBefore }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := c.slot("ingest", 0, 1).Run(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		if r := c.last[slotOf("ingest", 0)]; r.State != engine.StateWaiting || r.Reason == "" {
			t.Errorf("report is %+v", r)
		}
	})
}
