package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

// fleetOf is a daemon with the stack "s" of workers, applied and stored.
func fleetOf(t *testing.T, workers string) *Daemon {
	t.Helper()
	d := newDaemon()
	d.withMaster(t)
	d.withStore(t, t.TempDir())
	d.mustApply(t, workers)
	return d
}

func (d *Daemon) mustApply(t *testing.T, workers string) []string {
	t.Helper()
	b, r := workersOnly(t, workers)
	out, err := d.apply(t.Context(), b, r, "")
	if err != nil {
		t.Fatal(err)
	}
	return out.Notes
}

func scaleTo(n int) api.Scale {
	return api.Scale{Targets: []api.Target{{Stack: "s", Service: "workers", Size: n}}}
}

// TestTheFilesNumberWinsWhenItChanged: the size of workers after a scale and another up of a file.
func TestTheFilesNumberWinsWhenItChanged(t *testing.T) {
	for _, c := range []struct {
		file   string
		scale  int
		again  string
		want   int
		stored bool // as a size of its own
		note   string
	}{
		{"2", 3, "2", 3, true, "service workers stays at size 3, which weir scale set (the file says 2); weir scale s/workers=2 goes back to it"},
		{"2", 3, "4", 4, false, "service workers: the file's size 4 replaces 3, which weir scale had set"},
		{"2", 3, "3", 3, true, "stays at size 3"},
		{"2", 2, "2", 2, false, ""},
		{"{min: 1, max: 4}", 3, "{min: 1, max: 4}", 3, true, "stays at size 3, within the file's 1 to 4"},
		{"{min: 1, max: 4}", 3, "{min: 2, max: 8}", 3, true, "stays at size 3"},
		{"{min: 1, max: 4}", 4, "{min: 1, max: 3}", 3, true, "size 4, which weir scale had set, becomes 3: the file allows 1 to 3"},
		{"{min: 1, max: 4}", 2, "{min: 3, max: 4}", 3, false, "the file's size 3 to 4 replaces 2"},
		{"{min: 1, max: 4}", 3, "1", 1, false, "the file's size 1 replaces 3"},
	} {
		d := fleetOf(t, c.file)
		if _, err := d.scale(t.Context(), scaleTo(c.scale), "weir scale"); err != nil {
			t.Errorf("%s scaled to %d: %v", c.file, c.scale, err)
		}
		notes := strings.Join(d.mustApply(t, c.again), "\n")
		s := d.stacks["s"]
		_, stored := s.record.Sizes["workers"]
		if got := s.spec("workers").Size; got != c.want || stored != c.stored || !strings.Contains(notes, c.note) {
			t.Errorf("%s, scaled to %d, then %s: size %d (set apart: %v), want %d (%v); it says %q", c.file, c.scale, c.again, got, stored, c.want, c.stored, notes)
		}
	}
}

func TestAScaleThatCannotBeChangesNothing(t *testing.T) {
	d := fleetOf(t, "2")
	for _, c := range []struct {
		what string
		req  api.Scale
		code string
	}{
		{"none", scaleTo(0), "E-SIZE"},
		{"more than a plan can name", scaleTo(1 << 40), "E-SIZE"}, // no agent has registered here, so that nothing else bounds it
		{"one of two that is wrong", api.Scale{Targets: append(scaleTo(3).Targets, api.Target{Stack: "s", Service: "wokers", Size: 2})}, "E-NOT-FOUND"},
		{"another stack", api.Scale{Targets: []api.Target{{Stack: "t", Service: "workers", Size: 2}}}, "E-NOT-FOUND"},
		{"the same twice", api.Scale{Targets: append(scaleTo(3).Targets, scaleTo(4).Targets...)}, "E-USAGE"},
	} {
		_, err := d.scale(t.Context(), c.req, "weir scale")
		wantCode(t, c.what, err, c.code)
	}
	out, err := d.scale(t.Context(), api.Scale{Targets: scaleTo(3).Targets, DryRun: true}, "weir scale")
	if err != nil || out.Changed || len(out.Notes) != 1 || out.Notes[0] != "s/workers: deploy; this extends the change that is under way (deploy)" {
		t.Errorf("a dry run: %+v, %v", out, err)
	}
	if s := d.stacks["s"]; s.spec("workers").Size != 2 || len(s.record.Sizes) != 0 || s.record.Changes["workers"].To != 2 {
		t.Errorf("it changed: %+v", s.record.orders)
	}
	_, r := flights(t)
	applied(d, r)
	_, err = d.scale(t.Context(), api.Scale{Targets: []api.Target{{Stack: "flights", Service: "serving", Size: 2}}}, "weir scale")
	if !fault.HasCode(err, "E-SIZE") || !strings.Contains(err.Error(), "it is a cassandra") {
		t.Errorf("a Cassandra: %v", err)
	}
}

