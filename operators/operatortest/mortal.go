package operatortest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/reconcile"
	"github.com/weir-project/weir/resources"
)

// Mortal runs the real reconciler of one service against a cluster in memory, and lets it die at one chosen boundary: before or after its n-th
// effect, an effect being what outlives it (a write to the store, an accepted offer, a kill, an admin call). The next one starts at once
// with what was stored. It must run in a synctest bubble. It checks on the way that no pod has two tasks (I3).
type Mortal struct {
	At     int  // the boundary to die at; 0: none
	Forget bool // the planted bug: what is stored is lost

	model  model
	mu     sync.Mutex // guards the rest; never held while the reconciler is called
	count  int
	Passed []string // what happened at each boundary
	Faults []string // what must never happen
	stored []byte
	live   map[resources.TaskID]*mortalTask
	ids    map[resources.TaskID]bool
	now    *lifetime
	spec   operators.ServiceSpec
}

// model is a kind of service: what it decides, and what the running one would show and do.
type model interface {
	decide(operators.ServiceSpec, operators.Observed) plan.Plan
	facts(m *Mortal, o *operators.Observed)
	admin(m *Mortal, a operators.Admin)
	ends(m *Mortal, pod string) // a task of the pod is about to be killed
}

type mortalTask struct {
	info  resources.TaskInfo
	state resources.TaskState
	heard bool // the agent has told of it
}

// lifetime is one life of the reconciler. Nothing that it does after its death has an effect.
type lifetime struct {
	m      *Mortal
	events chan resources.Event
	dead   bool
	die    chan struct{}
	offers int
}

var errDead = errors.New("the server is dead")

// boundary counts, and dies where it is time to. It reports whether the lifetime lives on. mu is held.
func (s *lifetime) boundary(format string, args ...any) bool {
	if s.dead {
		return false
	}
	s.m.count++
	s.m.Passed = append(s.m.Passed, fmt.Sprintf(format, args...))
	if s.m.count == s.m.At {
		s.dead = true
		close(s.die)
		return false
	}
	return true
}

// effect does something that outlives the lifetime, between two boundaries.
func (s *lifetime) effect(what string, do func()) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if !s.boundary("before %s", what) {
		return errDead
	}
	do()
	if !s.boundary("after %s", what) {
		return errDead
	}
	return nil
}

func (s *lifetime) send(ev resources.Event) {
	if !s.dead {
		s.events <- ev
	}
}

func (s *lifetime) Subscribe(context.Context, resources.FrameworkInfo) (<-chan resources.Event, error) {
	return s.events, nil
}

func (s *lifetime) Load(string) []byte {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.m.stored
}

func (s *lifetime) Save(_ context.Context, _ string, value []byte) error {
	return s.effect("the save", func() {
		if !s.m.Forget {
			s.m.stored = value
		}
	})
}

func (s *lifetime) Call(_ context.Context, c resources.Call) error {
	switch c.Type {
	case resources.CallAccept:
		return s.effect("the launch", func() { s.launch(c.Operations) })
	case resources.CallKill:
		return s.effect("the kill of "+string(c.Task), func() { s.kill(c.Task) })
	case resources.CallRevive, resources.CallDecline, resources.CallReconcile:
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		s.answer(c)
	}
	return nil
}

func (s *lifetime) answer(c resources.Call) {
	switch {
	case s.dead:
	case c.Type == resources.CallReconcile:
		for id, t := range s.m.live {
			if t.heard && (len(c.Tasks) == 0 || slices.Contains(c.Tasks, id)) {
				s.send(resources.Event{Type: resources.EventUpdate, Status: t.status()})
			}
		}
		for _, id := range c.Tasks {
			if s.m.live[id] == nil {
				s.send(resources.Event{Type: resources.EventUpdate, Status: &resources.TaskStatus{Task: id, State: resources.Gone, At: time.Now(), Message: "no agent knows it"}})
			}
		}
	case c.Type == resources.CallDecline && c.Filter.RefuseFor > time.Minute:
	default:
		s.offer()
	}
}

// offer is a large one of an agent that is never full. mu is held.
func (s *lifetime) offer() {
	s.offers++
	s.send(resources.Event{Type: resources.EventOffers, Offers: []resources.Offer{{ID: resources.OfferID(fmt.Sprint("o", s.offers)), Agent: "a1", Resources: resources.Resources{
		resources.Scalar(resources.CPUs, 8000), resources.Scalar(resources.Mem, 64_000_000), resources.Scalar(resources.Disk, 900_000_000),
		resources.RangesOf(resources.Ports, resources.Range{Begin: 20000, End: 29999}), resources.SetOf(resources.Addresses, "127.1.1.2", "127.1.1.3")}}}})
}

