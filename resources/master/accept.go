package master

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/resources"
)

// maxAccept bounds what one ACCEPT carries, in bytes of file contents, so that it fits into one frame to the agent.
const maxAccept = 2 << 20

// accept checks everything before it changes anything (I7).
func (m *Master) accept(now time.Time, f *frameworkState, c resources.Call) error {
	offer, err := m.pool(c)
	if err == nil && len(c.Operations) == 0 {
		m.decline(now, c)
		return nil
	}
	var p accepted
	if err == nil {
		p, err = m.check(f, offer, c.Operations)
	}
	if err != nil {
		return fault.Invalid("E-ACCEPT", "accept", fmt.Sprintf("offers %v of framework %s", c.Offers, c.Framework), fault.Cause(err))
	}
	for _, id := range c.Offers {
		delete(m.offers, id)
	}
	a := m.agents[offer.Agent]
	a.total = p.total
	for _, t := range p.launches {
		m.tasks[t.ID] = &taskState{status: resources.TaskStatus{
			Task: t.ID, Agent: t.Agent, Framework: t.Framework, State: resources.Staging, At: now, Labels: t.Labels, Name: t.Name, Resource: t.Resources,
		}}
	}
	a.seq++
	a.pending = append(a.pending, sent{a.seq, changesOnly(p.operations)})
	m.toAgent(offer.Agent, resources.AgentCommand{Type: resources.AgentApply, Operations: p.operations, Seq: a.seq})
	m.filter(now, offer, p.rest, c.Filter.RefuseFor)
	m.dirty = true
	return nil
}

// changesOnly drops launches, and with them the contents of files, from what is remembered.
func changesOnly(operations []resources.Operation) []resources.Operation {
	var out []resources.Operation
	for _, op := range operations {
		if op.Type != resources.Launch {
			out = append(out, op)
		}
	}
	return out
}

// pool is the named offers as one.
func (m *Master) pool(c resources.Call) (resources.Offer, error) {
	var sum resources.Offer
	seen := map[resources.OfferID]bool{}
	for _, id := range c.Offers {
		o := m.offers[id]
		switch {
		case o == nil || o.offer.Framework != c.Framework:
			return sum, fmt.Errorf("offer %s is not this framework's any more: it was answered, rescinded, or never made; wait for the next one", id)
		case seen[id]:
			return sum, fmt.Errorf("offer %s is named twice", id)
		case sum.Agent != "" && sum.Agent != o.offer.Agent:
			return sum, fmt.Errorf("offers of agents %s and %s cannot be accepted together", sum.Agent, o.offer.Agent)
		}
		seen[id] = true
		total := sum.Resources.Add(o.offer.Resources)
		sum = o.offer
		sum.Resources = total
	}
	if len(c.Offers) == 0 {
		return sum, errors.New("it names no offer")
	}
	return sum, nil
}

// accepted is what a valid ACCEPT comes to.
type accepted struct {
	operations []resources.Operation // with agent and framework filled in
	launches   []resources.TaskInfo
	total      resources.Resources // of the agent, afterwards
	rest       resources.Resources // of the offer, unused
}

func (m *Master) check(f *frameworkState, offer resources.Offer, operations []resources.Operation) (accepted, error) {
	p := accepted{total: m.agents[offer.Agent].total, rest: offer.Resources}
	size := 0
	for i, op := range operations {
		var err error
		if op.Type == resources.Launch {
			op.Tasks, err = m.checkLaunch(f, offer, &p, op.Tasks, &size)
		} else {
			err = m.checkChange(f, offer, &p, op)
		}
		if err != nil {
			return p, fmt.Errorf("operation %d of %d: %w", i+1, len(operations), err)
		}
		p.operations = append(p.operations, op)
	}
	return p, nil
}

func (m *Master) checkChange(f *frameworkState, offer resources.Offer, p *accepted, op resources.Operation) error {
	for _, x := range op.Resources {
		if x.Reservation != nil && x.Reservation.Role != f.info.Role {
			return fmt.Errorf("%s %s: a framework of role %s reserves for its own role only", op.Type, x, f.info.Role)
		}
		if op.Type == resources.Create && x.Volume != nil {
			if other, held := m.volumeHolder(x.Volume.ID, offer.Agent); held {
				return fmt.Errorf("CREATE %s: agent %s holds a volume of that id (I3)", x, other)
			}
		}
	}
	var err error
	if p.rest, err = p.rest.Perform(op); err != nil {
		return fmt.Errorf("%w in the offer", err)
	}
	p.total, err = p.total.Perform(op)
	return err
}

func (m *Master) checkLaunch(f *frameworkState, offer resources.Offer, p *accepted, tasks []resources.TaskInfo, size *int) ([]resources.TaskInfo, error) {
	var out []resources.TaskInfo
	for _, t := range tasks {
		if t.Agent != "" && t.Agent != offer.Agent || t.Framework != "" && t.Framework != f.info.ID {
			return nil, fmt.Errorf("launch task %s: it names agent %s and framework %s, the offer is of agent %s to framework %s", t.ID, t.Agent, t.Framework, offer.Agent, f.info.ID)
		}
		t.Agent, t.Framework = offer.Agent, f.info.ID
		t.Resources = t.Resources.Normal()
		if err := m.checkTask(t, p); err != nil {
			return nil, fmt.Errorf("launch %w", err)
		}
		for _, file := range t.Files {
			*size += len(file.Content)
		}
		if *size > maxAccept {
			return nil, fmt.Errorf("launch task %s: the files of this call have %d bytes, more than %d; launch fewer tasks at once", t.ID, *size, maxAccept)
		}
		p.rest = p.rest.Sub(t.Resources)
		p.launches = append(p.launches, t)
		out = append(out, t)
	}
	return out, nil
}

func (m *Master) checkTask(t resources.TaskInfo, p *accepted) error {
	if err := resources.CheckTask(t); err != nil {
		return err
	}
	if _, known := m.tasks[t.ID]; known {
		return fmt.Errorf("task %s: a task of this id exists; an id is used once (I3)", t.ID)
	}
	for _, other := range p.launches {
		if other.ID == t.ID {
			return fmt.Errorf("task %s: it is launched twice in one call", t.ID)
		}
	}
	if !p.rest.Contains(t.Resources) {
		return fmt.Errorf("task %s: it needs %s, the offer has %s", t.ID, t.Resources.Summary(), p.rest.Summary())
	}
	for _, v := range t.Resources.Volumes() {
		if whole, ok := p.rest.Volume(v.Volume.ID); !ok || whole.Scalar != v.Scalar {
			return fmt.Errorf("task %s: it takes %s of volume %s, which has %s; a volume is used whole", t.ID, v.Scalar, v.Volume.ID, whole.Scalar)
		}
	}
	return nil
}
