package operatortest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/cassandra"
	"github.com/weir-project/weir/operators/evaluate"
	"github.com/weir-project/weir/operators/kafka"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

// World is a simulated cluster of one service: agents, tasks, and what a running service would answer. It has no time of its own.
type World struct {
	Spec     operators.ServiceSpec
	Graphs   []physical.Graph
	Services map[string]operators.ServiceSpec
	Runs     []stream.Run
	Now      time.Time
	Agents   map[resources.AgentID]resources.Resources // what is free or reserved and not held by a task
	Paused   map[string]bool
	Blind    bool // facts cannot be read
	Beside   bool // the services beside a stream service are ready

	tasks    map[string]operators.Task
	held     map[string]resources.TaskInfo // by pod, of live tasks
	attempts map[string]operators.Attempt
	reserved map[string]operators.Placement
	specs    map[string]operators.ServiceSpec

	answers  map[string]bool // pods that answer
	role     bool
	off      bool
	topics   map[string]operators.Topic
	spaces   map[string]operators.Keyspace
	tables   map[string]operators.Table
	State    stream.State
	Launched map[string][]string // by pod: the task ids that were launched

	kafka  brokers
	twice  func(pod string)       // called for a launch beside a task that may run; nil: a panic
	broken func(what string)      // called for what I5 forbids; nil: a panic
	crash  func(step string) bool // the server dies when the step's attempt is stored and nothing is done yet; nil: never
}

// NewWorld has the given agents and nothing that runs.
func NewWorld(spec operators.ServiceSpec, agents map[resources.AgentID]resources.Resources) *World {
	return &World{
		Spec: spec, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Agents: agents, Beside: true, Paused: map[string]bool{},
		tasks: map[string]operators.Task{}, held: map[string]resources.TaskInfo{}, attempts: map[string]operators.Attempt{},
		reserved: map[string]operators.Placement{}, specs: map[string]operators.ServiceSpec{}, answers: map[string]bool{},
		topics: map[string]operators.Topic{}, spaces: map[string]operators.Keyspace{}, tables: map[string]operators.Table{}, Launched: map[string][]string{},
		kafka: newBrokers(),
	}
}

// Observed is the snapshot that a reconciler would take.
func (w *World) Observed() operators.Observed {
	for id, a := range w.attempts {
		for _, t := range w.tasks {
			a = a.Ended(t)
		}
		w.attempts[id] = a
	}
	o := operators.Observed{Now: w.Now, Tasks: maps.Clone(w.tasks), Reserved: maps.Clone(w.reserved), Attempts: maps.Clone(w.attempts), Specs: maps.Clone(w.specs)}
	if w.Blind {
		return o
	}
	switch w.Spec.Operator {
	case operators.Kafka:
		o.Kafka = w.kafkaFacts()
	case operators.Cassandra:
		nodes := map[string]string{}
		for pod, ok := range w.answers {
			if ok {
				nodes[w.reserved[pod].Address] = cassandra.Up
			}
		}
		if len(nodes) > 0 {
			o.Cassandra = operators.CassandraFacts{Nodes: operators.Know(nodes, w.Now), Authenticated: operators.Know(w.role, w.Now)}
			if w.role {
				o.Cassandra.DefaultOff = operators.Know(w.off, w.Now)
			}
		}
	case operators.Stream:
		o.Stream = w.streamFacts()
	}
	return o
}

func (w *World) streamFacts() operators.StreamFacts {
	f := operators.StreamFacts{Services: map[string]operators.ServiceFacts{}}
	for name := range w.Services {
		if w.Beside {
			f.Services[name] = operators.ServiceFacts{Ready: operators.Know(true, w.Now), Topics: operators.Know(maps.Clone(w.topics), w.Now),
				Keyspaces: operators.Know(maps.Clone(w.spaces), w.Now), Tables: operators.Know(maps.Clone(w.tables), w.Now)}
		}
	}
	count := w.State.Count()
	workers := map[string]operators.Worker{}
	for pod, ok := range w.answers {
		if ok {
			id := string(w.tasks[pod].ID)
			workers[pod] = operators.Worker{Task: id, Registered: true, Assigned: count[id], Holding: count[id]}
		}
	}
	f.Workers = operators.Know(workers, w.Now)
	return f
}

// Plan is what is decided now.
func (w *World) Plan() plan.Plan { return w.decide(w.Observed()) }

func (w *World) decide(o operators.Observed) plan.Plan {
	var p plan.Plan
	switch w.Spec.Operator {
	case operators.Kafka:
		p = kafka.Decide(w.Spec, o)
	case operators.Cassandra:
		p = cassandra.Decide(w.Spec, o)
	default:
		p = stream.Decide(w.Spec, stream.Input{Observed: o, Graphs: w.Graphs, Services: w.Services})
	}
	p.Apply(plan.Overrides{Paused: w.Paused})
	return p
}

// Pass carries the candidates out, as the reconciler would, and says what was done.
func (w *World) Pass() []string {
	var done []string
	for _, s := range w.Plan().Candidates(w.Now) {
		switch a := s.Action.(type) {
		case operators.Launch:
			done = append(done, s.ID+": "+w.launch(s.ID, a))
		case operators.Kill:
			w.attempts[s.ID] = w.attempts[s.ID].Begin(w.Now, "")
			if w.crashes(s.ID) {
				continue
			}
			w.kill(a)
			done = append(done, s.ID+": "+a.String())
		case operators.Admin:
			w.attempts[s.ID] = w.attempts[s.ID].Begin(w.Now, "")
			if w.crashes(s.ID) {
				continue
			}
			w.attempts[s.ID] = w.attempts[s.ID].Succeeded()
			w.admin(a)
			done = append(done, s.ID+": "+a.String())
		}
	}
	w.assign()
	return done
}

