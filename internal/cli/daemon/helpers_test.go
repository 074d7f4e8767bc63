package daemon

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/cli/connect"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/store"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/reconcile"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/server"
	"github.com/weir-project/weir/stacks"
)

// then is when the tests' world begins.
var then = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newDaemon is a daemon without a listener, a store and a loop: the test runs what is posted.
func newDaemon() *Daemon {
	return &Daemon{cfg: Config{Log: slog.New(slog.DiscardHandler)}, work: make(chan func(), 64), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		stacks: map[string]*stack{}, workers: map[string]*worker{}, pool: connect.NewPool("test")}
}

// withGroup lets the daemon start work, which ends with the test.
func (d *Daemon) withGroup(t *testing.T) {
	t.Helper()
	d.group = lifecycle.NewGroup(t.Context())
	t.Cleanup(func() {
		close(d.ended)
		if err := d.group.Stop(context.Canceled); err != nil {
			t.Errorf("end the daemon's work: %v", err)
		}
	})
}

// withMaster gives the daemon a running master with no agents.
func (d *Daemon) withMaster(t *testing.T) {
	t.Helper()
	d.withGroup(t)
	d.master = server.New(server.Config{Term: 1, Log: d.cfg.Log})
	d.group.Go("master", d.master.Run)
}

func (d *Daemon) withStore(t *testing.T, dir string) {
	t.Helper()
	var err error
	if d.store, err = store.Open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// twoStages is a pipeline that loads a file with two slots and then sums with one.
func twoStages(path string) physical.Graph {
	config, err := json.Marshal(physical.ReadConfig{Connector: "file", Format: "text", Bounded: true, Config: json.RawMessage(`{"path": "` + path + `"}`),
		Schema: column.Schema{Fields: []column.Field{{Name: "line", Kind: column.String}}}})
	if err != nil {
		panic(err)
	}
	return physical.Graph{Version: physical.FormatVersion, Pipeline: "p", Stages: []physical.Stage{
		{Name: "load", Mode: physical.Batch, Bounded: true, Fragments: []physical.Fragment{{Name: "f0", Slots: 2, Nodes: []physical.Node{{Path: "Read", Op: physical.OpRead, Config: config}}}}},
		{Name: "sum", Mode: physical.Batch, Bounded: true, After: []string{"load"}, Fragments: []physical.Fragment{{Name: "f0", Slots: 1, Nodes: []physical.Node{{Path: "Log", Op: physical.OpLog}}}}},
	}}
}

func (p *pipeline) slot(stage string, index int) checkpoint.Slot {
	return checkpoint.Slot{Pipeline: p.name, UID: p.UID, Stage: stage, Fragment: "f0", Index: index}
}

// says is a slot's report.
func (p *pipeline) says(stage string, index int, state string, in, watermark int64) physical.SlotReport {
	return physical.SlotReport{Slot: p.slot(stage, index), Term: 1, State: state, Epoch: 2, Watermark: watermark, Counters: checkpoint.Counters{In: in, Written: in}}
}

// tasks is a master that knows the tasks it is given, and an operator that wants nothing.
type tasks []resources.TaskStatus

func (m tasks) Subscribe(context.Context, resources.FrameworkInfo) (<-chan resources.Event, error) {
	c := make(chan resources.Event, len(m))
	for i := range m {
		c <- resources.Event{Type: resources.EventUpdate, Status: &m[i]}
	}
	return c, nil
}

func (tasks) Call(context.Context, resources.Call) error { return nil }
func (tasks) Load(string) []byte                         { return nil }
func (tasks) Save(context.Context, string, []byte) error { return nil }
func (tasks) Admin(context.Context, operators.Admin, map[string]operators.Placement) error {
	return nil
}

func (tasks) Decide(s operators.ServiceSpec, _ operators.Observed) plan.Plan {
	return plan.Plan{Service: s.Name, Name: "deploy", Revision: s.Revision(), Phases: []plan.Phase{{Name: "channels"}}}
}

func (tasks) Probe(context.Context, operators.ServiceSpec, map[string]operators.Placement) func(*operators.Observed) {
	return func(*operators.Observed) {}
}

func (tasks) Command(context.Context, operators.Launch, operators.Placement, resources.TaskID) (operators.TaskSpec, error) {
	return operators.TaskSpec{}, nil
}

// scripted is all that a reconciler meets.
type scripted interface {
	reconcile.Master
	reconcile.Kind
	reconcile.Store
}

// launched is a world in which a worker was launched and no status has come.
type launched struct{ tasks }

func (launched) Load(string) []byte {
	return []byte(`{"nonce": "n", "attempts": {"workers-0:launch": {"total": 1, "task": "s.workers-0.worker.n.1"}}}`)
}

// taskOf is a task of a pod of the stack "s".
func taskOf(service string, index int, state resources.TaskState) resources.TaskStatus {
	pod := operators.PodSpec{Stack: "s", Service: service, Index: index, Task: "worker", Revision: "r"}
	return resources.TaskStatus{Task: pod.TaskID(1, "n"), Agent: agentID, State: state, Labels: pod.Labels(1), PID: os.Getpid()}
}

// worker is the id of a worker's task.
func workerID(index int) string { return string(taskOf("workers", index, "").Task) }

// observing is a service whose reconciler has seen the tasks. It must be called in a synctest bubble.
func observing(t *testing.T, spec operators.ServiceSpec, seen scripted) *service {
	t.Helper()
	if seen == nil {
		seen = tasks(nil) // there are none
	}
	rec, err := reconcile.New(reconcile.Config{Spec: spec, Kind: seen, Master: seen, Store: seen, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- rec.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the reconciler of %s: %v", spec.Name, err)
		}
	})
	synctest.Wait()
	return &service{spec: spec, rec: rec}
}

// flights is the catalogue's stack.
func flights(t *testing.T) (api.Bundle, *stacks.Resolved) {
	t.Helper()
	dir, err := filepath.Abs("../../../stacks/catalog/flights")
	if err != nil {
		t.Fatal(err)
	}
	b := api.Bundle{File: filepath.Join(dir, "stack.yaml"), Files: map[string][]byte{}}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	b.Source = read("stack.yaml")
	for _, name := range []string{"flights.yaml", "worst.yaml"} {
		b.Files[name] = read(name)
	}
	r, err := resolve(b)
	if err != nil {
		t.Fatal(err)
	}
	return b, r
}

// wantCode compares an error's code; the empty code is none.
func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if code == "" && err != nil || code != "" && !fault.HasCode(err, code) {
		t.Errorf("%s: got %v, want the code %q", what, err, code)
	}
}
