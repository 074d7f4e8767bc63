package daemon

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/stacks"
)

// applied is a stack as it is after r was applied, with nothing started.
func applied(d *Daemon, r *stacks.Resolved) *stack {
	s := d.newStack(r.Stack.Name)
	s.written, s.resolved = r, r
	for _, spec := range specs(r) {
		s.services = append(s.services, &service{spec: spec})
	}
	for _, g := range r.Graphs {
		setHomes(g, byName(r))
		s.pipelines = append(s.pipelines, newPipeline(s.name, *g))
	}
	d.stacks[s.name] = s
	return s
}

// edited is the flights stack after a change.
func edited(t *testing.T, change func(*stacks.Resolved)) *stacks.Resolved {
	t.Helper()
	_, r := flights(t)
	change(r)
	return r
}

func TestWhatCannotBeCarriedOutIsRefusedBeforeAnythingChanges(t *testing.T) {
	d := newDaemon()
	d.withMaster(t)
	_, r := flights(t)
	old := applied(d, r)
	for _, c := range []struct {
		what   string
		old    *stack
		next   *stacks.Resolved
		replay string
		code   string
	}{
		{"the same file", old, edited(t, func(*stacks.Resolved) {}), "", ""},
		{"more workers", old, edited(t, func(r *stacks.Resolved) { r.Stack.Services[2].Size = 4 }), "", ""},
		{"a service that is gone", old, edited(t, func(r *stacks.Resolved) { r.Stack.Services = r.Stack.Services[:2] }), "", "E-REMOVE"},
		{"a pipeline that is gone", old, edited(t, func(r *stacks.Resolved) { r.Graphs = nil }), "", "E-REMOVE"},
		{"another operator", old, edited(t, func(r *stacks.Resolved) { r.Stack.Services[0].Operator = operators.Cassandra }), "", "E-OPERATOR"},
		{"a pipeline of another stack", nil, edited(t, func(r *stacks.Resolved) { r.Stack.Name = "second" }), "", "E-DUPLICATE"},
		{"a stage on Beam, without the program for it", old, edited(t, func(r *stacks.Resolved) { r.Graphs[0].Stages[0].Engine = physical.EngineBeam }), "", "E-BEAM"},
		{"a replay of what has never run", old, edited(t, func(*stacks.Resolved) {}), "nobody", "E-NOT-FOUND"},
		{"a replay in a stack that is new", nil, edited(t, func(r *stacks.Resolved) { r.Stack.Name, r.Graphs = "second", nil }), "flights", "E-NOT-FOUND"},
	} {
		wantCode(t, c.what, d.check(c.old, c.next, c.replay), c.code)
	}
	if len(old.services) != 3 || len(old.pipelines) != 1 || len(d.stacks) != 1 {
		t.Errorf("a check changed the stack: %+v", old)
	}
}

func TestAllRefusalsAreSaidAtOnce(t *testing.T) {
	d := newDaemon()
	d.withMaster(t)
	_, r := flights(t)
	err := d.check(applied(d, r), edited(t, func(r *stacks.Resolved) { r.Stack.Services, r.Graphs = r.Stack.Services[:2], nil }), "")
	if text := err.Error(); !strings.Contains(text, `service "workers"`) || !strings.Contains(text, `pipeline "flights"`) {
		t.Errorf("it says %q", text)
	}
}

func TestAFixedPortThatSomebodyListensOnIsRefusedUnlessItIsOurs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := operators.ServiceSpec{Name: "events", Operator: operators.Kafka, Port: l.Addr().(*net.TCPAddr).Port}
	node := taken
	node.Operator = operators.Cassandra
	moved := taken
	moved.Port = 1
	wantCode(t, "taken", checkPort(nil, taken), "E-PORT")
	wantCode(t, "moved onto a taken one", checkPort(&moved, taken), "E-PORT")
	wantCode(t, "taken by ourselves", checkPort(&taken, taken), "")
	wantCode(t, "a free choice", checkPort(nil, operators.ServiceSpec{Operator: operators.Kafka}), "")
	wantCode(t, "a node has an address of its own", checkPort(nil, node), "")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "free again", checkPort(nil, taken), "")
	wantCode(t, "free, and not held by the check", checkPort(nil, taken), "")
}

// workersOnly is a stack that needs nothing fetched.
func workersOnly(t *testing.T, workers string) (api.Bundle, *stacks.Resolved) {
	t.Helper()
	b := api.Bundle{File: "/stack.yaml", Source: []byte("apiVersion: weir.dev/v1\nkind: Stack\nmetadata: {name: s}\nspec: {profile: dev, services: {workers: {operator: stream, workers: " + workers + "}}}\n")}
	r, err := resolve(b)
	if err != nil {
		t.Fatal(err)
	}
	return b, r
}

