package master

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/allocator"
)

func (m *Master) subscribe(info resources.FrameworkInfo) error {
	if info.ID == "" {
		info.ID = resources.FrameworkID(m.options.NewID("framework"))
	}
	if err := errors.Join(resources.CheckID(string(info.ID)), checkRole(info.Role)); err != nil {
		return fault.Invalid("E-FRAMEWORK", "subscribe framework", string(info.ID), fault.Cause(err))
	}
	if known := m.frameworks[info.ID]; known != nil && known.info.Role != info.Role {
		return fault.Invalid("E-FRAMEWORK", "subscribe framework", string(info.ID),
			fault.Causef("its role was %s, now it is %s: reservations belong to a role", known.info.Role, info.Role),
			fault.Hint("use a new framework id, or the old role"))
	}
	// A framework that fails over begins anew: what was offered to its former stream, nobody will answer.
	m.dropOffers(info.ID)
	m.dropFilters(info.ID)
	m.frameworks[info.ID] = &frameworkState{info: info, connected: true}
	delete(m.removed, info.ID)
	m.toFramework(info.ID, resources.Event{Type: resources.EventSubscribed})
	m.dirty = true
	return nil
}

// checkRole: roles are hierarchical, with '/' between their parts, as Mesos's are.
func checkRole(role string) error {
	for part := range strings.SplitSeq(role, "/") {
		if err := resources.CheckID(part); err != nil {
			return fmt.Errorf("role %q: %w", role, err)
		}
	}
	return nil
}

func (m *Master) unsubscribe(id resources.FrameworkID) {
	f := m.frameworks[id]
	if f == nil || !f.connected {
		return
	}
	f.connected = false
	m.dropOffers(id)
	m.dropFilters(id)
	m.dirty = true
}

// call is every call but SUBSCRIBE.
func (m *Master) call(now time.Time, c resources.Call) error {
	f := m.frameworks[c.Framework]
	if f == nil || !f.connected {
		return fault.New("E-FRAMEWORK", string(c.Type), "of framework "+string(c.Framework),
			fault.Causef("it is not subscribed"), fault.Hint("subscribe first"))
	}
	switch c.Type {
	case resources.CallAccept:
		return m.accept(now, f, c)
	case resources.CallDecline:
		m.decline(now, c)
	case resources.CallSuppress:
		f.suppressed = true
	case resources.CallRevive:
		f.suppressed = false
		m.dropFilters(c.Framework)
		m.dirty = true
	case resources.CallKill:
		return m.kill(now, c)
	case resources.CallAcknowledge:
		return m.acknowledged(c)
	case resources.CallReconcile:
		m.reconcile(now, c)
	case resources.CallTeardown:
		m.teardown(c.Framework)
	default:
		return fault.Invalid("E-CALL", "call", string(c.Type), fault.Causef("the master does not know this call"))
	}
	return nil
}

// decline gives offers back. Ids of offers that are gone already are no mistake: the rescind may be on its way.
func (m *Master) decline(now time.Time, c resources.Call) {
	for _, id := range c.Offers {
		o := m.offers[id]
		if o == nil || o.offer.Framework != c.Framework {
			continue
		}
		delete(m.offers, id)
		wait := c.Filter.RefuseFor
		if wait == 0 {
			wait = m.options.RefuseFor
		}
		m.filter(now, o.offer, o.offer.Resources, wait)
		m.dirty = true
	}
}

// filter keeps resources from being offered again at once; a duration that is not positive makes none.
func (m *Master) filter(now time.Time, o resources.Offer, refused resources.Resources, wait time.Duration) {
	const longest = 365 * 24 * time.Hour
	if wait <= 0 || refused.Empty() {
		return
	}
	// One filter a framework and agent: the latest answer is the one that counts.
	m.filters = slices.DeleteFunc(m.filters, func(f allocator.Filter) bool {
		return f.Framework == o.Framework && f.Agent == o.Agent && refused.Contains(f.Resources)
	})
	m.filters = append(m.filters, allocator.Filter{Framework: o.Framework, Agent: o.Agent, Resources: refused, Until: now.Add(min(wait, longest))})
}