func TestAScaleWhileOneGoesOnExtendsItAndBothOutliveTheServer(t *testing.T) {
	d := fleetOf(t, "1")
	s := d.stacks["s"]
	c := s.record.Changes["workers"]
	c.Ended = time.Now()
	s.record.Changes["workers"] = c
	for i, want := range []string{"s/workers: scale out 1 -> 3", "s/workers: scale out 1 -> 2; this extends the change that is under way (scale out 1 -> 3)",
		"s/workers has size 2 already: nothing to change"} {
		out, err := d.scale(t.Context(), scaleTo([]int{3, 2, 2}[i]), "weir scale")
		if err != nil || len(out.Notes) != 1 || out.Notes[0] != want {
			t.Errorf("answer %d: %q, %v; want %q", i, out.Notes, err, want)
		}
	}
	if _, err := d.pause(t.Context(), api.Pause{Stack: "s", Service: "workers", Paused: true}); err != nil {
		t.Fatal(err)
	}
	next := newDaemon()
	next.store, next.group, next.master = d.store, d.group, d.master
	if err := next.load(); err != nil {
		t.Fatal(err)
	}
	s = next.stacks["s"]
	o := s.ordersOf(*s.spec("workers"))
	if s.spec("workers").Size != 2 || o.Change.String() != "scale out 1 -> 2" || !o.Overrides.Paused["plan"] || !strings.Contains(o.Overrides.Why, "weir resume s/workers") {
		t.Errorf("the next server has size %d and the orders %+v", s.spec("workers").Size, o)
	}
	if _, err := next.scale(t.Context(), scaleTo(1), "the autoscaler"); err != nil || s.record.Changes["workers"].Why != "the autoscaler" || len(s.record.Sizes) != 0 {
		t.Errorf("back at the file's size: %+v, %v", s.record.orders, err)
	}
}

func TestTheStateOfAServiceIsThatOfItsChange(t *testing.T) {
	ended := time.Now()
	for want, c := range map[string]plan.Change{"deploying": {To: 2}, "scaling": {From: 1, To: 2}, "updating": {From: 2, To: 2}, "recovering": {From: 1, To: 2, Ended: ended}} {
		if got := doing(c, true); got != want {
			t.Errorf("%+v is %s, want %s", c, got, want)
		}
	}
}

func TestAWorkerThatLeavesKeepsItsSlotsWhileThePlanIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDaemon()
		s := d.newStack("s")
		v := observing(t, operators.ServiceSpec{Stack: "s", Name: "workers", Operator: operators.Stream, Size: 1},
			tasks{taskOf("workers", 0, resources.Running), taskOf("workers", 1, resources.Running), taskOf("workers", 2, resources.Running)})
		s.services = []*service{v}
		for i := range 3 {
			d.workers[workerID(i)] = &worker{task: workerID(i), stack: "s"}
		}
		s.assigned.Slots = []stream.Owned{{Task: workerID(0)}, {Task: workerID(1)}}
		hosts := func() string {
			all := s.hosts(v, then)
			slices.Sort(all)
			return strings.Join(all, " ")
		}
		if got := hosts(); got != workerID(0) {
			t.Errorf("of size 1 the hosts are %s", got)
		}
		s.record.Paused = map[string]time.Time{"workers": then}
		if got, want := hosts(), workerID(0)+" "+workerID(1); got != want {
			t.Errorf("paused the hosts are %s, want %s: the drain of the one has not begun, that of the other is over", got, want)
		}
	})
}