func TestAnAppliedStackIsStoredAndComesBackAndTheSameFileChangesNothing(t *testing.T) {
	dir := t.TempDir()
	d := newDaemon()
	d.withMaster(t)
	d.withStore(t, dir)
	b, r := workersOnly(t, "2")
	for _, want := range []bool{true, false} {
		out, err := d.apply(t.Context(), b, r, "")
		if err != nil || out.Changed != want || (len(out.Notes) == 0) != want {
			t.Errorf("applied: %+v, %v; want changed %v", out, err, want)
		}
	}
	b, r = workersOnly(t, "3")
	if out, err := d.apply(t.Context(), b, r, ""); err != nil || !out.Changed || d.stacks["s"].spec("workers").Size != 3 {
		t.Errorf("grown: %+v, %v", out, err)
	}
	stopped, err := d.beginShutdown(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !d.stacks["s"].record.Down || d.stacks["s"].status().State != "stopped" {
		t.Errorf("a server that stops shows %+v", d.stacks["s"].status())
	}
	if again, err := d.beginShutdown(t.Context()); err != nil || again != stopped {
		t.Errorf("a second shutdown is another one: %v", err)
	}
	_, err = d.apply(t.Context(), b, r, "")
	wantCode(t, "while it stops", err, "E-STOPPING")

	next := newDaemon() // the server that comes after it
	next.store, next.group = d.store, d.group
	if err := next.load(); err != nil {
		t.Fatal(err)
	}
	s := next.stacks["s"]
	if s == nil || !s.record.Down || s.spec("workers").Size != 3 {
		t.Fatalf("it came back as %+v", s)
	}
	if got := s.status(); got.State != "stopped" || got.Services[0].State != "stopped" {
		t.Errorf("its status is %+v", got)
	}
	next.master = d.master
	if out, err := next.apply(t.Context(), b, r, ""); err != nil || !out.Changed || s.record.Down {
		t.Errorf("the same file on a stack that is down starts it: %+v, %v", out, err)
	}
}

func TestARerunIsRefusedWhileTheRunGoesOnOrTheStackIsDown(t *testing.T) {
	d := newDaemon()
	d.withStore(t, t.TempDir())
	_, r := flights(t)
	s := applied(d, r)
	p := s.pipelines[0]
	rerun := func(name string) error { _, err := d.rerun(t.Context(), name); return err }
	wantCode(t, "nobody has it", rerun("nobody"), "E-NOT-FOUND")
	wantCode(t, "it goes on", rerun(p.name), "E-RUNNING")
	p.Ended, s.record.Down = then, true
	wantCode(t, "the stack is down", rerun(p.name), "E-DOWN")
	s.record.Down = false
	wantCode(t, "it ended", rerun(p.name), "")
	if p.Run != 2 || !p.Ended.IsZero() || p.dirty {
		t.Errorf("the second run begins as %+v", p.run)
	}
	data, _, ok := d.store.Get(pipelineKey(s.name, p.name))
	if q, err := loadPipeline(s.name, p.name, data); !ok || err != nil || q.Run != 2 {
		t.Errorf("stored: %v, %v", ok, err)
	}
}

func TestAServerWithoutTasksStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDaemon()
		quit := make(chan error, 1)
		d.quit = func(err error) { quit <- err }
		stopped, err := d.beginShutdown(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d.checkStopped()
		d.checkStopped()
		<-stopped
		if len(quit) != 0 {
			t.Error("the server ends before its answer left")
		}
		if cause := <-quit; cause != errStopped {
			t.Errorf("it ended because of %v", cause)
		}
	})
}

func TestWorkersEndBeforeWhatTheyWriteTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDaemon()
		d.quit = func(error) {}
		s := d.newStack("s")
		kafka := observing(t, operators.ServiceSpec{Stack: "s", Name: "events", Operator: operators.Kafka, Size: 1}, tasks{taskOf("events", 0, resources.Running)})
		workers := observing(t, operators.ServiceSpec{Stack: "s", Name: "workers", Operator: operators.Stream, Size: 1}, tasks{taskOf("workers", 0, resources.Running)})
		s.services = []*service{kafka, workers}
		d.stacks["s"], d.stopping = s, make(chan struct{})
		for range 3 {
			d.checkStopped()
			synctest.Wait()
		}
		if workers.rec.Status().Wanted || !kafka.rec.Status().Wanted {
			t.Errorf("workers wanted %v, kafka wanted %v", workers.rec.Status().Wanted, kafka.rec.Status().Wanted)
		}
		if workers.stop() != 1 {
			t.Errorf("%d tasks of the workers may run, want 1", workers.stop())
		}
	})
}

