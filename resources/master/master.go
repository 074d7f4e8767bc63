package master

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/allocator"
)

type agentState struct {
	info      resources.AgentInfo
	total     resources.Resources // as the agent reported, with what was sent since
	connected bool
	lostAt    time.Time // when its link broke
	lost      bool      // unreachable
	seq       uint64
	pending   []sent
}

// sent is an accepted offer's operations that the agent has not answered yet.
type sent struct {
	seq        uint64
	operations []resources.Operation
}

type frameworkState struct {
	info       resources.FrameworkInfo
	connected  bool
	suppressed bool
}

type offerState struct {
	offer    resources.Offer
	deadline time.Time
}

type taskState struct {
	status resources.TaskStatus
	kill   bool // asked for, and not known to have arrived
	heard  bool // its agent has spoken of it, so that the launch arrived
}

// Master is all that one master knows. It belongs to one goroutine.
type Master struct {
	options    Options
	started    time.Time
	agents     map[resources.AgentID]*agentState
	frameworks map[resources.FrameworkID]*frameworkState
	removed    map[resources.FrameworkID]bool // torn down: their tasks' ends are acknowledged here
	offers     map[resources.OfferID]*offerState
	tasks      map[resources.TaskID]*taskState
	filters    []allocator.Filter
	largest    map[string]resources.Resources
	dirty      bool // an allocation is due
	effects    []Effect
}

// New makes a master that knows nothing yet.
func New(now time.Time, o Options) *Master {
	return &Master{
		options: o.withDefaults(), started: now,
		agents: map[resources.AgentID]*agentState{}, frameworks: map[resources.FrameworkID]*frameworkState{},
		removed: map[resources.FrameworkID]bool{}, offers: map[resources.OfferID]*offerState{},
		tasks: map[resources.TaskID]*taskState{}, largest: map[string]resources.Resources{},
	}
}

// Step takes one event.
func (m *Master) Step(now time.Time, e Event) []Effect {
	var err error
	switch e := e.(type) {
	case AgentReported:
		err = m.agentReported(now, e)
	case AgentDisconnected:
		m.agentDisconnected(now, e.Agent)
	case Subscribed:
		err = m.subscribe(e.Info)
	case Unsubscribed:
		m.unsubscribe(e.Framework)
	case Called:
		err = m.call(now, e.Call)
	default:
		err = fmt.Errorf("master knows no event %T", e)
	}
	if err != nil {
		m.effects = nil
		return []Effect{Refuse{err}}
	}
	m.allocate(now)
	return m.take()
}

// Tick does what is due: unreachable agents, offers that nobody answered, filters that have ended.
func (m *Master) Tick(now time.Time) []Effect {
	for _, id := range slices.Sorted(maps.Keys(m.agents)) {
		a := m.agents[id]
		if !a.connected && !a.lost && !now.Before(a.lostAt.Add(m.options.Unreachable)) {
			m.agentLost(now, id, a)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.offers)) {
		if o := m.offers[id]; !now.Before(o.deadline) {
			m.rescind(id)
		}
	}
	before := len(m.filters)
	m.filters = slices.DeleteFunc(m.filters, func(f allocator.Filter) bool { return !now.Before(f.Until) })
	m.dirty = m.dirty || len(m.filters) != before
	m.allocate(now)
	return m.take()
}

// Next is when Tick has something to do; zero is never.
func (m *Master) Next() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, a := range m.agents {
		if !a.connected && !a.lost {
			earlier(a.lostAt.Add(m.options.Unreachable))
		}
	}
	for _, o := range m.offers {
		earlier(o.deadline)
	}
	for _, f := range m.filters {
		earlier(f.Until)
	}
	return next
}

func (m *Master) take() []Effect {
	out := m.effects
	m.effects = nil
	return out
}

func (m *Master) toAgent(id resources.AgentID, c resources.AgentCommand) {
	c.Term = m.options.Term
	m.effects = append(m.effects, SendAgent{id, c})
}

// toFramework drops what a framework that is away cannot hear: it reconciles when it comes back.
func (m *Master) toFramework(id resources.FrameworkID, e resources.Event) {
	if f := m.frameworks[id]; f != nil && f.connected {
		e.Framework = id
		m.effects = append(m.effects, SendFramework{id, e})
	}
}

func (m *Master) update(s resources.TaskStatus) {
	m.toFramework(s.Framework, resources.Event{Type: resources.EventUpdate, Status: &s})
}

// recovering reports that agents with tasks that nobody here knows may still come.
func (m *Master) recovering(now time.Time) bool {
	if !now.Before(m.started.Add(m.options.Recovery)) {
		return false
	}
	missing := slices.ContainsFunc(m.options.Expect, func(id resources.AgentID) bool { return m.agents[id] == nil })
	return missing || len(m.options.Expect) == 0
}

// used is what the living tasks of an agent hold.
func (m *Master) used(id resources.AgentID) resources.Resources {
	var all resources.Resources
	for _, t := range m.tasks {
		if t.status.Agent == id && !t.status.State.Terminal() {
			all = append(all, t.status.Resource...)
		}
	}
	return all.Normal()
}

func (m *Master) offered(id resources.AgentID) resources.Resources {
	var all resources.Resources
	for _, o := range m.offers {
		if o.offer.Agent == id {
			all = append(all, o.offer.Resources...)
		}
	}
	return all.Normal()
}

// Snapshot is what there is now, sorted by id.
func (m *Master) Snapshot(now time.Time) Snapshot {
	s := Snapshot{Term: m.options.Term, Recovering: m.recovering(now)}
	for _, id := range slices.Sorted(maps.Keys(m.agents)) {
		a := m.agents[id]
		info := a.info
		info.Resources = a.total
		s.Agents = append(s.Agents, AgentView{Info: info, Connected: a.connected, Unreachable: a.lost, Used: m.used(id), Offered: m.offered(id)})
	}
	for _, id := range slices.Sorted(maps.Keys(m.frameworks)) {
		f := m.frameworks[id]
		s.Frameworks = append(s.Frameworks, FrameworkView{Info: f.info, Connected: f.connected, Suppressed: f.suppressed})
	}
	for _, id := range slices.Sorted(maps.Keys(m.offers)) {
		s.Offers = append(s.Offers, m.offers[id].offer)
	}
	for _, t := range m.sortedTasks() {
		s.Tasks = append(s.Tasks, t.status)
	}
	return s
}

func (m *Master) sortedTasks() []*taskState {
	return slices.SortedFunc(maps.Values(m.tasks), func(a, b *taskState) int { return cmp.Compare(a.status.Task, b.status.Task) })
}
