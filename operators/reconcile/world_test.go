package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/resources"
)

// world is all that a Service meets, scripted: its master, its store and its operator. Each thing that the Service does to it is one line of
// said. mu guards all of it, as the Service calls from several goroutines.
type world struct {
	t      *testing.T
	events chan resources.Event

	mu     sync.Mutex
	lines  []string
	stored []byte
	fails  map[string]string // what fails, by the word of its line, and why
	hold   chan struct{}     // where set, commands wait for it
	admin  bool              // an admin call follows the launches
	done   bool              // and its postcondition holds
	volume string            // of every pod
}

// spec is one pod of a service.
var spec = operators.ServiceSpec{Stack: "s", Name: "web", Operator: operators.Stream, Size: 1}

func newWorld(t *testing.T) *world {
	return &world{t: t, events: make(chan resources.Event, 16), fails: map[string]string{}, stored: []byte(`{"nonce":"n"}`)}
}

func (w *world) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// failing is the scripted error of a word.
func (w *world) failing(word string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if why := w.fails[word]; why != "" {
		return errors.New(why)
	}
	return nil
}

func (w *world) set(word, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails[word] = why
}

// said waits until the Service rests and compares what it did since the last look with want, one line each.
func (w *world) said(want ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	got := w.lines
	w.lines = nil
	w.mu.Unlock()
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		w.t.Errorf("it did\n%s\nand should have done\n%s", a, b)
	}
}

func (w *world) Subscribe(_ context.Context, info resources.FrameworkInfo) (<-chan resources.Event, error) {
	w.say("SUBSCRIBE %s as %s", info.ID, info.Role)
	return w.events, w.failing("SUBSCRIBE")
}

func (w *world) Call(_ context.Context, c resources.Call) error {
	line := string(c.Type)
	switch c.Type {
	case resources.CallAccept:
		line += fmt.Sprintf(" %v", c.Offers)
		for _, op := range c.Operations {
			line += " " + string(op.Type)
			for _, task := range op.Tasks {
				line += " " + string(task.ID)
				w.checkStored(task.ID)
			}
		}
	case resources.CallDecline:
		line += fmt.Sprintf(" %v for %s", c.Offers, c.Filter.RefuseFor)
	case resources.CallKill:
		line += " " + string(c.Task)
	case resources.CallAcknowledge:
		line += fmt.Sprintf(" %s %s", c.Task, c.UUID)
	case resources.CallReconcile:
		line += fmt.Sprintf(" %v", c.Tasks)
	}
	w.say("%s", line)
	return w.failing(string(c.Type))
}

// checkStored: what is accepted must be in the store already (C2).
func (w *world) checkStored(id resources.TaskID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var r record
	if err := json.Unmarshal(w.stored, &r); err != nil {
		w.t.Errorf("the stored record: %v", err)
	}
	for _, a := range r.Attempts {
		if a.Task == id {
			return
		}
	}
	w.t.Errorf("task %s is launched and not in the store: %s", id, w.stored)
}

func (w *world) Load(string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stored
}

func (w *world) Save(_ context.Context, _ string, value []byte) error {
	w.say("save")
	if err := w.failing("save"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stored = value
	return nil
}

func (w *world) pod(s operators.ServiceSpec, index int) operators.PodSpec {
	p := operators.PodSpec{Stack: s.Stack, Service: s.Name, Index: index, Task: "run", Revision: s.PodRevision(), MemMiB: 100, Volume: w.volume}
	if w.volume != "" {
		p.DiskMiB = 10
	}
	return p
}

func (w *world) Decide(s operators.ServiceSpec, o operators.Observed) plan.Plan {
	w.mu.Lock()
	defer w.mu.Unlock()
	pods := plan.Phase{Name: "pods", Strategy: plan.Parallel}
	for i := range s.Size {
		pods.Steps = append(pods.Steps, plan.Pod(s, i, o, w.pod)...)
	}
	p := plan.Plan{Service: s.Name, Name: "deploy", Revision: s.Revision(), Phases: []plan.Phase{pods}}
	if w.admin {
		p.Phases = append(p.Phases, plan.Phase{Name: "admin", Strategy: plan.Serial, Steps: []plan.Step{
			plan.Admin("topics:web", operators.Admin{Kind: operators.EnsureTopics, Service: "web"}, w.done, "", "a topic is missing", o)}})
	}
	return p
}

func (w *world) Probe(context.Context, operators.ServiceSpec, map[string]operators.Placement) func(*operators.Observed) {
	return func(*operators.Observed) {}
}

func (w *world) Command(ctx context.Context, l operators.Launch, _ operators.Placement, _ resources.TaskID) (operators.TaskSpec, error) {
	w.say("command %s", l.Pod.Name())
	w.mu.Lock()
	hold := w.hold
	w.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return operators.TaskSpec{}, context.Cause(ctx)
		}
	}
	return operators.TaskSpec{}, w.failing("command")
}

