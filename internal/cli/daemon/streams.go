package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/kafka"
	"github.com/weir-project/weir/operators/nats"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/reconcile"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

// patience is for how long a worker that may be running keeps its slots while its link is broken: after a restart of the server all
// workers are in that state, and go on working.
const patience = 10 * time.Second

// streamKind is the worker fleet's operator. It reads the daemon's own state, so its facts are gathered on the loop.
type streamKind struct {
	s *stack
	v *service
}

func (k streamKind) Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	v := k.s.view.Load()
	return stream.Decide(spec, stream.Input{Observed: o, Graphs: v.graphs, Services: v.services})
}

func (k streamKind) Probe(ctx context.Context, _ operators.ServiceSpec, _ map[string]operators.Placement) func(*operators.Observed) {
	facts, err := ask(ctx, k.s.d, func() (operators.StreamFacts, error) { return k.s.streamFacts(time.Now()), nil })
	if err != nil {
		facts.Workers = operators.Unknown[map[string]operators.Worker](err.Error())
	}
	return func(o *operators.Observed) { o.Stream = facts }
}

// streamFacts: which workers are registered and what they hold, and what the services beside say of themselves.
func (s *stack) streamFacts(now time.Time) operators.StreamFacts {
	f := operators.StreamFacts{Services: map[string]operators.ServiceFacts{}}
	workers, given := map[string]operators.Worker{}, s.assigned.Count()
	for _, w := range s.d.workers {
		if w.stack != s.name {
			continue
		}
		holding := 0
		for _, r := range w.reports {
			if r.State != engine.StateEnded && r.State != engine.StateFenced {
				holding++
			}
		}
		workers[podName(w.task)] = operators.Worker{Task: w.task, Registered: true, Assigned: given[w.task], Holding: holding}
	}
	s.addAwaited(workers, now)
	f.Workers = operators.Know(workers, now)
	for _, v := range s.services {
		if v.rec == nil || v.spec.Operator == operators.Stream {
			continue
		}
		o := v.rec.Status().Observed
		switch v.spec.Operator {
		case operators.Kafka:
			ok, _ := kafka.Ready(v.spec, o.Kafka)
			f.Services[v.spec.Name] = operators.ServiceFacts{Ready: operators.Know(ok, now), Topics: o.Kafka.Topics}
		case operators.Cassandra:
			// Tables are made by our own role as soon as it can log in, while the default account is still being turned off: 0.6 s of the start.
			ok := o.Cassandra.Authenticated.Known && o.Cassandra.Authenticated.Value
			f.Services[v.spec.Name] = operators.ServiceFacts{Ready: operators.Know(ok, now), Keyspaces: o.Cassandra.Keyspaces, Tables: o.Cassandra.Tables}
		case operators.Nats:
			ok, _ := nats.Ready(o.Nats)
			f.Services[v.spec.Name] = operators.ServiceFacts{Ready: operators.Know(ok, now), Streams: o.Nats.Streams}
		}
	}
	return f
}

// addAwaited names the workers that leave and whose link is broken, as all are when the server has just started: what they hold is unknown.
func (s *stack) addAwaited(workers map[string]operators.Worker, now time.Time) {
	v := s.fleet()
	if v == nil || v.rec == nil {
		return
	}
	for pod, t := range v.rec.Status().Observed.Tasks {
		i, ok := stream.Index(v.spec.Name, pod)
		if ok && i >= v.spec.Size && t.Live() && !workers[pod].Registered && s.mayReturn(string(t.ID), now) {
			workers[pod] = operators.Worker{Task: string(t.ID), Awaited: true}
		}
	}
}

func (k streamKind) Command(_ context.Context, l operators.Launch, _ operators.Placement, task resources.TaskID) (operators.TaskSpec, error) {
	now := time.Now()
	b, err := k.s.d.ca.Issue(security.Request{CN: string(task), Role: security.RoleWorker, NotBefore: now, NotAfter: now.AddDate(0, 3, 0), ClientAuth: true})
	if err != nil {
		return operators.TaskSpec{}, fmt.Errorf("issue the certificate of %s: %w", task, err)
	}
	return stream.Command(l, stream.Env{Weir: k.s.d.cfg.Self, Server: k.s.d.url, Task: string(task), Identity: b.JavaPEM()})
}