// launch starts tasks, of which the agent tells 300 ms later: a server that starts meanwhile does not hear of them.
func (s *lifetime) launch(ops []resources.Operation) {
	for _, op := range ops {
		for _, info := range op.Tasks {
			pod := info.Labels[operators.LabelPod]
			for _, t := range s.m.live {
				if t.info.Labels[operators.LabelPod] == pod {
					s.m.Faults = append(s.m.Faults, fmt.Sprintf("%s is launched beside %s", info.ID, t.info.ID))
				}
			}
			if s.m.ids[info.ID] {
				s.m.Faults = append(s.m.Faults, fmt.Sprintf("%s is launched twice", info.ID))
			}
			s.m.ids[info.ID] = true
			t := &mortalTask{info: info, state: resources.Running}
			s.m.live[info.ID] = t
			time.AfterFunc(300*time.Millisecond, func() { s.m.tell(info.ID, func() { t.heard = true }) })
		}
	}
	s.offer()
}

// kill ends a task 100 ms later.
func (s *lifetime) kill(id resources.TaskID) {
	t := s.m.live[id]
	if t == nil {
		return
	}
	s.m.model.ends(s.m, t.info.Labels[operators.LabelPod])
	time.AfterFunc(100*time.Millisecond, func() {
		s.m.tell(id, func() {
			t.state = resources.Killed
			delete(s.m.live, id)
		})
	})
}

// tell changes a task and lets the server of that moment know.
func (m *Mortal) tell(id resources.TaskID, change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.live[id]
	if t == nil {
		return
	}
	change()
	m.now.send(resources.Event{Type: resources.EventUpdate, Status: t.status()})
}

func (t *mortalTask) status() *resources.TaskStatus {
	return &resources.TaskStatus{Task: t.info.ID, Agent: "a1", State: t.state, At: time.Now(), Labels: t.info.Labels, Resource: t.info.Resources}
}

func (s *lifetime) Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.m.model.decide(spec, o)
}

func (s *lifetime) Probe(context.Context, operators.ServiceSpec, map[string]operators.Placement) func(*operators.Observed) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	var o operators.Observed
	s.m.model.facts(s.m, &o)
	return func(to *operators.Observed) { to.Kafka, to.Stream = o.Kafka, o.Stream }
}

func (s *lifetime) Command(context.Context, operators.Launch, operators.Placement, resources.TaskID) (operators.TaskSpec, error) {
	return operators.TaskSpec{}, nil
}

func (s *lifetime) Admin(_ context.Context, a operators.Admin, _ map[string]operators.Placement) error {
	time.Sleep(50 * time.Millisecond) // of the bubble's: a call takes time, in which the facts grow old
	return s.effect(a.String(), func() { s.m.model.admin(s.m, a) })
}

// pods are the live tasks by pod. mu is held.
func (m *Mortal) pods() map[string]resources.TaskID {
	out := map[string]resources.TaskID{}
	for id, t := range m.live {
		if t.heard && t.state == resources.Running {
			out[t.info.Labels[operators.LabelPod]] = id
		}
	}
	return out
}

// Reach runs the service until its plan for a size is complete, through a death, and returns the plan. It gives up after two minutes of the
// bubble's time.
func (m *Mortal) Reach(size int) (plan.Plan, error) {
	m.spec.Size = size
	deadline := time.Now().Add(2 * time.Minute)
	for {
		p, died, err := m.life(deadline)
		if err != nil || !died {
			return p, err
		}
	}
}

// life is one of the reconciler's.
func (m *Mortal) life(deadline time.Time) (p plan.Plan, died bool, err error) {
	s := &lifetime{m: m, events: make(chan resources.Event, 1024), die: make(chan struct{})}
	m.mu.Lock()
	m.now = s
	m.mu.Unlock()
	r, err := reconcile.New(reconcile.Config{Spec: m.spec, Kind: s, Master: s, Store: s, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return p, false, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	defer func() {
		m.mu.Lock()
		s.dead = true
		m.mu.Unlock()
		cancel()
		err = errors.Join(err, <-ended)
	}()
	began := time.Now()
	for {
		select {
		case <-s.die:
			return p, true, nil
		case <-time.After(100 * time.Millisecond):
		}
		st := r.Status()
		if p = st.Plan; len(p.Phases) > 0 && p.Summary() == plan.Done && time.Since(began) > 5*time.Second {
			return p, false, nil // and it stayed so through some looks at the world
		}
		if time.Now().After(deadline) {
			return p, false, fmt.Errorf("not complete:\n%s", p)
		}
	}
}