func (w *world) Admin(_ context.Context, a operators.Admin, _ map[string]operators.Placement) error {
	w.say("admin %s", a.Kind)
	err := w.failing("admin")
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = true
	}
	return err
}

// start runs a Service in the world; the returned function stops it and waits for its end.
func (w *world) start(changed func()) (*Service, func()) {
	w.t.Helper()
	s, err := New(Config{Spec: spec, Kind: w, Master: w, Store: w, Log: slog.New(slog.DiscardHandler), Changed: changed})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return s, func() {
		w.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		synctest.Wait()
	}
}

// begin starts a Service whose first pass found no offer.
func (w *world) begin() (*Service, func()) {
	w.t.Helper()
	s, stop := w.start(nil)
	w.said("SUBSCRIBE s.web as s/web", "RECONCILE []", "REVIVE")
	return s, stop
}

// offer sends an offer of so much memory.
func (w *world) offer(id resources.OfferID, memMiB int64) { w.offerOf("a1", id, memMiB) }

func (w *world) offerOf(agent resources.AgentID, id resources.OfferID, memMiB int64) {
	w.events <- resources.Event{Type: resources.EventOffers, Offers: []resources.Offer{{ID: id, Agent: agent, Resources: resources.Resources{
		{Name: resources.Mem, Scalar: resources.Milli(memMiB * 1000)}, {Name: resources.Disk, Scalar: 1000_000}}}}}
}

// task is the id of an attempt at pod web-0.
func task(attempt int) resources.TaskID {
	return resources.TaskID(fmt.Sprintf("s.web-0.run.n.%d", attempt))
}

// update sends a status of an attempt at pod web-0, which is to be acknowledged with a uuid.
func (w *world) update(attempt int, state resources.TaskState, uuid string) {
	w.updateOf(0, attempt, state, uuid)
}

func (w *world) updateOf(index, attempt int, state resources.TaskState, uuid string) {
	pod := w.pod(spec, index)
	w.events <- resources.Event{Type: resources.EventUpdate, Status: &resources.TaskStatus{
		Task: pod.TaskID(attempt, "n"), Agent: "a1", State: state, UUID: uuid, At: time.Now(), Labels: pod.Labels(attempt), ExitCode: 7}}
}

// running brings up the first attempt at web-0.
func (w *world) running() {
	w.t.Helper()
	w.offer("o1", 200)
	w.said("save", "command web-0", "ACCEPT [o1] LAUNCH s.web-0.run.n.1", "SUPPRESS")
	w.update(1, resources.Running, "u1")
	w.said("ACKNOWLEDGE s.web-0.run.n.1 u1")
}

// pass lets so much of the world's time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// step of the latest plan, in words.
func (w *world) step(s *Service, id string) string {
	w.t.Helper()
	step, ok := s.Status().Plan.Step(id)
	if !ok {
		w.t.Errorf("the plan has no step %s:\n%s", id, s.Status().Plan)
	}
	return string(step.Status) + " " + step.Reason
}

// expect compares one thing that was seen with what should be.
func (w *world) expect(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