// Admin: the channels' topics and tables are made by the admin of the service that holds them (C7).
func (k streamKind) Admin(ctx context.Context, a operators.Admin, _ map[string]operators.Placement) error {
	type holder struct {
		kind reconcile.Kind
		rec  *reconcile.Service
	}
	h, err := ask(ctx, k.s.d, func() (holder, error) {
		if v := k.s.service(a.Service); v != nil && v.rec != nil {
			return holder{k.s.kind(v), v.rec}, nil
		}
		return holder{}, fmt.Errorf("%s: service %s does not run", a.Kind, a.Service)
	})
	if err != nil {
		return err
	}
	if err := h.kind.Admin(ctx, a, h.rec.Status().Observed.Reserved); err != nil {
		return err
	}
	h.rec.Reprobe()
	return nil
}

// fleet is the stack's worker service.
func (s *stack) fleet() *service {
	for _, v := range s.services {
		if v.spec.Operator == operators.Stream {
			return v
		}
	}
	return nil
}

func (s *stack) loadAssigned() error {
	data, _, ok := s.d.store.Get("assigned/" + s.name)
	if !ok {
		return nil
	}
	if err := json.Unmarshal(data, &s.assigned); err != nil {
		return fmt.Errorf("read the stored assignment of %s: %w", s.name, err)
	}
	return nil
}

// missed notes that a worker's link broke. Its slots may run: what they do is not known, and is not shown as what they did last.
func (s *stack) missed(task string, now time.Time) {
	s.lost[task] = now
	for _, o := range s.assigned.Slots {
		if p := s.pipeline(o.Slot.Pipeline); p != nil && o.Task == task {
			p.silent(o.Slot, "its worker "+podName(task)+" does not answer")
		}
	}
}

// hosts are the tasks that may be given slots: registered ones, and those that may be running though their link is broken, for a while.
func (s *stack) hosts(v *service, now time.Time) []string {
	st := v.rec.Status()
	var out []string
	seen := map[string]bool{}
	for pod, t := range st.Observed.Tasks {
		i, ok := stream.Index(v.spec.Name, pod)
		seen[string(t.ID)] = true
		if !ok || i >= v.spec.Size && !s.keeps(v, string(t.ID)) || !t.Live() || t.State == resources.Killing {
			continue
		}
		if s.d.workers[string(t.ID)] != nil || s.waitedFor(string(t.ID), now) {
			out = append(out, string(t.ID))
		}
	}
	for task := range s.assigned.Count() {
		if !seen[task] && s.waitedFor(task, now) {
			out = append(out, task) // the agent has not told of its tasks yet
		}
	}
	return out
}

// keeps reports whether a worker that the size has no place for still hosts slots: its drain is paused, and has not begun.
func (s *stack) keeps(v *service, task string) bool {
	_, paused := s.record.Paused[v.spec.Name]
	return paused && s.assigned.Count()[task] > 0
}

// waitedFor reports whether a worker without a link still keeps its slots. One that owned none is not waited for.
func (s *stack) waitedFor(task string, now time.Time) bool {
	return s.assigned.Count()[task] > 0 && s.mayReturn(task, now)
}

// mayReturn reports whether a worker's link broke, or was first seen broken, a short while ago.
func (s *stack) mayReturn(task string, now time.Time) bool {
	since, ok := s.lost[task]
	if !ok {
		s.missed(task, now)
		since = now
	}
	return now.Sub(since) < patience
}

// runPipelines lists splits, assigns slots and tells the workers.
func (s *stack) runPipelines(ctx context.Context, now time.Time) {
	v := s.fleet()
	if v == nil || v.rec == nil || len(s.pipelines) == 0 {
		return
	}
	if why := channelsMissing(v.rec.Status().Plan); why != "" {
		for _, p := range s.pipelines {
			p.waiting = why
		}
		return
	}
	var runs []stream.Run
	for _, p := range s.pipelines {
		p.waiting = ""
		runs = append(runs, s.runOf(ctx, p))
		if err := s.d.savePipeline(ctx, p); err != nil {
			s.d.cfg.Log.Error("run not stored", "pipeline", p.name, "error", err)
			return
		}
	}
	next := stream.Assign(stream.Request{Runs: runs, Workers: s.hosts(v, now), Previous: s.assigned})
	if next.Revision != s.assigned.Revision {
		if err := s.saveAssigned(ctx, next); err != nil {
			s.d.cfg.Log.Error("assignment not stored", "stack", s.name, "error", err)
			return
		}
		s.d.cfg.Log.Info("assigned", "stack", s.name, "revision", next.Revision, "slots", next.Count())
	}
	s.send(ctx, runs)
}

