package daemon

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/stacks"
)

// failing is a world in which a worker failed three times in a row and was launched again.
type failing struct{ tasks }

func (failing) Load(string) []byte {
	return []byte(`{"nonce": "n", "attempts": {"workers-0:launch": {"total": 4, "failures": 3, "at": "2000-01-01T00:00:00Z", "task": "s.workers-0.worker.n.1", "last_error": "failed, its memory is full"}}}`)
}

// TestAPipelineSaysThatItsWorkerFailsAgainAndAgain: its slots run for a moment each time, which is no work.
func TestAPipelineSaysThatItsWorkerFailsAgainAndAgain(t *testing.T) {
	for _, c := range []struct {
		what  string
		state resources.TaskState
		after time.Duration
		want  string
	}{
		{"it runs again", resources.Running, time.Second, "worker workers-0 ended by itself, 3 times in a row: failed, its memory is full; weir logs workers-0"},
		{"it is down", resources.Failed, 2 * time.Minute, "worker workers-0 ended by itself, "},
		{"it has run for long", resources.Running, 2 * time.Minute, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDaemon()
			s := d.newStack("s")
			s.resolved = &stacks.Resolved{Stack: &stacks.Stack{Name: "s"}}
			v := observing(t, operators.ServiceSpec{Stack: "s", Name: "workers", Operator: operators.Stream, Size: 1}, failing{tasks{taskOf("workers", 0, c.state)}})
			p := newPipeline("s", twoStages("/in"))
			s.services, s.pipelines, s.assigned = []*service{v}, []*pipeline{p}, owned(p, workerID(0))
			time.Sleep(c.after)
			p.report(p.says("load", 0, engine.StateRunning, 5, 0), then)
			got := s.status().Pipelines[0]
			if got.State != "running" || !strings.HasPrefix(got.Reason, c.want) || got.Stages[0].Reason != got.Reason || (c.want == "") != (got.Reason == "") {
				t.Errorf("%s: %s because %q, its stage because %q; want %q", c.what, got.State, got.Reason, got.Stages[0].Reason, c.want)
			}
		})
	}
}

func TestTheSlotsOfAWorkerWhoseLinkBrokeAreNotShownAsRunning(t *testing.T) {
	d := newDaemon()
	s := d.newStack("s")
	d.stacks["s"] = s
	p := newPipeline("s", twoStages("/in"))
	s.pipelines, s.assigned = []*pipeline{p}, owned(p, workerID(0), workerID(1))
	w := &worker{task: workerID(0), reports: map[checkpoint.Slot]physical.SlotReport{}}
	d.registered(w, physical.Register{Task: w.task})
	d.reported(w, physical.Report{Slots: []physical.SlotReport{p.says("load", 0, engine.StateRunning, 5, 0)}})
	if got := p.status(); got.State != "running" {
		t.Fatalf("it is %s", got.State)
	}
	s.missed(w.task, then)
	got := p.status()
	if st := got.Stages[0]; got.State != "waiting" || st.Running != 0 || st.Counters.In != 5 || st.Reason != "slot 0 waiting: its worker workers-0 does not answer" {
		t.Errorf("without its worker it is %s: %+v", got.State, st)
	}
}
