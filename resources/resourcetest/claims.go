package resourcetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/resources"
)

func statesAndExit(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "exits")
	f.Launch(Task("good.1"), Task("bad.1"))
	for _, id := range []resources.TaskID{"good.1", "bad.1"} {
		f.started(id)
	}
	rig.End(t, "good.1", 0)
	rig.End(t, "bad.1", 7)
	if s := f.Wait("good.1", resources.Finished); s.ExitCode != 0 {
		t.Errorf("exit code %d of a task that finished", s.ExitCode)
	}
	if s := f.Wait("bad.1", resources.Failed); s.ExitCode != 7 || !strings.Contains(s.Message, "exit code 7") || s.Reason == "" {
		t.Errorf("exit code %d, reason %q, message %q; want 7 in code and message", s.ExitCode, s.Reason, s.Message)
	}
	f.inOrder("good.1")
	f.inOrder("bad.1")
}

// rank is how far each state is: no status of a lower one may follow.
var rank = map[resources.TaskState]int{resources.Staging: 0, resources.Starting: 1, resources.Running: 2, resources.Killing: 3}

// inOrder checks a task's statuses: none goes back, and nothing follows an end but the same end again.
func (f *Framework) inOrder(id resources.TaskID) {
	f.t.Helper()
	seen := f.seen[id]
	last := -1
	for i, s := range seen {
		r, living := rank[s]
		if !living {
			r = 4
			if i > 0 && seen[i-1].Terminal() && seen[i-1] != s {
				f.t.Errorf("states of %s: %v; an end follows another", id, seen)
			}
		}
		if r < last {
			f.t.Errorf("states of %s: %v; they go back", id, seen)
		}
		last = r
	}
	if !slices.Contains(seen, resources.Running) {
		f.t.Errorf("states of %s: %v; RUNNING is missing", id, seen)
	}
}

func killed(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "kills")
	f.Launch(Task("kill.1"), Task("stay.1"))
	f.started("kill.1")
	f.started("stay.1")
	for range 2 {
		f.Call(resources.Call{Type: resources.CallKill, Task: "kill.1"})
	}
	f.Wait("kill.1", resources.Killed)
	if !slices.Contains(f.seen["kill.1"], resources.Killing) {
		t.Errorf("states of kill.1: %v; KILLING is missing", f.seen["kill.1"])
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "kill.1"}) // of a task that has ended: no effect
	f.Call(resources.Call{Type: resources.CallReconcile})
	if s := f.Wait("stay.1", resources.Running); s.State != resources.Running {
		t.Errorf("its neighbour is %s", s.State)
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "stay.1"})
	f.Wait("stay.1", resources.Killed)
	f.inOrder("kill.1")
	f.inOrder("stay.1")
}

func repeated(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "deafs")
	f.Launch(Task("repeat.1"))
	f.started("repeat.1")
	f.deaf = true
	rig.End(t, "repeat.1", 3)
	uuid := f.Wait("repeat.1", resources.Failed).UUID
	if uuid == "" {
		t.Fatal("the end of a task has no UUID to acknowledge")
	}
	f.until("the same status again", func() bool { return f.uuids[uuid] > 1 })
	// An agent that comes back says it again at once.
	before := f.uuids[uuid]
	RestartAgent(t, rig)
	f.deaf = false
	f.until("the end again, after a restart of the agent", func() bool { return f.uuids[uuid] > before || f.last["repeat.1"].UUID != uuid })
	if s := f.last["repeat.1"]; s.State != resources.Failed || s.ExitCode != 3 {
		t.Errorf("after the restart it is %s with exit code %d, it had failed with 3", s.State, s.ExitCode)
	}
	// Acknowledged, it comes no more: two rounds of repeats pass without it.
	f.LaunchSoon(Task("repeat.2"))
	f.started("repeat.2")
	f.deaf = true
	rig.End(t, "repeat.2", 0)
	other := f.Wait("repeat.2", resources.Finished).UUID
	settled := f.total("repeat.1")
	f.until("two repeats of another status", func() bool { return f.uuids[other] > 2 })
	if now := f.total("repeat.1"); now != settled {
		t.Errorf("the acknowledged end came %d more times", now-settled)
	}
}

func (f *Framework) total(id resources.TaskID) int { return len(f.seen[id]) }

