package reconcile

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/resources"
)

// Master is what a reconciler needs of the resource layer: the calls and events of a framework (C2).
type Master interface {
	Subscribe(ctx context.Context, info resources.FrameworkInfo) (<-chan resources.Event, error)
	Call(ctx context.Context, call resources.Call) error
}

// Kind is one operator with its edges. Its methods may block until ctx ends, and are not called on the loop, but for Decide.
type Kind interface {
	// Decide is the operator's pure decision.
	Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan
	// Probe reads facts of the running service; the function it returns puts them into a snapshot.
	Probe(ctx context.Context, spec operators.ServiceSpec, at map[string]operators.Placement) func(*operators.Observed)
	// Command builds what a launch starts. Secrets are made here and travel in the task's files only (C1).
	Command(ctx context.Context, l operators.Launch, at operators.Placement, task resources.TaskID) (operators.TaskSpec, error)
	// Admin changes the running service, idempotently.
	Admin(ctx context.Context, a operators.Admin, at map[string]operators.Placement) error
}

// Store keeps a service's record: Load returns nil where there is none.
type Store interface {
	Load(key string) []byte
	Save(ctx context.Context, key string, value []byte) error
}

// Config of a Service.
type Config struct {
	Spec   operators.ServiceSpec
	Kind   Kind
	Master Master
	Store  Store
	Log    *slog.Logger
	Orders Orders
	Now    func() time.Time // nil: time.Now
	// Changed is called, if it is set, when the plan looks different from before: whoever waits for the service need not poll. It must not block.
	Changed func()
}

// Orders are what an operator ordered of the service's plan, stored by whoever runs the reconciler.
type Orders struct {
	Overrides plan.Overrides
	Change    plan.Change // what the plan is named by
}

// record is what is stored of a service: what cannot be seen in the world.
type record struct {
	Nonce    string                           `json:"nonce"` // in every task id, so that a service made anew never repeats one
	Attempts map[string]operators.Attempt     `json:"attempts"`
	Specs    map[string]operators.ServiceSpec `json:"specs"` // by pod revision
}

// Status is what others see of the service.
type Status struct {
	Spec     operators.ServiceSpec
	Plan     plan.Plan
	Observed operators.Observed
	Wanted   bool
	Holds    map[string]string // what each pod's task holds, for people
	Began    time.Time         // the first launch of this start
	Took     time.Duration     // from the first launch of this start to the plan's end
	NoOffer  string            // why the last launch found no offer that fits
	Busy     bool              // a launch is being built, or was accepted and is not heard of
	At       time.Time         // of the pass
}

// Service is one reconciler.
type Service struct {
	cfg    Config
	rec    record
	events <-chan resources.Event
	work   chan func()
	probed chan struct{}
	away   sync.WaitGroup // what goes on beside the loop; Run waits for it

	tasks    map[string]operators.Task
	statuses map[string]resources.TaskStatus // by pod: the latest task's
	reserved map[string]operators.Placement
	offers   map[resources.OfferID]resources.Offer
	killed   map[resources.TaskID]time.Time
	busy     map[string]bool // steps whose admin call or command is under way
	facts    func(*operators.Observed)
	hungry   bool // offers are wanted
	began    time.Time
	took     time.Duration
	noOffer  string
	asked    time.Time // when the master was last asked about launched tasks that nobody spoke of

	mu     sync.Mutex
	spec   operators.ServiceSpec
	wanted bool
	orders Orders
	status Status
	wakeup chan struct{}
}

// New prepares a reconciler; Run drives it.
func New(cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{cfg: cfg, spec: cfg.Spec, wanted: true, orders: cfg.Orders, work: make(chan func(), 16), probed: make(chan struct{}, 1), wakeup: make(chan struct{}, 1),
		tasks: map[string]operators.Task{}, statuses: map[string]resources.TaskStatus{}, reserved: map[string]operators.Placement{},
		offers: map[resources.OfferID]resources.Offer{}, busy: map[string]bool{}, killed: map[resources.TaskID]time.Time{}}
	if data := cfg.Store.Load(s.key()); data != nil {
		if err := json.Unmarshal(data, &s.rec); err != nil {
			return nil, fmt.Errorf("read the record of service %s: %w", cfg.Spec.Role(), err)
		}
	}
	if s.rec.Nonce == "" {
		s.rec.Nonce = strings.ToLower(rand.Text()[:6])
	}
	if s.rec.Attempts == nil {
		s.rec.Attempts = map[string]operators.Attempt{}
	}
	if s.rec.Specs == nil {
		s.rec.Specs = map[string]operators.ServiceSpec{}
	}
	s.status = Status{Spec: cfg.Spec, Wanted: true}
	return s, nil
}

// framework is the service's identity at the master: "stack.service".
func (s *Service) framework() resources.FrameworkID {
	return resources.FrameworkID(s.cfg.Spec.Stack + "." + s.cfg.Spec.Name)
}

func (s *Service) key() string { return "services/" + s.cfg.Spec.Stack + "/" + s.cfg.Spec.Name }

// Want changes the spec, or with wanted false lets every task end. The next pass sees it.
func (s *Service) Want(spec operators.ServiceSpec, wanted bool) {
	s.mu.Lock()
	s.spec, s.wanted = spec, wanted
	s.mu.Unlock()
	s.Wake()
	s.Reprobe()
}