func TestWhatFailedIsInTheLineOfAService(t *testing.T) {
	waits := plan.Step{ID: "a:ready", Status: plan.Started, Reason: "the broker does not answer yet: dial tcp 127.0.0.1:1"}
	failed := plan.Admin("spread", operators.Admin{Kind: operators.MoveReplicas, Service: "events"}, false, "", "replicas move",
		operators.Observed{Attempts: map[string]operators.Attempt{"spread": {Total: 3, Failures: 1, LastError: "move the replicas: t/0: REASSIGNMENT_IN_PROGRESS\nt/1: the same"}}})
	for want, step := range map[string]plan.Step{
		"a:ready started: the broker does not answer yet":                                                   waits,
		"spread pending: attempt 3 failed: move the replicas: t/0: REASSIGNMENT_IN_PROGRESS; t/1: the same": failed,
	} {
		if got := currently(plan.Plan{Phases: []plan.Phase{{Steps: []plan.Step{step}}}}); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	if got := failed.Action.String(); got != "move replicas of events" {
		t.Errorf("no moves are %q", got)
	}
}

func TestASizeThatThisVersionCannotChangeMayStay(t *testing.T) {
	d := fleetOf(t, "2")
	_, r := flights(t)
	applied(d, r)
	out, err := d.scale(t.Context(), api.Scale{Targets: []api.Target{{Stack: "flights", Service: "serving", Size: 1}}, DryRun: true}, "weir scale")
	if err != nil || out.Notes[0] != "flights/serving has size 1 already: nothing to change" {
		t.Errorf("the size that it has: %+v, %v", out, err)
	}
	_, err = d.scaling("serving")
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != "E-SCALE" || strings.Contains(f.Hint, "weir scale") {
		t.Errorf("why scale of a Cassandra: %v", err)
	}
	if _, err = d.serviceConnection("flights", "evnts"); !fault.HasCode(err, "E-NOT-FOUND") || !strings.Contains(err.Error(), "flights/events") {
		t.Errorf("a service that is not there: %v", err)
	}
}

// leaving is a caller who is gone as soon as something is so.
type leaving struct {
	context.Context //nolint:containedctx // it is one
	when            func() bool
}

func (c leaving) Err() error {
	if c.when() {
		return context.Canceled
	}
	return c.Context.Err()
}

func (c leaving) Done() <-chan struct{} {
	if !c.when() {
		return c.Context.Done()
	}
	gone := make(chan struct{})
	close(gone)
	return gone
}

// TestAChangeThatHasBegunIsMadeWhateverBecomesOfItsCaller: one that is stored and made by half would stay so until the server's next start.
func TestAChangeThatHasBegunIsMadeWhateverBecomesOfItsCaller(t *testing.T) {
	d := fleetOf(t, "2")
	s := d.stacks["s"]
	first, second := twoStages("/in"), twoStages("/in")
	first.Pipeline, second.Pipeline = "first", "second"
	s.written.Graphs = []*physical.Graph{&first, &second}
	body, err := json.Marshal(scaleTo(3))
	if err != nil {
		t.Fatal(err)
	}
	stored := func() bool {
		data, _, _ := d.store.Get("stacks/s")
		return strings.Contains(string(data), `"sizes":{"workers":3}`)
	}
	req, err := http.NewRequestWithContext(leaving{t.Context(), stored}, http.MethodPost, "/v1/scale", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if _, err := d.postScale(req); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	(<-d.work)()
	<-answered
	if !stored() || s.spec("workers").Size != 3 || s.pipeline("first") == nil || s.pipeline("second") == nil {
		t.Errorf("stored: %v, size %d, %d of 2 pipelines", stored(), s.spec("workers").Size, len(s.pipelines))
	}
}
