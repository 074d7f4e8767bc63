package engine_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/pipetest"
)

// slowIngest changes the demo's source.
func slowIngest(g physical.Graph, pace float64, bound time.Duration) physical.Graph {
	g.Stages[0].Fragments[0].Nodes[0] = node("Read", physical.OpRead, flightSchema, physical.ReadConfig{Connector: "flights", Schema: flightSchema, Bounded: true, Disorder: bound, Pace: pace})
	return g
}

// A reader that starts when everything was written sees every watermark before the first record: only the ends in them hold it back.
func TestAReaderThatIsFarBehindTakesNothingForLate(t *testing.T) {
	rows := flights(400, 20)
	for name, bound := range map[string]time.Duration{"with a bound on disorder": disorder, "without one": 0} {
		for kind, fault := range map[string]pipetest.Fault{"": nil, ", outcomes unknown": pipetest.Every(pipetest.CommitUnknown, 3), ", commits lost": pipetest.Every(pipetest.CommitBefore, 3)} {
			t.Run(name+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCluster(t, slowIngest(demo(2), 10, bound), rows)
					c.world.Fault = fault
					c.stages("ingest")
					c.stages("hourly")
					for s, r := range c.last {
						if r.Counters.Late != 0 {
							t.Errorf("slot %s took %d rows for late", s, r.Counters.Late)
						}
					}
					checkPublished(t, c.world.Published("_weir.flights.departures.watermarks"))
					c.stages("daily")
					c.check(rows)
				})
			})
		}
	}
}

// checkPublished holds what every reader relies on: a writer's watermarks and ends never fall, and watermarks are of the precision of record times.
func checkPublished(t *testing.T, all []checkpoint.Published) {
	t.Helper()
	last := map[string]checkpoint.Published{}
	for _, p := range all {
		before := last[p.Writer]
		if before.Writer != "" && p.Watermark < before.Watermark {
			t.Errorf("writer %s published the watermark %d after %d", p.Writer, p.Watermark, before.Watermark)
		}
		for part, end := range before.Ends {
			if p.Ends[part] < end {
				t.Errorf("writer %s published the end %d of partition %d after %d", p.Writer, p.Ends[part], part, end)
			}
		}
		if p.Watermark != column.MaxTime && p.Watermark != column.MinTime && p.Watermark%1000 != 0 {
			t.Errorf("writer %s published the watermark %d, between two milliseconds", p.Writer, p.Watermark)
		}
		last[p.Writer] = p
	}
	if len(last) != 2 {
		t.Errorf("%d writers published", len(last))
	}
	for _, p := range last {
		if !p.Ended || p.Watermark != column.MaxTime {
			t.Errorf("the last word of writer %s is %+v", p.Writer, p)
		}
	}
}

// The first combine emits an hour two hours late; the second, by day, must wait for it.
func TestACombineBehindOneWithLatenessWaitsForIt(t *testing.T) {
	rows := flights(6000, 26) // two days
	synctest.Test(t, func(t *testing.T) {
		g := demo(1)
		first := g.Stages[1].Fragments[0].Nodes[1]
		cfg := physical.CombineConfig{GroupBy: []string{"origin"}, Window: physical.WindowConfig{Type: "fixed", Size: time.Hour}, Lateness: 2 * time.Hour,
			Aggregates: []physical.Aggregate{{Name: "flights", Fn: "count", Kind: column.Int64}, {Name: "delay_sum", Fn: "sum", Expr: "delay", Kind: column.Int64}, {Name: "delay_max", Fn: "max", Expr: "delay", Kind: column.Int64}}}
		daily := g.Stages[2].Fragments[0].Nodes
		perDay := daily[2]
		perDay.Inputs = []string{first.Path}
		g.Stages[1].Fragments[0].Nodes = []physical.Node{g.Stages[1].Fragments[0].Nodes[0], node(first.Path, physical.OpCombine, hourSchema, cfg, "Departures"), perDay, daily[3], daily[4], daily[5]}
		if daily[3].Path != "Day" || perDay.Op != physical.OpCombine {
			t.Fatal("the demo's graph is not the one that this test knows")
		}
		c := newCluster(t, g, rows)
		c.stages("ingest", "hourly")
		_, _, want := expect(rows)
		same(t, "daily rows", c.world.Table("csv").Rows(), want)
		if k := c.last[slotOf("hourly", 0)].Counters; k.In != 6000 || k.Absorbed != 6000 || k.Written != int64(len(want)) || k.Emitted <= k.Written {
			t.Errorf("counters are %+v", k)
		}
	})
}

func TestWriteTimestampsRiseWhateverTheClockSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(1), flights(500, 21))
		c.stages("ingest", "hourly")
		last := c.world.Progress(slotOf("hourly", 0)).WriteTime
		rows := flights(500, 22)
		c.world.Sources["flights"] = pipetest.Rows(flightSchema, 2, rows)
		c.run = 2
		c.clock = func() time.Time { return time.Now().Add(-time.Hour) }
		c.stages("ingest", "hourly")
		if next := c.world.Progress(slotOf("hourly", 0)).WriteTime; next <= last || next > last+1000 {
			t.Errorf("write time went from %d to %d", last, next)
		}
		delays, _, _ := expect(rows)
		got := map[string]bool{}
		for _, r := range c.world.Table("delays").Rows() {
			got[r] = true
		}
		for _, want := range delays {
			if !got[want] {
				t.Fatalf("the second run's row %s did not win over the first's", want)
			}
		}
	})
}

