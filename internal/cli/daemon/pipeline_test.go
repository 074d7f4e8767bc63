package daemon

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

func TestAStageEndsWhenEachOfItsSlotsSaidSoAndTheRunWithItsLastStage(t *testing.T) {
	p := newPipeline("s", twoStages("/in"))
	if ok, why := p.due(p.stage("sum")); ok || why != "waits for the end of stage load" {
		t.Errorf("sum is due: %v, %q", ok, why)
	}
	at := then
	for _, c := range []struct {
		stage      string
		index      int
		state      string
		load, run  bool
		sumDue     bool
		whatHappen string
	}{
		{"load", 0, engine.StateRunning, false, false, false, "a slot runs"},
		{"load", 0, engine.StateEnded, false, false, false, "one of two ended"},
		{"load", 0, engine.StateEnded, false, false, false, "it said so again"},
		{"load", 1, engine.StateEnded, true, false, true, "both ended"},
		{"sum", 0, engine.StateRunning, true, false, true, "the next stage runs"},
		{"sum", 0, engine.StateEnded, true, true, false, "the last slot ended"},
	} {
		at = at.Add(time.Second)
		p.report(p.says(c.stage, c.index, c.state, 10, 0), at)
		due, _ := p.due(p.stage("sum"))
		if got := !p.Stages["load"].Ended.IsZero(); got != c.load || p.Ended.IsZero() == c.run || due != c.sumDue {
			t.Errorf("%s: load ended %v, run ended %v, sum due %v", c.whatHappen, got, !p.Ended.IsZero(), due)
		}
	}
	if p.Started != then.Add(time.Second) || p.Ended != at {
		t.Errorf("the run went from %s to %s", p.Started, p.Ended)
	}
}

func TestAReportOfAnotherUIDOrOfNoStageIsIgnored(t *testing.T) {
	p := newPipeline("s", twoStages("/in"))
	p.dirty = false
	other := newPipeline("s", twoStages("/in"))
	p.report(other.says("load", 0, engine.StateEnded, 10, 0), then)
	p.report(p.says("gone", 0, engine.StateEnded, 10, 0), then)
	if p.dirty || len(p.latest) != 0 || len(p.Stages["load"].Slots) != 0 || !p.Started.IsZero() {
		t.Errorf("it was taken in: %+v", p)
	}
}

func TestARunThatReadNothingHasNotStarted(t *testing.T) {
	p := newPipeline("s", twoStages("/in"))
	p.report(p.says("load", 0, engine.StateRunning, 0, 0), then)
	if !p.Started.IsZero() {
		t.Errorf("it started at %s", p.Started)
	}
}

func TestAStatusAddsUpTheSlots(t *testing.T) {
	p := newPipeline("s", twoStages("/in"))
	if got := p.status(); got.State != "waiting" || !got.Bounded || got.Run != 1 || got.Stages[0].Slots != 2 || got.Stages[1].Reason != "waits for the end of stage load" {
		t.Errorf("at first: %+v", got)
	}
	p.report(p.says("load", 0, engine.StateRunning, 30, 500), then)
	got := p.status()
	if st := got.Stages[0]; got.State != "running" || st.State != "running" || st.Running != 1 || st.Watermark != math.MinInt64 {
		t.Errorf("a slot is not heard of, so no watermark is known: %+v", got)
	}
	p.report(p.says("load", 1, engine.StateRunning, 12, 300), then)
	if st := p.status().Stages[0]; st.Watermark != 300 || st.Counters.In != 42 || st.Counters.Written != 42 || st.Epochs != 4 || st.Running != 2 {
		t.Errorf("both run: %+v", st)
	}
	waiting := p.says("load", 1, engine.StateWaiting, 12, 300)
	waiting.Reason = "the broker is away"
	p.report(waiting, then)
	if st := p.status().Stages[0]; st.Reason != "slot 1 waiting: the broker is away" || st.Running != 1 {
		t.Errorf("one waits: %+v", st)
	}
	p.report(p.says("load", 0, engine.StateEnded, 31, 0), then)
	if st := p.status().Stages[0]; st.Watermark != 300 || st.Counters.In != 43 || st.EndedN != 1 {
		t.Errorf("a slot that ended holds no watermark back, and its last counters stay: %+v", st)
	}
	p.report(p.says("load", 1, engine.StateEnded, 20, 0), then)
	p.report(p.says("sum", 0, engine.StateEnded, 51, 0), then.Add(3*time.Second))
	got = p.status()
	if got.State != "complete" || got.Stages[0].State != "ended" || got.Stages[0].Reason != "" || got.Stages[0].Watermark != math.MaxInt64 {
		t.Errorf("at the end: %+v", got)
	}
	if got.Records != 51 || got.RecordsPerSecond != 17 {
		t.Errorf("%d records, %v a second: want the 51 that came from outside, over 3 s", got.Records, got.RecordsPerSecond)
	}
}