func channelsMissing(p plan.Plan) string {
	for _, ph := range p.Phases {
		if ph.Name != "channels" {
			continue
		}
		for _, step := range ph.Steps {
			if !step.Done {
				return fmt.Sprintf("waits for %s (%s)", step.ID, step.Reason)
			}
		}
		return ""
	}
	if len(p.Phases) == 0 {
		return "waits for the plan of its workers"
	}
	return ""
}

// runOf is what the assignment must know of a pipeline.
func (s *stack) runOf(ctx context.Context, p *pipeline) stream.Run {
	r := stream.Run{PipelineRun: physical.PipelineRun{UID: p.UID, Run: p.Run, Graph: p.Graph}, Ended: map[string]bool{}, Held: map[string]bool{}, Splits: map[string][]physical.SplitOf{}, Hash: p.hash}
	for i := range p.Graph.Stages {
		st := &p.Graph.Stages[i]
		sr := p.Stages[st.Name]
		r.Ended[st.Name] = !sr.Ended.IsZero()
		if ok, _ := p.due(st); ok && !sr.Listed {
			s.listSplits(ctx, p, st)
		}
		r.Held[st.Name] = !sr.Listed
		for _, f := range st.Fragments {
			r.Splits[st.Name+"/"+f.Name] = sr.fragmentSplits(f)
		}
	}
	return r
}

// saveAssigned stores an assignment before anybody hears of it, so that no term is given out twice (I8).
func (s *stack) saveAssigned(ctx context.Context, next stream.State) error {
	if err := s.d.put(ctx, "assigned/"+s.name, next); err != nil {
		return fmt.Errorf("store the assignment of %s: %w", s.name, err)
	}
	s.assigned = next
	return nil
}

// send brings every registered worker up to the stored assignment.
func (s *stack) send(ctx context.Context, runs []stream.Run) {
	var behind []string
	made := s.made()
	for _, w := range s.d.workers {
		if w.stack == s.name && w.sent != made {
			behind = append(behind, w.task)
		}
	}
	if len(behind) == 0 {
		return
	}
	services := map[string]physical.Connection{}
	for _, p := range s.pipelines {
		more, err := s.connections(&p.Graph)
		if err != nil {
			p.waiting = err.Error()
			return
		}
		for k, c := range more {
			services[k] = c
		}
	}
	for task, msg := range s.assigned.Messages(runs, behind, services, s.d.install) {
		if w := s.d.workers[task]; w != nil {
			s.d.sendAssign(ctx, w, msg, made)
		}
	}
}

// made says what an Assign is made of now: the assignment, and where the services are. A worker that was sent anything else is behind.
func (s *stack) made() string {
	text := fmt.Sprint(s.assigned.Revision)
	for _, v := range s.services {
		if v.rec != nil {
			text += " " + endpoint(v.spec, v.rec.Status().Observed)
		}
	}
	return text
}

// slotReported takes the word of a slot's present owner; anybody else's is a zombie's.
func (s *stack) slotReported(task string, r physical.SlotReport, now time.Time) {
	for _, o := range s.assigned.Slots {
		if o.Slot == r.Slot && o.Task == task && o.Term == r.Term {
			if r.State == engine.StateFenced {
				s.overtaken(o)
				return
			}
			if p := s.pipeline(r.Slot.Pipeline); p != nil && p.Run == o.Run {
				p.report(r, now)
			}
			return
		}
	}
}

// overtaken takes a slot from an owner that its log has fenced although nobody else was given it: the log holds a term that this server has
// forgotten (a store that was lost). The next assignment gives a higher one, again and again until it is above.
func (s *stack) overtaken(o stream.Owned) {
	next := s.assigned
	next.Slots = slices.Clone(next.Slots)
	for i := range next.Slots {
		if next.Slots[i] == o {
			next.Slots[i].Task = ""
		}
	}
	s.assigned = next
	s.d.cfg.Log.Warn("a slot's term was overtaken; it is given a higher one", "slot", o.Slot, "term", o.Term)
}

// podName is the pod in a task id: stack.pod.task.nonce.attempt.
func podName(task string) string {
	parts := strings.SplitN(task, ".", 3)
	if len(parts) < 2 {
		return task
	}
	return parts[1]
}