func private(t testing.TB, rig Rig) {
	const secret = "hunter2-9f8e7d" //nolint:gosec // of a test
	f := NewFramework(t, rig, "hides")
	task := Task("private.1")
	task.Files = []resources.File{{Path: "etc/secret", Content: []byte(secret)}, {Path: "etc/shown", Content: []byte("plain"), Mode: 0o640}}
	f.Launch(task)
	f.started("private.1")
	for name, want := range map[string]struct {
		content string
		mode    uint32
	}{"etc/secret": {secret, 0o600}, "etc/shown": {"plain", 0o640}} {
		if content, mode := rig.File(t, "private.1", name); content != want.content || mode != want.mode {
			t.Errorf("%s is %q with mode %#o, want %q with %#o", name, content, mode, want.content, want.mode)
		}
	}
	exposed := rig.Exposed(t, "private.1")
	if strings.Contains(exposed, secret) {
		t.Errorf("the secret stands in what others may read: %s", exposed)
	}
	if !strings.Contains(exposed, "echo ready") {
		t.Errorf("the rig looks in the wrong place: the command is not in %q", exposed)
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "private.1"})
	f.Wait("private.1", resources.Killed)
}

func adopted(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "adopts")
	f.Launch(Task("adopted.1"), Task("adopted.2"))
	f.started("adopted.1")
	f.started("adopted.2")
	RestartAgent(t, rig)
	f.Offer() // it has registered again
	f.Call(resources.Call{Type: resources.CallReconcile})
	f.started("adopted.1")
	rig.End(t, "adopted.1", 5)
	if s := f.Wait("adopted.1", resources.Failed); s.ExitCode != 5 {
		t.Errorf("exit code %d of an adopted task, want 5", s.ExitCode)
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "adopted.2"})
	f.Wait("adopted.2", resources.Killed)
	for _, id := range []resources.TaskID{"adopted.1", "adopted.2"} {
		f.launches(id, 1)
	}
}

// started waits until a task runs and has come to its first line.
func (f *Framework) started(id resources.TaskID) {
	f.t.Helper()
	f.Wait(id, resources.Running)
	for deadline := time.Now().Add(patienceOf(f.t)); f.rig.Launches(f.t, id) == 0; time.Sleep(5 * time.Millisecond) { // a bounded poll
		if time.Now().After(deadline) {
			f.t.Fatalf("task %s is RUNNING and has not begun within %s", id, patienceOf(f.t))
		}
	}
}

func (f *Framework) launches(id resources.TaskID, want int) {
	f.t.Helper()
	if got := f.rig.Launches(f.t, id); got != want {
		f.t.Errorf("task %s was begun %d times, want %d (I3)", id, got, want)
	}
}

func endedAway(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "aways")
	f.Launch(Task("away.1"))
	f.started("away.1")
	rig.StopAgent(t)
	rig.End(t, "away.1", 9)
	rig.StartAgent(t)
	if s := f.Wait("away.1", resources.Failed); s.ExitCode != 9 {
		t.Errorf("exit code %d, want the 9 with which it ended", s.ExitCode)
	}
	f.launches("away.1", 1)
}

// killedAway asks for a kill that the agent hears of only when it is back.
func killedAway(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "late")
	f.Launch(Task("late.1"))
	f.started("late.1")
	rig.StopAgent(t)
	f.Call(resources.Call{Type: resources.CallKill, Task: "late.1"})
	rig.StartAgent(t)
	f.Wait("late.1", resources.Killed)
	f.launches("late.1", 1)
}

func handedBack(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "returns")
	task := Task("returned.1")
	task.Labels = map[string]string{"pod": "returns-0"}
	f.Launch(task)
	f.started("returned.1")
	rig.RestartMaster(t)
	f.last = map[resources.TaskID]resources.TaskStatus{}
	f.Subscribe()
	f.Offer() // the agent has registered
	f.Call(resources.Call{Type: resources.CallReconcile})
	s := f.Wait("returned.1", resources.Running)
	if s.Labels["pod"] != "returns-0" || s.Name != "task" || !s.Resource.Equal(task.Resources) {
		t.Errorf("handed back as %+v, want its labels, name and resources", s)
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "returned.1"})
	f.Wait("returned.1", resources.Killed)
	f.launches("returned.1", 1)
}

func once(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "onces")
	f.Launch(Task("once.1"))
	f.started("once.1")
	f.Call(resources.Call{Type: resources.CallKill, Task: "once.1"})
	f.Wait("once.1", resources.Killed)
	f.LaunchSoon(Task("once.0"))
	f.started("once.0") // so the agent has heard that the end of once.1 is known
	// The master forgets, the agent begins anew from what it left: the id stays used.
	rig.StopAgent(t)
	rig.RestartMaster(t)
	rig.StartAgent(t)
	f.Subscribe()
	o := f.Offer()
	err := f.Try(resources.Call{Type: resources.CallAccept, Offers: []resources.OfferID{o.ID}, Operations: []resources.Operation{{Type: resources.Launch,
		Tasks: []resources.TaskInfo{Task("once.1"), Task("once.2")}}}})
	refusal := ""
	if err != nil { // the acknowledgement of the end was lost with the old master, so that the new one knows the task too
		refusal = err.Error()
	} else {
		refusal = f.Wait("once.2", resources.Dropped).Message
	}
	if !strings.Contains(refusal, "used once") {
		t.Errorf("refusal %q; the whole call is refused for the id that was used", refusal)
	}
	f.launches("once.1", 1)
	f.launches("once.2", 0)
	f.Call(resources.Call{Type: resources.CallKill, Task: "once.0"})
	f.Wait("once.0", resources.Killed)
}

