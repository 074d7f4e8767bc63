package master

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-project/weir/resources"
)

// The reasons of statuses that the master makes, as Mesos names them.
const (
	ReasonReconciliation = "REASON_RECONCILIATION"
	ReasonAgentRemoved   = "REASON_AGENT_REMOVED"
	ReasonReregistered   = "REASON_AGENT_REREGISTERED"
)

func (m *Master) agentReported(now time.Time, e AgentReported) error {
	if e.Report.Type == resources.AgentRegister {
		return m.register(now, e)
	}
	a := m.agents[e.Agent]
	if a == nil || !a.connected {
		return fmt.Errorf("%s from agent %s: it has not registered on this link", e.Report.Type, e.Agent)
	}
	switch {
	case e.Report.Type == resources.AgentStatus && e.Report.Status != nil:
		return m.status(e.Agent, *e.Report.Status)
	case e.Report.Type == resources.AgentChanged && e.Report.Info != nil:
		m.changed(e.Agent, a, e.Report)
		return nil
	}
	return fmt.Errorf("report %q from agent %s: it is unknown or empty", e.Report.Type, e.Agent)
}

// register believes the agent in everything: what it has, and which tasks there are.
func (m *Master) register(now time.Time, e AgentReported) error {
	info := e.Report.Info
	if info == nil || info.ID != e.Agent {
		return fmt.Errorf("register agent %s: the report does not name it", e.Agent)
	}
	if err := resources.CheckID(string(info.ID)); err != nil {
		return fmt.Errorf("register agent: %w", err)
	}
	for _, v := range info.Resources.Volumes() {
		if other, held := m.volumeHolder(v.Volume.ID, e.Agent); held {
			return fmt.Errorf("register agent %s: it has volume %s, which agent %s holds (I3)", e.Agent, v.Volume.ID, other)
		}
	}
	m.rescindAgent(e.Agent)
	a := &agentState{info: *info, total: info.Resources.Normal(), connected: true}
	m.agents[e.Agent] = a
	m.toAgent(e.Agent, resources.AgentCommand{Type: resources.AgentRegistered})
	reported := map[resources.TaskID]bool{}
	for _, s := range e.Report.Tasks {
		s.Agent = e.Agent
		reported[s.Task] = true
		m.found(s)
	}
	for _, t := range m.sortedTasks() {
		if t.status.Agent == e.Agent && !reported[t.status.Task] {
			m.vanished(now, t)
		}
	}
	m.dirty = true
	return nil
}

func (m *Master) volumeHolder(id string, except resources.AgentID) (resources.AgentID, bool) {
	for _, agent := range slices.Sorted(maps.Keys(m.agents)) {
		if _, held := m.agents[agent].total.Volume(id); held && agent != except {
			return agent, true
		}
	}
	return "", false
}

// found takes a task from an agent's registration into the table.
func (m *Master) found(s resources.TaskStatus) {
	t := m.tasks[s.Task]
	if t == nil {
		t = &taskState{}
		m.tasks[s.Task] = t
	}
	changed := t.status.State != s.State
	t.status, t.heard = s, true
	if m.removed[s.Framework] || t.kill {
		t.kill = true
		if !s.State.Terminal() {
			m.toAgent(s.Agent, resources.AgentCommand{Type: resources.AgentKill, Task: s.Task})
		}
	}
	// What has a UUID the agent sends again by itself.
	if changed && s.UUID == "" {
		s.Reason = ReasonReregistered
		m.update(s)
	}
}

// vanished ends a task that its own agent does not know.
func (m *Master) vanished(now time.Time, t *taskState) {
	delete(m.tasks, t.status.Task)
	if t.status.State.Terminal() {
		return
	}
	s := t.status
	s.UUID, s.At, s.Reason = "", now, ReasonReconciliation
	s.Message, s.State = fmt.Sprintf("agent %s registered without it", s.Agent), resources.Gone
	if !t.heard {
		s.State, s.Message = resources.Dropped, fmt.Sprintf("the launch never reached agent %s", s.Agent)
	}
	m.update(s)
}

func (m *Master) status(agent resources.AgentID, s resources.TaskStatus) error {
	if err := resources.CheckID(string(s.Task)); err != nil {
		return fmt.Errorf("status from agent %s: %w", agent, err)
	}
	t := m.tasks[s.Task]
	if t != nil && t.status.Agent != agent {
		return fmt.Errorf("status of task %s from agent %s: it is on agent %s", s.Task, agent, t.status.Agent)
	}
	if t == nil {
		t = &taskState{}
		m.tasks[s.Task] = t
	}
	s.Agent = agent
	if s.State.Terminal() != t.status.State.Terminal() {
		m.dirty = true
	}
	t.status, t.heard = s, true
	if m.removed[s.Framework] {
		m.acknowledge(t)
		return nil
	}
	m.update(s)
	return nil
}

// changed takes the agent's word for what it has, and adds what it cannot know yet: operations that were sent later.
func (m *Master) changed(id resources.AgentID, a *agentState, report resources.AgentReport) {
	a.pending = slices.DeleteFunc(a.pending, func(s sent) bool { return s.seq <= report.Seq })
	a.total = report.Info.Resources.Normal()
	for _, s := range a.pending {
		for _, op := range s.operations {
			if total, err := a.total.Perform(op); err == nil {
				a.total = total // where it fails the agent will say so as well
			}
		}
	}
	if !a.total.Contains(m.used(id).Add(m.offered(id))) {
		m.rescindAgent(id)
	}
	m.dirty = true
}

func (m *Master) agentDisconnected(now time.Time, id resources.AgentID) {
	a := m.agents[id]
	if a == nil || !a.connected {
		return
	}
	a.connected, a.lostAt, a.pending = false, now, nil
	m.rescindAgent(id)
}

// agentLost tells the owners of an agent's tasks that nobody knows how they are. They may come back.
func (m *Master) agentLost(now time.Time, id resources.AgentID, a *agentState) {
	a.lost = true
	for _, t := range m.sortedTasks() {
		if t.status.Agent != id || t.status.State.Terminal() {
			continue
		}
		t.status.State, t.status.At, t.status.UUID = resources.Unreachable, now, ""
		t.status.Reason = ReasonAgentRemoved
		t.status.Message = fmt.Sprintf("agent %s has not answered for %s; its tasks may run on", id, m.options.Unreachable)
		m.update(t.status)
	}
	m.dirty = true
}