func (m *Master) dropFilters(id resources.FrameworkID) {
	m.filters = slices.DeleteFunc(m.filters, func(f allocator.Filter) bool { return f.Framework == id })
}

func (m *Master) kill(now time.Time, c resources.Call) error {
	t := m.tasks[c.Task]
	if t == nil {
		m.explain(now, c.Framework, c.Task)
		return nil
	}
	if t.status.Framework != c.Framework {
		return fault.Denied("E-TASK", "kill task", string(c.Task), fault.Causef("it belongs to framework %s, not to %s", t.status.Framework, c.Framework))
	}
	if t.status.State.Terminal() {
		m.update(t.status)
		return nil
	}
	t.kill = true // sent again if the agent registers before it has ended
	if a := m.agents[t.status.Agent]; a != nil && a.connected {
		m.toAgent(t.status.Agent, resources.AgentCommand{Type: resources.AgentKill, Task: c.Task})
	}
	return nil
}

// acknowledged forwards an acknowledgement. One of a status that is not the latest is late, and means nothing any more.
func (m *Master) acknowledged(c resources.Call) error {
	t := m.tasks[c.Task]
	if t == nil || c.UUID == "" || t.status.UUID != c.UUID {
		return nil
	}
	if t.status.Framework != c.Framework {
		return fault.Denied("E-TASK", "acknowledge a status of task", string(c.Task), fault.Causef("it belongs to framework %s, not to %s", t.status.Framework, c.Framework))
	}
	m.acknowledge(t)
	return nil
}

func (m *Master) acknowledge(t *taskState) {
	if t.status.UUID != "" {
		m.toAgent(t.status.Agent, resources.AgentCommand{Type: resources.AgentAck, Task: t.status.Task, UUID: t.status.UUID})
		t.status.UUID = ""
	}
	if t.status.State.Terminal() {
		delete(m.tasks, t.status.Task)
		m.dirty = true
	}
}

// reconcile answers with what is known, without UUIDs: all of a framework's tasks, or those it asks for.
func (m *Master) reconcile(now time.Time, c resources.Call) {
	if len(c.Tasks) > 0 {
		for _, id := range c.Tasks {
			m.explain(now, c.Framework, id)
		}
		return
	}
	for _, t := range m.sortedTasks() {
		if t.status.Framework == c.Framework {
			m.answer(t.status)
		}
	}
}

// explain answers about one task. While agents may still come after a restart, nothing is said of a task that nobody knows: the
// framework asks again.
func (m *Master) explain(now time.Time, framework resources.FrameworkID, id resources.TaskID) {
	if t := m.tasks[id]; t != nil && t.status.Framework == framework {
		m.answer(t.status)
		return
	}
	if m.recovering(now) {
		return
	}
	m.answer(resources.TaskStatus{Task: id, Framework: framework, State: resources.Gone, At: now, Message: "no agent knows this task"})
}

func (m *Master) answer(s resources.TaskStatus) {
	s.UUID = ""
	if s.Reason == "" || !s.State.Terminal() {
		s.Reason = ReasonReconciliation
	}
	m.update(s)
}

// teardown removes a framework and ends its tasks. Reservations and volumes stay: they hold data, and belong to the role.
func (m *Master) teardown(id resources.FrameworkID) {
	m.dropOffers(id)
	m.dropFilters(id)
	delete(m.frameworks, id)
	m.removed[id] = true
	for _, t := range m.sortedTasks() {
		if t.status.Framework != id {
			continue
		}
		if t.status.State.Terminal() {
			m.acknowledge(t)
			continue
		}
		t.kill = true
		if a := m.agents[t.status.Agent]; a != nil && a.connected {
			m.toAgent(t.status.Agent, resources.AgentCommand{Type: resources.AgentKill, Task: t.status.Task})
		}
	}
	m.dirty = true
}

// dropOffers deletes a framework's offers without a word: nobody is there to hear it.
func (m *Master) dropOffers(id resources.FrameworkID) {
	maps.DeleteFunc(m.offers, func(_ resources.OfferID, o *offerState) bool { return o.offer.Framework == id })
}