func deposed(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "old")
	f.Launch(Task("kept.1"))
	f.started("kept.1")
	rig.RestartMaster(t)
	f.Subscribe()
	f.Launch(Task("heard.1"))
	f.started("heard.1") // so the agent has heard of the new term
	rig.Depose(t)
	f.Subscribe()
	// The deposed server may still believe for a moment that the agent is there. Whatever it asks has no effect.
	until := time.Now().Add(1500 * time.Millisecond)
	for n := 1; time.Now().Before(until); {
		if o, ok := f.offerUntil(until); ok {
			task := Task(fmt.Sprintf("deposed.%d", n))
			if f.Try(resources.Call{Type: resources.CallAccept, Offers: []resources.OfferID{o.ID}, Operations: []resources.Operation{{Type: resources.Launch, Tasks: []resources.TaskInfo{task}}}}) == nil {
				n++
			}
			f.Call(resources.Call{Type: resources.CallKill, Task: "kept.1"})
		}
	}
	rig.RestartMaster(t)
	f.Subscribe()
	f.Offer()
	f.Call(resources.Call{Type: resources.CallReconcile})
	f.last = map[resources.TaskID]resources.TaskStatus{}
	f.started("kept.1")
	for n := range 20 {
		f.launches(resources.TaskID(fmt.Sprintf("deposed.%d", n+1)), 0)
	}
	for _, id := range []resources.TaskID{"kept.1", "heard.1"} {
		f.Call(resources.Call{Type: resources.CallKill, Task: id})
		f.Wait(id, resources.Killed)
	}
}

// offerUntil waits for an offer, but not for ever.
func (f *Framework) offerUntil(deadline time.Time) (resources.Offer, bool) {
	f.t.Helper()
	timeout := time.NewTimer(time.Until(deadline))
	defer timeout.Stop()
	for len(f.offers) == 0 {
		select {
		case e, ok := <-f.events:
			if !ok {
				return resources.Offer{}, false
			}
			f.take(e)
		case <-timeout.C:
			return resources.Offer{}, false
		}
	}
	o := f.offers[0]
	f.offers = f.offers[1:]
	return o, true
}

// holding is a reservation with a volume in it, as a stateful pod has one.
func holding(role, volume string) (reservation, held resources.Resources) {
	labels := map[string]string{"pod": role + "-0"}
	disk := resources.Scalar(resources.Disk, resources.Whole(16)).ReservedFor(role, labels)
	rest := resources.Resources{resources.Scalar(resources.CPUs, 10).ReservedFor(role, labels), resources.Scalar(resources.Mem, resources.Whole(32)).ReservedFor(role, labels)}
	return append(resources.Resources{disk}, rest...), append(resources.Resources{disk.WithVolume(volume, "data")}, rest...)
}

// hold reserves, makes the volume and launches a task with both.
func (f *Framework) hold(volume, task string) (reservation, held resources.Resources) {
	f.t.Helper()
	reservation, held = holding(f.Role, volume)
	info := Task(task)
	info.Resources = held
	info.Files = []resources.File{{Path: "{volume:" + volume + "}/conf/a", Content: []byte("x")}}
	f.Accept(f.Offer(),
		resources.Operation{Type: resources.Reserve, Resources: reservation},
		resources.Operation{Type: resources.Create, Resources: resources.Resources{held[0]}},
		resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{info}})
	f.started(info.ID)
	return reservation, held
}

// Stateful launches a task with a reservation and a volume of its own, and waits for a state.
func (f *Framework) Stateful(task, volume string, state resources.TaskState) resources.TaskStatus {
	f.t.Helper()
	reservation, held := holding(f.Role, volume)
	info := Task(task)
	info.Resources = held
	f.Accept(f.Offer(),
		resources.Operation{Type: resources.Reserve, Resources: reservation},
		resources.Operation{Type: resources.Create, Resources: resources.Resources{held[0]}},
		resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{info}})
	return f.Wait(info.ID, state)
}

// StatefulAgain launches a task on the reservation and the volume of an earlier one.
func (f *Framework) StatefulAgain(task, volume string, state resources.TaskState) resources.TaskStatus {
	f.t.Helper()
	_, held := holding(f.Role, volume)
	info := Task(task)
	info.Resources = held
	f.acceptWith(held, resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{info}})
	return f.Wait(info.ID, state)
}

