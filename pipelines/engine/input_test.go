package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/physical"
)

// ending is a source whose splits end at 100, or that cannot say.
type ending struct {
	connectors.Source
	err error
}

func (e ending) End(context.Context, connectors.Split) (int64, error) { return 100, e.err }

// still is a source that says nothing of its ends.
type still struct{ connectors.Source }

func TestWhatStandsBeforeASlot(t *testing.T) {
	reading := func(s connectors.Source, cfg physical.ReadConfig, at ...int64) *source {
		out := &source{source: s, cfg: cfg, vertex: &vertex{spec: physical.Node{Path: "Read"}}}
		if cfg.Pace > 0 {
			out.pace = newPace(cfg.Pace, nil)
		}
		for _, offset := range at {
			sp := &split{}
			sp.position.Offset = offset
			out.splits = append(out.splits, sp)
		}
		return out
	}
	over := reading(still{}, physical.ReadConfig{Bounded: true}, 1)
	over.splits[0].ended = true
	for _, c := range []struct {
		name    string
		sources []*source
		asked   bool
		want    physical.Work
		unknown string
		later   time.Duration
	}{
		{"rows that wait", []*source{reading(ending{}, physical.ReadConfig{}, 40, 99, 120)}, true, physical.Work{Lag: 61}, "", 0},
		{"ends that were not read yet", []*source{reading(ending{}, physical.ReadConfig{}, 40)}, false, physical.Work{}, "have not been read yet", 0},
		{"ends that cannot be read", []*source{reading(ending{err: errors.New("the broker is away")}, physical.ReadConfig{}, 40)}, true, physical.Work{}, "the broker is away", 0},
		{"ends that were read a while ago", []*source{reading(ending{}, physical.ReadConfig{}, 40)}, true, physical.Work{}, "were read 6s ago", 6 * time.Second},
		{"a pace", []*source{reading(still{}, physical.ReadConfig{Pace: 50, Bounded: true}, 1)}, true, physical.Work{Offered: 50}, "", 0},
		{"as fast as it goes", []*source{reading(still{}, physical.ReadConfig{Bounded: true}, 1)}, true, physical.Work{Greedy: true}, "", 0},
		{"a source that has ended", []*source{over}, true, physical.Work{}, "", 0},
		{"an endless source that cannot tell", []*source{reading(still{}, physical.ReadConfig{}, 1)}, true, physical.Work{}, "Read cannot tell", 0},
		{"a pace and rows that wait", []*source{reading(still{}, physical.ReadConfig{Pace: 50}, 1), reading(ending{}, physical.ReadConfig{}, 90)}, true, physical.Work{Offered: 50, Lag: 10}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			a := &attempt{sources: c.sources, cfg: &SlotConfig{Clock: func() time.Time { return now }}}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.asked {
				a.gauge.ask = make(chan struct{}, 1)
				a.gauge.poke()
				done := make(chan struct{})
				go func() { a.gauge.run(ctx, c.sources, a.cfg.Clock); close(done) }()
				for a.gauge.latest.Load() == nil && ctx.Err() == nil {
					a.gauge.poke()
				}
				cancel()
				<-done
			}
			now = now.Add(c.later)
			var got physical.Work
			a.input(&got)
			if !strings.Contains(got.Unmeasured, c.unknown) || (c.unknown == "") != (got.Unmeasured == "") {
				t.Errorf("unmeasured: %q", got.Unmeasured)
			}
			got.Unmeasured = ""
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestIdleCoresAreReadFromTheFirstLine(t *testing.T) {
	if got, ok := idleTicks([]byte("cpu  10 20 30 400 5 0 7 0 0 0\ncpu0 1 2 3 4\n")); !ok || got != 405 {
		t.Errorf("%d %v, want 405 (idle and waiting for a disk)", got, ok)
	}
	for _, bad := range []string{"", "cpu", "cpu0 1 2 3 4 5", "cpu 1 2 3 x 5"} {
		if _, ok := idleTicks([]byte(bad)); ok {
			t.Errorf("%q was read", bad)
		}
	}
}