func TestAStopWaitsForALaunchThatNobodySpokeOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := observing(t, operators.ServiceSpec{Stack: "s", Name: "workers", Operator: operators.Stream, Size: 1}, launched{})
		for range 3 {
			if got := v.stop(); got != 1 {
				t.Errorf("%d tasks may run, want 1", got)
			}
			synctest.Wait()
		}
	})
}

func TestTasksThatAreScaledInAreShownWhileTheyRunAndAreNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := observing(t, operators.ServiceSpec{Stack: "s", Name: "workers", Operator: operators.Stream, Size: 2},
			tasks{taskOf("workers", 0, resources.Running), taskOf("workers", 1, resources.Failed), taskOf("workers", 2, resources.Running)})
		if got := v.status(false, plan.Change{}); got.Ready != 1 || len(v.tasks()) != 3 {
			t.Errorf("%d of %d are ready, and %d tasks are shown; want 1 and 3", got.Ready, got.Want, len(v.tasks()))
		}
	})
}

func TestAServicesStateIsThatOfItsPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := operators.ServiceSpec{Stack: "s", Name: "workers", Operator: operators.Stream, Size: 2}
		v := &service{spec: spec}
		if got := v.status(false, plan.Change{}); got.State != "waiting" || got.Want != 2 {
			t.Errorf("before its reconciler: %+v", got)
		}
		v = observing(t, spec, tasks{taskOf("workers", 0, resources.Running), taskOf("workers", 1, resources.Failed), taskOf("workers", 2, resources.Killed)})
		if got := v.status(false, plan.Change{}); got.State != "ready" || got.Ready != 1 {
			t.Errorf("its plan is done: %+v", got)
		}
		if got := v.status(true, plan.Change{}); got.State != "stopped" {
			t.Errorf("its stack is down: %+v", got)
		}
		v.spec.Size = 3
		if got := v.status(false, plan.Change{}); got.State != "waiting" || got.Reason != "its plan is being made" {
			t.Errorf("its spec changed and its reconciler has not looked: %+v", got)
		}
		v.spec.Size = 2
		var names []string
		for _, task := range v.tasks() {
			names = append(names, task.Name+" "+task.State)
		}
		if want := []string{"workers-0 RUNNING", "workers-1 FAILED"}; !slices.Equal(names, want) {
			t.Errorf("its tasks are %q, want %q: those that were scaled in are no more", names, want)
		}
	})
}

func TestAFailureNamesItsHintAndItsExitCode(t *testing.T) {
	d := newDaemon()
	_, r := flights(t)
	s := applied(d, r)
	if got := s.status(); got.State != "starting" || len(got.Show) != 1 || len(got.Show[0].Path) == 0 {
		t.Errorf("at first: %+v", got)
	}
	s.failure = fault.NoFit("E-JAVA", "find", "Java", fault.Causef("there is none"), fault.Hint("install one"))
	if got := s.status(); got.State != "failed" || got.Hint != "install one" || got.Exit != fault.ExitNoFit {
		t.Errorf("failed: %+v", got)
	}
	if _, err := d.getStack("flihgts"); !fault.HasCode(err, "E-NOT-FOUND") || !strings.Contains(fault.From(err).Flat().Hint, "flights") {
		t.Errorf("a typo is answered with %v", err)
	}
}

func TestTheFirstStepThatIsNotDoneIsTheCurrentOne(t *testing.T) {
	p := plan.Plan{Phases: []plan.Phase{{Steps: []plan.Step{{ID: "a", Done: true}}}, {Steps: []plan.Step{{ID: "b", Done: true}, {ID: "c"}, {ID: "d"}}}}}
	if got, ok := current(p); !ok || got.ID != "c" {
		t.Errorf("got %q, %v", got.ID, ok)
	}
	if _, ok := current(plan.Plan{}); ok {
		t.Error("an empty plan has a current step")
	}
}

func TestAChangedServiceWakesTheLoopOnce(t *testing.T) {
	d := newDaemon()
	s := d.newStack("s")
	v := &service{spec: operators.ServiceSpec{Operator: operators.Kafka}}
	changed := s.changed(v.spec.Operator)
	changed()
	changed() // must not block
	if len(d.wake) != 1 {
		t.Errorf("%d wakes wait, want 1", len(d.wake))
	}
}

func TestAQuestionEndsWithItsCallerOrItsServer(t *testing.T) {
	d := newDaemon()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fault.TimedOut("E-TIMEOUT", "wait", "", fault.Causef("too long")))
	d.work = make(chan func()) // nobody takes it
	_, err := ask(ctx, d, func() (int, error) { return 1, nil })
	wantCode(t, "a caller that is gone", err, "E-TIMEOUT")
	close(d.ended)
	_, err = ask(t.Context(), d, func() (int, error) { return 1, nil })
	wantCode(t, "a server that is stopping", err, "E-STOPPING")
	d.post(func() { t.Error("work was done after the end") }) // must not block
}
