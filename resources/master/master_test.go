package master_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/master"
)

// world plays a master against an agent and two frameworks that do as they please, and checks after every step what must always
// hold.
type world struct {
	t      *rapid.T
	m      *master.Master
	now    time.Time
	serial int
	total  resources.Resources // what the agent has
	up     bool
	tasks  map[resources.TaskID]resources.TaskStatus // as the agent knows them
	sent   []resources.AgentCommand                  // on their way to the agent
	offers map[resources.OfferID]resources.Offer     // as the frameworks know them
	ran    map[resources.TaskID]int
}

func TestWhateverHappensResourcesAreNeitherLostNorGivenTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, now: epoch, total: resources.Resources{resources.Scalar("cpus", 4000), resources.Scalar("disk", 8000)}.Normal(),
			tasks: map[resources.TaskID]resources.TaskStatus{}, offers: map[resources.OfferID]resources.Offer{}, ran: map[resources.TaskID]int{}}
		w.m = master.New(w.now, master.Options{Term: 1, NewID: func(kind string) string { w.serial++; return fmt.Sprintf("%s-%d", kind, w.serial) }})
		w.step(master.Subscribed{Info: resources.FrameworkInfo{ID: "f0", Role: "r0"}})
		w.step(master.Subscribed{Info: resources.FrameworkInfo{ID: "f1", Role: "r1"}})
		t.Repeat(map[string]func(*rapid.T){
			"connect":    func(*rapid.T) { w.connect() },
			"disconnect": func(*rapid.T) { w.disconnect() },
			"deliver":    func(*rapid.T) { w.deliver() },
			"accept":     func(t *rapid.T) { w.accept(t) },
			"decline":    func(t *rapid.T) { w.decline(t) },
			"end":        func(t *rapid.T) { w.end(t) },
			"resubscribe": func(t *rapid.T) {
				id := rapid.IntRange(0, 1).Draw(t, "framework")
				w.forget(resources.FrameworkID(fmt.Sprintf("f%d", id)))
				w.step(master.Subscribed{Info: resources.FrameworkInfo{ID: resources.FrameworkID(fmt.Sprintf("f%d", id)), Role: fmt.Sprintf("r%d", id)}})
			},
			"time": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 12_000).Draw(t, "milliseconds")) * time.Millisecond)
				w.take(w.m.Tick(w.now))
			},
			"": func(t *rapid.T) { w.check(t) },
		})
	})
}

func (w *world) step(e master.Event) (refused error) { return w.take(w.m.Step(w.now, e)) }

func (w *world) take(effects []master.Effect) (refused error) {
	for _, e := range effects {
		switch e := e.(type) {
		case master.Refuse:
			refused = e.Err
		case master.SendAgent:
			if !w.up {
				w.t.Fatalf("%s is sent to an agent that is away", e.Command.Type)
			}
			w.sent = append(w.sent, e.Command)
		case master.SendFramework:
			for _, o := range e.Event.Offers {
				w.offers[o.ID] = o
			}
			delete(w.offers, e.Event.Offer)
		}
	}
	return refused
}

func (w *world) forget(id resources.FrameworkID) {
	maps.DeleteFunc(w.offers, func(_ resources.OfferID, o resources.Offer) bool { return o.Framework == id })
}

func (w *world) connect() {
	if w.up {
		return
	}
	w.up, w.sent = true, nil
	r := resources.AgentReport{Type: resources.AgentRegister, Info: &resources.AgentInfo{ID: "a", Resources: w.total}}
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		r.Tasks = append(r.Tasks, w.tasks[id])
	}
	if err := w.step(master.AgentReported{Agent: "a", Report: r}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) disconnect() {
	if w.up {
		w.up = false
		w.step(master.AgentDisconnected{Agent: "a"})
	}
}