// Order changes what an operator ordered. The next pass sees it.
func (s *Service) Order(o Orders) {
	s.mu.Lock()
	s.orders = o
	s.mu.Unlock()
	s.Wake()
}

// Wake makes a pass happen soon.
func (s *Service) Wake() {
	select {
	case s.wakeup <- struct{}{}:
	default:
	}
}

// Status is the latest pass's.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Run subscribes and reconciles until ctx ends. Tasks go on when it returns.
func (s *Service) Run(ctx context.Context) error {
	var err error
	info := resources.FrameworkInfo{ID: s.framework(), Name: s.cfg.Spec.Name, Role: s.cfg.Spec.Role()}
	if s.events, err = s.cfg.Master.Subscribe(ctx, info); err != nil {
		return fmt.Errorf("subscribe service %s: %w", s.cfg.Spec.Role(), err)
	}
	if err := s.call(ctx, resources.Call{Type: resources.CallReconcile}); err != nil {
		return err
	}
	defer s.away.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.away.Go(func() { s.probe(ctx) })
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-s.events:
			if !ok {
				return fmt.Errorf("service %s: the master ended its stream", s.cfg.Spec.Role())
			}
			s.event(ctx, ev)
			s.drain(ctx)
		case f := <-s.work:
			f()
		case <-s.wakeup:
		case <-tick.C:
		}
		s.pass(ctx)
	}
}

// drain takes the events that wait already, so that a pass sees the latest.
func (s *Service) drain(ctx context.Context) {
	for {
		select {
		case ev, ok := <-s.events:
			if !ok {
				return
			}
			s.event(ctx, ev)
		default:
			return
		}
	}
}

func (s *Service) call(ctx context.Context, c resources.Call) error {
	c.Framework = s.framework()
	if err := s.cfg.Master.Call(ctx, c); err != nil {
		return fmt.Errorf("service %s: %s: %w", s.cfg.Spec.Role(), c.Type, err)
	}
	return nil
}

// say logs a call that failed: the next pass tries again, so there is nothing else to do.
func (s *Service) say(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.cfg.Log.Warn("reconcile", "service", s.cfg.Spec.Role(), "error", err)
	}
}

func (s *Service) event(ctx context.Context, ev resources.Event) {
	switch ev.Type {
	case resources.EventOffers:
		for _, o := range ev.Offers {
			s.offers[o.ID] = o
		}
	case resources.EventRescind:
		delete(s.offers, ev.Offer)
	case resources.EventUpdate:
		s.updated(ctx, *ev.Status)
	case resources.EventError:
		s.cfg.Log.Error("the master refused the service", "service", s.cfg.Spec.Role(), "error", ev.Message)
	}
}

// updated takes a task's status in, books the end of an attempt, and only then acknowledges: a status that was not booked comes again.
func (s *Service) updated(ctx context.Context, st resources.TaskStatus) {
	pod, task, ok := operators.TaskOf(st)
	if !ok {
		pod, task, ok = s.unlabelled(st)
	}
	if ok && s.newer(pod, task) {
		id := plan.LaunchID(pod)
		if a := s.rec.Attempts[id]; a != a.Ended(task) {
			s.rec.Attempts[id] = a.Ended(task)
			if err := s.save(ctx); err != nil {
				s.rec.Attempts[id] = a // as if it had not come: it was not acknowledged, and comes again
				s.say(err)
				return
			}
		}
		s.tasks[pod], s.statuses[pod] = task, st
		s.cfg.Log.Info("task", "service", s.cfg.Spec.Role(), "task", st.Task, "state", st.State, "reason", st.Reason, "message", st.Message)
	}
	if st.UUID != "" {
		s.say(s.call(ctx, resources.Call{Type: resources.CallAcknowledge, Task: st.Task, UUID: st.UUID}))
	}
}

// unlabelled reads the master's answer about a task that no agent knows: it has no labels, but an attempt names the task.
func (s *Service) unlabelled(st resources.TaskStatus) (string, operators.Task, bool) {
	for id, a := range s.rec.Attempts {
		if pod, ok := strings.CutSuffix(id, plan.LaunchID("")); ok && a.Task == st.Task {
			return pod, operators.Task{ID: st.Task, State: st.State, Attempt: a.Total, Message: st.Message, Since: st.At}, true
		}
	}
	return "", operators.Task{}, false
}

// newer: statuses of older attempts come late after a restart; only the latest attempt is the pod's task.
func (s *Service) newer(pod string, t operators.Task) bool {
	old, ok := s.tasks[pod]
	return !ok || t.Attempt > old.Attempt || t.ID == old.ID && !(old.State.Terminal() && !t.State.Terminal())
}

func (s *Service) save(ctx context.Context) error {
	data, err := json.Marshal(s.rec)
	if err != nil {
		return fmt.Errorf("store the record of service %s: %w", s.cfg.Spec.Role(), err)
	}
	if err := s.cfg.Store.Save(ctx, s.key(), data); err != nil {
		return fmt.Errorf("store the record of service %s: %w", s.cfg.Spec.Role(), err)
	}
	return nil
}

// observe is the one snapshot of a pass.
func (s *Service) observe(now time.Time) operators.Observed {
	o := operators.Observed{Now: now, Tasks: maps.Clone(s.tasks), Reserved: maps.Clone(s.reserved), Attempts: maps.Clone(s.rec.Attempts), Specs: maps.Clone(s.rec.Specs)}
	if s.facts != nil {
		s.facts(&o)
	}
	return o
}