func TestAPipelineWithOneStageThatNeverEndsIsNotBounded(t *testing.T) {
	g := twoStages("/in")
	g.Stages[0].Bounded = false
	if newPipeline("s", g).status().Bounded {
		t.Error("it is bounded")
	}
}

func TestTheCountersAddUpFieldByField(t *testing.T) {
	c := checkpoint.Counters{In: 1, Out: 2, Filtered: 3, Late: 4, DeadLettered: 5, Absorbed: 6, Emitted: 7, Copied: 8, Written: 9}
	sum := c
	add(&sum, c)
	if want := (checkpoint.Counters{In: 2, Out: 4, Filtered: 6, Late: 8, DeadLettered: 10, Absorbed: 12, Emitted: 14, Copied: 16, Written: 18}); sum != want {
		t.Errorf("got %+v, want %+v", sum, want)
	}
}

func TestANewRunForgetsTheOldOneAndKeepsTheIdentity(t *testing.T) {
	p := newPipeline("s", twoStages("/in"))
	uid := p.UID
	for _, r := range []physical.SlotReport{p.says("load", 0, "ended", 1, 0), p.says("load", 1, "ended", 1, 0), p.says("sum", 0, "ended", 1, 0)} {
		p.report(r, then)
	}
	p.CPU["server"], p.Stages["load"].Listed, p.dirty = 3, true, false
	wantCode(t, "a run that ended", p.mayRerun(), "")
	p.begin(2)
	if p.UID != uid || p.Run != 2 || !p.Started.IsZero() || !p.Ended.IsZero() || len(p.latest) != 0 || len(p.CPU) != 0 || p.Stages["load"].Listed || !p.dirty {
		t.Errorf("the second run begins as %+v", p)
	}
	wantCode(t, "a run that goes on", p.mayRerun(), "E-RUNNING")
}

func TestARunThatStandsStillMayBeginAnew(t *testing.T) {
	p := newPipeline("s", twoStages("/in"))
	p.report(p.says("load", 0, "ended", 1, 0), then)
	stuck := p.says("load", 1, "waiting", 0, 0)
	p.report(stuck, then)
	wantCode(t, "one that waits for nothing in particular", p.mayRerun(), "E-RUNNING")
	stuck.Reason = "the stream was made anew: `weir rerun` reads the new one"
	p.report(stuck, then)
	wantCode(t, "one that stands still", p.mayRerun(), "")
	p.report(p.says("sum", 0, "running", 0, 0), then)
	wantCode(t, "one of which something runs", p.mayRerun(), "E-RUNNING")
	p.report(p.says("sum", 0, "starting", 0, 0), then)
	p.Graph.Channels = map[string]physical.Channel{"between": {Kafka: &physical.KafkaChannel{Topic: "p.between"}}}
	err := p.mayRerun()
	wantCode(t, "one with rows between its stages", err, "E-RUNNING")
	if hint := fault.From(err).Flat().Hint; !strings.Contains(hint, "another name") {
		t.Errorf("the hint is %q", hint)
	}
}

func TestAStoredRunComesBackWithAllThatEnded(t *testing.T) {
	p := newPipeline("s", twoStages("/in"))
	p.report(p.says("load", 1, "ended", 7, 0), then)
	data, err := json.Marshal(p.run)
	if err != nil {
		t.Fatal(err)
	}
	q, err := loadPipeline("s", "p", data)
	if err != nil {
		t.Fatal(err)
	}
	if q.UID != p.UID || q.Stages["load"].Slots[1].In != 7 || q.dirty {
		t.Errorf("came back as %+v", q)
	}
	q.report(q.says("load", 0, "ended", 1, 0), then) // nothing of it is nil
	q.report(q.says("sum", 0, "ended", 1, 0), then)
	q.CPU["server"]++
	if q.Ended.IsZero() {
		t.Error("the run does not end after a restart")
	}
	if _, err := loadPipeline("s", "p", []byte("{")); err == nil {
		t.Error("a broken record was read")
	}
}

func TestAChangedGraphIsTakenAndWhatItsStagesHaveDoneStays(t *testing.T) {
	p := newPipeline("s", twoStages("/in"))
	p.report(p.says("load", 1, "ended", 7, 0), then)
	next := twoStages("/in")
	next.Stages = append(next.Stages, physical.Stage{Name: "more"})
	p.dirty = false
	if err := p.setGraph(next); err != nil {
		t.Fatal(err)
	}
	if !p.dirty || len(p.Graph.Stages) != 3 || p.Stages["load"].Slots[1].In != 7 || p.Stages["more"] == nil {
		t.Errorf("the run is %+v", p.run)
	}
}