// deliver has the agent take one command.
func (w *world) deliver() {
	if !w.up || len(w.sent) == 0 {
		return
	}
	c := w.sent[0]
	w.sent = w.sent[1:]
	switch c.Type {
	case resources.AgentAck:
		if t, ok := w.tasks[c.Task]; ok && t.UUID == c.UUID {
			delete(w.tasks, c.Task)
		}
		return
	case resources.AgentApply:
	default:
		return
	}
	for _, op := range c.Operations {
		for _, t := range op.Tasks {
			w.ran[t.ID]++
			w.tasks[t.ID] = resources.TaskStatus{Task: t.ID, Framework: t.Framework, State: resources.Running, Resource: t.Resources}
		}
		if op.Type != resources.Launch {
			total, err := w.total.Perform(op)
			if err != nil {
				w.t.Fatalf("the agent cannot do what the master has accepted: %v", err)
			}
			w.total = total
		}
	}
	w.step(master.AgentReported{Agent: "a", Report: resources.AgentReport{Type: resources.AgentChanged, Seq: c.Seq, Info: &resources.AgentInfo{ID: "a", Resources: w.total}}})
}

func (w *world) pick(t *rapid.T) (resources.Offer, bool) {
	if len(w.offers) == 0 {
		return resources.Offer{}, false
	}
	return w.offers[rapid.SampledFrom(slices.Sorted(maps.Keys(w.offers))).Draw(t, "offer")], true
}

func (w *world) accept(t *rapid.T) {
	o, ok := w.pick(t)
	if !ok {
		return
	}
	role := "r" + string(o.Framework[1:])
	amount := resources.Resources{resources.Scalar(rapid.SampledFrom([]string{"cpus", "disk"}).Draw(t, "name"), resources.Milli(rapid.IntRange(1, 3000).Draw(t, "amount")))}
	w.serial++
	task := resources.TaskInfo{ID: resources.TaskID(fmt.Sprintf("t%d", w.serial)), Name: "t", Resources: amount, Command: resources.Command{Argv: []string{"true"}}}
	reserve := resources.Operation{Type: resources.Reserve, Resources: amount.ReservedFor(role, nil)}
	ops := rapid.SampledFrom([][]resources.Operation{
		{{Type: resources.Launch, Tasks: []resources.TaskInfo{task}}}, {reserve}, {{Type: resources.Unreserve, Resources: reserve.Resources}},
	}).Draw(t, "operations")
	if w.step(master.Called{Call: resources.Call{Framework: o.Framework, Type: resources.CallAccept, Offers: []resources.OfferID{o.ID}, Operations: ops}}) == nil {
		delete(w.offers, o.ID)
	}
}

func (w *world) decline(t *rapid.T) {
	if o, ok := w.pick(t); ok {
		delete(w.offers, o.ID)
		w.step(master.Called{Call: resources.Call{Framework: o.Framework, Type: resources.CallDecline, Offers: []resources.OfferID{o.ID}}})
	}
}

// end has a task end on the agent, and perhaps its framework acknowledge it.
func (w *world) end(t *rapid.T) {
	if len(w.tasks) == 0 {
		return
	}
	s := w.tasks[rapid.SampledFrom(slices.Sorted(maps.Keys(w.tasks))).Draw(t, "task")]
	if s.State.Terminal() {
		return
	}
	s.State, s.UUID = resources.Finished, "u-"+string(s.Task)
	w.tasks[s.Task] = s
	if !w.up {
		return
	}
	if err := w.step(master.AgentReported{Agent: "a", Report: resources.AgentReport{Type: resources.AgentStatus, Status: &s}}); err != nil {
		w.t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "acknowledge") {
		w.step(master.Called{Call: resources.Call{Framework: s.Framework, Type: resources.CallAcknowledge, Task: s.Task, UUID: s.UUID}})
	}
}

func (w *world) check(t *rapid.T) {
	snap := w.m.Snapshot(w.now)
	for _, a := range snap.Agents {
		if held := a.Used.Add(a.Offered); a.Connected && !a.Info.Resources.Contains(held) {
			t.Fatalf("agent has %s, used and offered are %s", a.Info.Resources, held)
		}
		if !a.Connected && !a.Offered.Empty() {
			t.Fatalf("%s of an agent that is away is offered", a.Offered)
		}
		if a.Connected && !a.Info.Resources.Plain().Equal(w.total.Plain()) {
			t.Fatalf("the master counts %s, the agent has %s", a.Info.Resources, w.total)
		}
	}
	known := map[resources.OfferID]bool{}
	for _, o := range snap.Offers {
		known[o.ID] = true
	}
	for id := range w.offers {
		if !known[id] {
			t.Fatalf("a framework holds offer %s, which the master has forgotten without a word", id)
		}
	}
	for id, n := range w.ran {
		if n > 1 {
			t.Fatalf("task %s was launched %d times (I3)", id, n)
		}
	}
}