func TestARunThatIsGivenUpLeavesNoStateToTheNext(t *testing.T) {
	rows := flights(2000, 23)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(2), rows)
		c.stoppedAfter(1500 * time.Millisecond)
		if n := c.world.StateKeys(slotOf("hourly", 0)); n == 0 {
			t.Fatal("the first run left no open window: nothing is tested")
		}
		c.run = 2
		c.stages("ingest", "hourly")
		for i := range 2 {
			if n := c.world.StateKeys(slotOf("hourly", i)); n != 0 {
				t.Errorf("slot %d holds %d keys of state after the end", i, n)
			}
		}
	})
}

func TestAnEarlierRunIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(1), flights(10, 24))
		c.run = 2
		c.stages("ingest")
		c.run = 1
		slot := engine.NewSlot(engine.SlotConfig{Slot: slotOf("ingest", 0), Fragment: c.graph.Stages[0].Fragments[0], Channels: c.graph.Channels, Run: 1, Term: 2, Connections: c.world, Log: quiet, FailFast: true})
		if err := slot.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "run 2") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestASinkThatHangsIsNamedInTheReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, demo(1), flights(10, 25))
		var once sync.Once
		hung := make(chan struct{})
		c.world.Fault = func(p pipetest.Point, s checkpoint.Slot, n int) bool {
			if p == pipetest.ApplyBefore {
				once.Do(func() { <-hung })
			}
			return false
		}
		go func() { time.Sleep(20 * time.Second); close(hung) }()
		seen := make(chan physical.SlotReport, 100)
		c.watch = func(r physical.SlotReport) {
			if r.Slot.Stage == "hourly" {
				seen <- r
			}
		}
		c.stages("ingest", "hourly")
		close(seen)
		waited := false
		var last physical.SlotReport
		for last = range seen {
			waited = waited || last.State == engine.StateWaiting && strings.Contains(last.Reason, "apply")
		}
		if !waited || last.State != engine.StateEnded {
			t.Errorf("it was told that the slot waits: %v; the last report is %+v", waited, last)
		}
	})
}

func TestAHopelessSlotFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := graphOf(elements("Create", people, peopleRows...), expected("Assert", "Create"))
		var last physical.SlotReport
		slot := engine.NewSlot(engine.SlotConfig{Slot: slotOf("main", 0), Fragment: g.Stages[0].Fragments[0], Run: 1, Term: 1, Connections: pipetest.NewWorld(), Log: quiet,
			Report: func(r physical.SlotReport) { last = r }})
		var a *engine.AssertionError
		if err := slot.Run(t.Context()); !errors.As(err, &a) || len(a.Unexpected) != 4 {
			t.Errorf("error is %v", err)
		}
		if last.State != engine.StateFailed || last.Reason == "" {
			t.Errorf("report is %+v", last)
		}
	})
}

// Any schedule of faults: each boundary of each slot fails with a probability of a quarter, decided by a seed.
func TestAnyScheduleOfFaultsGivesTheSameResults(t *testing.T) {
	rows := flights(1200, 27)
	for seed := range uint64(25) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, demo(1+int(seed%4)), rows)
				c.world.Fault = func(p pipetest.Point, s checkpoint.Slot, n int) bool {
					h := fnv.New64a()
					fmt.Fprint(h, seed, p, s, n)
					return h.Sum64()>>13%4 == 0
				}
				c.stages("ingest", "hourly")
				c.stages("daily")
				c.check(rows)
				checkPublished(t, c.world.Published("_weir.flights.departures.watermarks"))
			})
		})
	}
}

// A silent split holds nobody up once it is idle.
func TestAnIdleSourceLetsTheOtherGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := pipetest.NewWorld()
		world.Sources["flights"] = pipetest.Rows(flightSchema, 1, flights(1000, 28))
		silent := physical.Channel{Name: "silent", Kafka: &physical.KafkaChannel{Topic: "silent", Partitions: 1}, Schema: flightSchema}
		minute := physical.WindowConfig{Type: "fixed", Size: time.Minute}
		run := func(idle time.Duration) int64 {
			f := physical.Fragment{Name: "f0", Slots: 1, Nodes: []physical.Node{
				node("Silent", physical.OpRead, flightSchema, physical.ReadConfig{Channel: "silent", Schema: flightSchema, Disorder: disorder, Idle: idle}),
				node("Read", physical.OpRead, flightSchema, physical.ReadConfig{Connector: "flights", Schema: flightSchema, Bounded: true, Disorder: disorder, Pace: 200}),
				node("Both", physical.OpFlatten, flightSchema, struct{}{}, "Silent", "Read"),
				node("Time", physical.OpTime, flightSchema, physical.TimeConfig{Timestamp: "time"}, "Both"),
				node("Sum", physical.OpCombine, schema("origin string", "n integer"), physical.CombineConfig{GroupBy: []string{"origin"}, Window: minute, Aggregates: []physical.Aggregate{{Name: "n", Fn: "count", Kind: column.Int64}}}, "Time"),
				node("Out", physical.OpWrite, schema("origin string", "n integer"), physical.WriteConfig{Connector: "discard"}, "Sum"),
			}}
			var last physical.SlotReport
			slot := engine.NewSlot(engine.SlotConfig{Slot: slotOf(fmt.Sprint("s", idle), 0), Fragment: f, Channels: map[string]physical.Channel{"silent": silent}, Run: 1, Term: 1, Connections: world, Log: quiet,
				Report: func(r physical.SlotReport) { last = r }})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := slot.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error is %v", err)
			}
			return last.Counters.Emitted
		}
		if n := run(0); n != 0 {
			t.Errorf("%d rows were emitted past a silent source that may not be idle", n)
		}
		if n := run(2 * time.Second); n == 0 {
			t.Error("an idle source holds the other up")
		}
	})
}
