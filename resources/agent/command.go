package agent

import (
	"fmt"
	"time"

	"github.com/weir-project/weir/resources"
)

// Command is what the master asked. A command of a lower term than was ever seen comes from a server that was deposed, and is
// refused whole (C2).
func (a *Agent) Command(now time.Time, c resources.AgentCommand) []Effect {
	if c.Term < a.term {
		return []Effect{Reject{fmt.Errorf("refuse %s of a server of term %d: this agent has obeyed term %d", c.Type, c.Term, a.term)}}
	}
	var effects []Effect
	if c.Term > a.term {
		a.term = c.Term
		effects = append(effects, Save{})
	}
	switch c.Type {
	case resources.AgentRegistered:
		return append(effects, a.Tick(now)...)
	case resources.AgentApply:
		return append(effects, a.apply(now, c)...)
	case resources.AgentKill:
		return append(effects, a.kill(now, c.Task)...)
	case resources.AgentAck:
		return append(effects, a.acknowledge(c.Task, c.UUID)...)
	}
	return append(effects, Reject{fmt.Errorf("refuse command %q: this agent does not know it", c.Type)})
}

// apply takes the operations all or none. Whatever comes of it, the master hears what this agent has now.
func (a *Agent) apply(now time.Time, c resources.AgentCommand) []Effect {
	a.seq = c.Seq
	plan, err := a.check(c.Operations)
	var effects []Effect
	if err != nil {
		effects = a.refuse(now, c.Operations, err)
	} else {
		a.total = plan.total
		effects = append(effects, Save{})
		effects = append(effects, plan.volumes...)
		for _, info := range plan.launches {
			a.tasks[info.ID] = &task{info: info, status: a.blank(info)}
			effects = append(effects, Start{info})
		}
		a.forgetFiles(plan.launches)
	}
	info := a.Info()
	return append(effects, Report{resources.AgentReport{Type: resources.AgentChanged, Info: &info, Seq: c.Seq}})
}

// forgetFiles drops contents from memory as soon as the effects carry them.
func (a *Agent) forgetFiles(launched []resources.TaskInfo) {
	for _, info := range launched {
		a.tasks[info.ID].info.Files = nil
	}
}

type plan struct {
	total    resources.Resources
	volumes  []Effect
	launches []resources.TaskInfo
}

func (a *Agent) check(operations []resources.Operation) (plan, error) {
	p := plan{total: a.total}
	free := a.free()
	fresh := map[resources.TaskID]bool{}
	for _, op := range operations {
		if op.Type == resources.Launch {
			for _, info := range op.Tasks {
				if err := a.checkLaunch(info, fresh, free); err != nil {
					return plan{}, err
				}
				fresh[info.ID] = true
				free = free.Sub(info.Resources)
				p.launches = append(p.launches, info)
			}
			continue
		}
		var err error
		if free, err = free.Perform(op); err != nil {
			return plan{}, err
		}
		// The whole holds what is free, and also the volumes in use, whose ids must not be taken again.
		if p.total, err = p.total.Perform(op); err != nil {
			return plan{}, err
		}
		p.volumes = append(p.volumes, volumeEffects(op)...)
	}
	return p, nil
}

func volumeEffects(op resources.Operation) []Effect {
	var effects []Effect
	for _, x := range op.Resources {
		switch op.Type {
		case resources.Create:
			effects = append(effects, MakeVolume{x.Volume.ID})
		case resources.Destroy:
			effects = append(effects, RemoveVolume{x.Volume.ID})
		}
	}
	return effects
}

func (a *Agent) checkLaunch(info resources.TaskInfo, fresh map[resources.TaskID]bool, free resources.Resources) error {
	if err := resources.CheckTask(info); err != nil {
		return err
	}
	if a.knows(info.ID) || fresh[info.ID] {
		return fmt.Errorf("launch task %s: it was launched here before; a task id is used once", info.ID)
	}
	if !free.Contains(info.Resources) {
		return fmt.Errorf("launch task %s: it needs %s, free is %s", info.ID, info.Resources.Summary(), free.Summary())
	}
	return nil
}

func (a *Agent) knows(id resources.TaskID) bool {
	if _, ok := a.tasks[id]; ok {
		return true
	}
	for _, k := range a.kept {
		if k.ID == id {
			return true
		}
	}
	return false
}

// refuse gives each task of refused operations its end. A task id that is known keeps its own state: saying "dropped" of a
// running task would have it launched twice (I3).
func (a *Agent) refuse(now time.Time, operations []resources.Operation, cause error) []Effect {
	var effects []Effect
	for _, op := range operations {
		for _, info := range op.Tasks {
			if a.knows(info.ID) || resources.CheckID(string(info.ID)) != nil {
				continue
			}
			info.Files = nil
			t := &task{info: info, status: a.blank(info)}
			a.tasks[info.ID] = t
			effects = append(effects, a.step(now, t, Observation{Event: Refused, Reason: ReasonInvalid, Message: cause.Error()})...)
		}
	}
	return effects
}

func (a *Agent) kill(now time.Time, id resources.TaskID) []Effect {
	t, ok := a.tasks[id]
	if !ok || t.status.State.Terminal() {
		return nil // its end was reported, or will be repeated until somebody acknowledges it
	}
	if t.status.State == resources.Killing {
		return nil
	}
	effects := a.step(now, t, Observation{Event: KillAsked})
	t.killAt = a.hardKill(now, t)
	return append(append([]Effect{Save{}}, effects...), Stop{Task: id})
}

// hardKill is when SIGKILL is this agent's business.
func (a *Agent) hardKill(now time.Time, t *task) time.Time {
	grace := t.info.KillGrace
	if grace <= 0 {
		grace = defaultGrace
	}
	if !t.shimDead {
		grace += backstop
	}
	return now.Add(grace)
}

// acknowledge ends the repetition of a status; with its end acknowledged a task is over.
func (a *Agent) acknowledge(id resources.TaskID, uuid string) []Effect {
	t, ok := a.tasks[id]
	if !ok || uuid == "" || t.status.UUID != uuid {
		return nil
	}
	t.status.UUID, t.retryAt = "", time.Time{}
	if !t.status.State.Terminal() {
		return nil
	}
	delete(a.tasks, id)
	a.kept = append(a.kept, KeptTask{ID: id, Name: t.info.Name})
	return append([]Effect{Save{}}, a.trim(t.info.Name)...)
}

// trim removes the oldest sandboxes beyond what is kept of one name, and of all.
func (a *Agent) trim(name string) []Effect {
	var effects []Effect
	same := 0
	for _, k := range a.kept {
		if k.Name == name {
			same++
		}
	}
	excess := len(a.kept) - maxKept
	kept := a.kept[:0]
	for _, k := range a.kept {
		tooMany := k.Name == name && same > a.config.Keep
		if !tooMany && excess <= 0 {
			kept = append(kept, k)
			continue
		}
		if k.Name == name {
			same--
		}
		excess--
		effects = append(effects, RemoveSandbox{k.ID})
	}
	a.kept = kept
	return effects
}