func (w *World) crashes(step string) bool { return w.crash != nil && w.crash(step) }

func (w *World) kill(a operators.Kill) {
	if w.Spec.Operator == operators.Kafka {
		w.killed(a.Pod)
	}
	t := w.tasks[a.Pod]
	t.State, t.Since = resources.Killing, w.Now
	w.tasks[a.Pod] = t
}

func (w *World) launch(id string, l operators.Launch) string {
	pod := l.Pod.Name()
	var offers []resources.Offer
	for _, a := range slices.Sorted(maps.Keys(w.Agents)) {
		offers = append(offers, resources.Offer{ID: resources.OfferID(a), Agent: a, Resources: w.Agents[a]})
	}
	out, _ := evaluate.Best(offers, evaluate.Request{Pod: l.Pod, At: w.reserved[pod]})
	if !out.Fits {
		return out.Reasons.Line()
	}
	attempt := w.attempts[id]
	task := l.Pod.TaskID(attempt.Total+1, "x")
	w.attempts[id] = attempt.Begin(w.Now, task)
	w.specs[l.Pod.Revision] = l.Spec
	if w.crashes(id) {
		// The next server asks about the task, and no agent knows it.
		w.tasks[pod] = operators.Task{ID: task, State: resources.Gone, Attempt: attempt.Total + 1, Message: "no agent knows it", Since: w.Now}
		return "the server died"
	}
	if _, runs := w.held[pod]; runs {
		w.second(pod)
	}
	at := evaluate.Complete(out.Placement, l.Pod)
	if l.Pod.Stateful() {
		w.reserved[pod] = at
	}
	w.Agents[out.Agent] = out.Left
	info := operators.TaskSpec{}.Info(l.Pod, at, attempt.Total+1, "x", out.Take)
	w.held[pod] = info
	w.Launched[pod] = append(w.Launched[pod], string(task))
	return fmt.Sprintf("%s on %s at %s%s", l, out.Agent, at.Address, ports(at.Ports))
}

func (w *World) second(pod string) {
	if w.twice == nil {
		panic("pod " + pod + " was launched twice")
	}
	w.twice(pod)
}

func ports(all map[string]int) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, " %s=%d", name, all[name])
	}
	return b.String()
}

func (w *World) admin(a operators.Admin) {
	switch a.Kind {
	case operators.CreateAdminRole:
		w.role = true
	case operators.DisableDefaultLogin:
		w.off = true
	case operators.EnsureTopics:
		for _, t := range a.Topics {
			w.topics[t.Name] = t
		}
	case operators.EnsureTables:
		for _, k := range a.Keyspaces {
			w.spaces[k.Name] = k
		}
		for _, t := range a.Tables {
			w.tables[t.ID()] = t
		}
	default:
		w.kafkaAdmin(a)
	}
}

// assign is what the server does beside the plan: slots to the workers that are registered and stay.
func (w *World) assign() {
	if w.Spec.Operator != operators.Stream {
		return
	}
	var stay []string
	for pod, ok := range w.answers {
		id := string(w.tasks[pod].ID)
		if i, mine := stream.Index(w.Spec.Name, pod); ok && mine && (i < w.Spec.Size || w.Paused["plan"] && w.State.Count()[id] > 0) {
			stay = append(stay, id)
		}
	}
	w.State = stream.Assign(stream.Request{Runs: w.Runs, Workers: stay, Previous: w.State})
}

// Status is a report of a pod's task: running, or an end, which gives its resources back to its agent.
func (w *World) Status(pod string, state resources.TaskState, exit int) {
	info, ok := w.held[pod]
	if !ok {
		return
	}
	s := resources.TaskStatus{Task: info.ID, Agent: info.Agent, State: state, ExitCode: exit, At: w.Now, Labels: info.Labels}
	_, t, _ := operators.TaskOf(s)
	w.tasks[pod] = t
	if !state.Terminal() {
		return
	}
	w.answers[pod] = false
	w.Agents[info.Agent] = append(slices.Clone(w.Agents[info.Agent]), info.Resources...)
	delete(w.held, pod)
	w.assign()
}

// Answer makes a pod's service answer, where its task runs.
func (w *World) Answer(pod string) {
	if w.tasks[pod].State == resources.Running {
		w.answers[pod] = true
		if w.Spec.Operator == operators.Kafka {
			w.kafka.registered[w.broker(pod)] = true
		}
		w.assign()
	}
}

// Move lets the world go on by itself: what was launched comes up and answers, what was killed ends.
func (w *World) Move() {
	for _, pod := range slices.Sorted(maps.Keys(w.held)) {
		switch t := w.tasks[pod]; {
		case t.ID != w.held[pod].ID, t.State == resources.Starting:
			w.Status(pod, resources.Running, 0)
		case t.State == resources.Killing:
			w.Status(pod, resources.Killed, 0)
		case t.State == resources.Running:
			w.Answer(pod)
		}
	}
	w.copied()
	w.Now = w.Now.Add(100 * time.Millisecond)
}
