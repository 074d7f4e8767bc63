package master

import (
	"maps"
	"slices"
	"time"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/allocator"
)

// state is what the allocator decides on.
func (m *Master) state(now time.Time) allocator.State {
	s := allocator.State{Now: now, Filters: m.filters, Weights: m.options.Weights, MinAllocatable: m.options.MinAllocatable}
	for _, id := range slices.Sorted(maps.Keys(m.agents)) {
		if a := m.agents[id]; a.connected {
			s.Agents = append(s.Agents, allocator.Agent{ID: id, Total: a.total, Available: a.total.Sub(m.used(id).Add(m.offered(id)))})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.frameworks)) {
		if f := m.frameworks[id]; f.connected {
			s.Frameworks = append(s.Frameworks, allocator.Framework{ID: id, Role: f.info.Role, Suppressed: f.suppressed, Allocated: m.allocated(id)})
		}
	}
	return s
}

func (m *Master) allocated(id resources.FrameworkID) resources.Resources {
	var all resources.Resources
	for _, t := range m.tasks {
		if t.status.Framework == id && !t.status.State.Terminal() {
			all = append(all, t.status.Resource...)
		}
	}
	for _, o := range m.offers {
		if o.offer.Framework == id {
			all = append(all, o.offer.Resources...)
		}
	}
	return all.Normal()
}

// allocate makes the offers that are due.
func (m *Master) allocate(now time.Time) {
	if !m.dirty {
		return
	}
	m.dirty = false
	byFramework := map[resources.FrameworkID][]resources.Offer{}
	for _, g := range allocator.Allocate(m.state(now)).Grants {
		a := m.agents[g.Agent]
		o := resources.Offer{
			ID: resources.OfferID(m.options.NewID("offer")), Framework: g.Framework, Agent: g.Agent,
			Hostname: a.info.Hostname, Attributes: a.info.Attributes, Resources: g.Resources,
		}
		m.offers[o.ID] = &offerState{offer: o, deadline: now.Add(m.options.OfferTimeout)}
		m.largest[g.Role] = larger(m.largest[g.Role], g.Resources)
		byFramework[g.Framework] = append(byFramework[g.Framework], o)
	}
	for _, id := range slices.Sorted(maps.Keys(byFramework)) {
		m.toFramework(id, resources.Event{Type: resources.EventOffers, Offers: byFramework[id]})
	}
}

// larger is the greater amount of every scalar.
func larger(seen, offer resources.Resources) resources.Resources {
	out := resources.Resources{}
	for _, name := range append(seen.Names(), offer.Names()...) {
		if amount := max(seen.Amount(name), offer.Amount(name)); out.Amount(name) == 0 && amount > 0 {
			out = append(out, resources.Scalar(name, amount))
		}
	}
	return out.Normal()
}

// Largest is, scalar by scalar, the most that one offer to the role ever held; empty when it never had one. It is what a pod that
// does not fit is compared with.
func (m *Master) Largest(role string) resources.Resources { return m.largest[role] }

// Why is the reason, agent by agent, for which the frameworks of a role (all roles when it is empty) have no offer now. An agent
// that is offered to them right now has no reason.
func (m *Master) Why(now time.Time, role string) []allocator.Reason {
	reasons := allocator.Allocate(m.state(now)).Reasons
	for i := range reasons {
		for _, id := range slices.Sorted(maps.Keys(m.frameworks)) {
			if m.holdsOffer(id, reasons[i].Agent) {
				reasons[i].Held = append(reasons[i].Held, id)
			}
		}
	}
	return slices.DeleteFunc(reasons, func(r allocator.Reason) bool {
		return role != "" && r.Role != role || m.holdsOffer(r.Framework, r.Agent)
	})
}

func (m *Master) holdsOffer(framework resources.FrameworkID, agent resources.AgentID) bool {
	for _, o := range m.offers {
		if o.offer.Framework == framework && o.offer.Agent == agent {
			return true
		}
	}
	return false
}

func (m *Master) rescind(id resources.OfferID) {
	o := m.offers[id]
	delete(m.offers, id)
	m.toFramework(o.offer.Framework, resources.Event{Type: resources.EventRescind, Offer: id})
	m.dirty = true
}

func (m *Master) rescindAgent(agent resources.AgentID) {
	for _, id := range slices.Sorted(maps.Keys(m.offers)) {
		if m.offers[id].offer.Agent == agent {
			m.rescind(id)
		}
	}
}