func reserved(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "keeps")
	_, held := f.hold("keeps-0-data", "keeper.1")
	rig.End(t, "keeper.1", 0)
	f.Wait("keeper.1", resources.Finished)
	RestartAgent(t, rig)
	if !rig.Volume(t, "keeps-0-data") {
		t.Fatal("the volume did not outlive its task and the agent")
	}
	again := Task("keeper.2")
	again.Resources = held
	f.acceptWith(held, resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{again}})
	f.started("keeper.2")
	f.Call(resources.Call{Type: resources.CallKill, Task: "keeper.2"})
	f.Wait("keeper.2", resources.Killed)
}

func destroyed(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "drops")
	reservation, held := f.hold("drops-0-data", "dropper.1")
	rig.End(t, "dropper.1", 0)
	f.Wait("dropper.1", resources.Finished)
	if !rig.Volume(t, "drops-0-data") {
		t.Fatal("there was never a volume")
	}
	f.acceptWith(held,
		resources.Operation{Type: resources.Destroy, Resources: resources.Resources{held[0]}},
		resources.Operation{Type: resources.Unreserve, Resources: reservation})
	o := f.offerWith(reservation.Plain())
	if len(o.Resources.Reservations()) > 0 {
		t.Errorf("after UNRESERVE the offer still has %s", o.Resources.Reservations())
	}
	for deadline := time.Now().Add(patienceOf(t)); rig.Volume(t, "drops-0-data"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the destroyed volume is still there after %s", patienceOf(t))
		}
	}
}

func allOrNone(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "strict")
	o := f.Offer()
	_, held := holding(f.Role, "never-made")
	huge := Task("strict.2")
	huge.Resources = o.Resources.Add(o.Resources)
	err := f.Try(resources.Call{Type: resources.CallAccept, Offers: []resources.OfferID{o.ID}, Operations: []resources.Operation{
		{Type: resources.Launch, Tasks: []resources.TaskInfo{Task("strict.1")}},
		{Type: resources.Create, Resources: resources.Resources{held[0]}},
		{Type: resources.Launch, Tasks: []resources.TaskInfo{huge}}}})
	if err == nil {
		t.Fatal("more than the offer holds was accepted")
	}
	f.Accept(o, resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{Task("strict.3")}}) // a refused call leaves the offer valid (I7)
	f.started("strict.3")
	f.launches("strict.1", 0)
	if rig.Volume(t, "never-made") {
		t.Error("a part of the refused operations was carried out")
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "strict.3"})
	f.Wait("strict.3", resources.Killed)
}

func many(t testing.TB, rig Rig) {
	f := NewFramework(t, rig, "crowds")
	var tasks []resources.TaskInfo
	for n := range 12 {
		tasks = append(tasks, Task(fmt.Sprintf("crowd.%d", n)))
	}
	f.Launch(tasks...)
	for _, task := range tasks {
		f.started(task.ID)
	}
	for n, task := range tasks {
		if n%2 == 0 {
			rig.End(t, task.ID, n)
			continue
		}
		f.Call(resources.Call{Type: resources.CallKill, Task: task.ID})
	}
	for n, task := range tasks {
		s := f.WaitEnd(task.ID)
		if want := (n + 1) % 2 * n; n%2 == 0 && s.ExitCode != want || n%2 == 1 && s.State != resources.Killed {
			t.Errorf("task %s ended %s with exit code %d", task.ID, s.State, s.ExitCode)
		}
		f.inOrder(task.ID)
		// What was killed at once may not have come to its first line.
		if got := rig.Launches(t, task.ID); got > 1 || got < 1 && n%2 == 0 {
			t.Errorf("task %s was begun %d times (I3)", task.ID, got)
		}
	}
}

func hostGone(t testing.TB, rig HostRig) {
	f := NewFramework(t, rig, "homeless")
	f.Launch(Task("gone.1"), Task("gone.2"))
	f.started("gone.1")
	f.started("gone.2")
	f.Call(resources.Call{Type: resources.CallKill, Task: "gone.2"})
	rig.RemoveHost(t)
	if s := f.Wait("gone.1", resources.Gone); s.Reason != "REASON_AGENT_REMOVED" || !strings.Contains(s.Message, "deleted") {
		t.Errorf("reason %s, message %q; want what became of the host", s.Reason, s.Message)
	}
	if s := f.WaitEnd("gone.2"); s.State != resources.Gone && s.State != resources.Killed {
		t.Errorf("a task that was being killed on it ended %s", s.State)
	}
	f.offers = nil
	if o, ok := f.offerUntil(time.Now().Add(time.Second)); ok {
		t.Errorf("a host that is gone offers %s", o.Resources.Summary())
	}
}
