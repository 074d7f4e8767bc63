package resourcetest

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/resources"
)

// claim is one thing that every kind of agent must do.
type claim struct {
	name string
	test func(testing.TB, Rig)
	slow bool // seconds
}

var claims = []claim{
	{name: "a task's states come in order, and its end with its exit code", test: statesAndExit},
	{name: "a kill ends a task, once, however often it is asked for", test: killed},
	{name: "a status is repeated until it is acknowledged, and then no more", test: repeated, slow: true},
	{name: "files are private, and nothing else tells what is in them", test: private},
	{name: "a task outlives the agent and is adopted", test: adopted},
	{name: "a task that ended while the agent was away is told", test: endedAway},
	{name: "a task that was killed while the agent was away is told", test: killedAway},
	{name: "a task outlives the master and is handed back to its framework", test: handedBack},
	{name: "a task id is launched once, whoever forgets", test: once},
	{name: "a server of a lower term is refused", test: deposed, slow: true},
	{name: "a reservation and a volume outlive their task and the agent", test: reserved},
	{name: "a volume that was destroyed is gone, and its room is offered again", test: destroyed},
	{name: "operations are taken all or none", test: allOrNone},
	{name: "many tasks run beside each other", test: many},
}

// onHosts are claims on agents whose host can be taken away.
var onHosts = []struct {
	name string
	test func(testing.TB, HostRig)
}{
	{"tasks of a host that is gone are gone, and nothing is offered there", hostGone},
}

// Run runs the whole suite, each claim on an agent of its own.
func Run(t *testing.T, start func(testing.TB) Rig) {
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.slow {
				t.Skip("it waits for what must not come")
			}
			c.test(t, start(t))
		})
	}
	for _, c := range onProcesses {
		t.Run(c.name, func(t *testing.T) { c.test(t, asProcesses(t, start(t))) })
	}
	for _, c := range onHosts {
		t.Run(c.name, func(t *testing.T) { c.test(t, asHost(t, start(t))) })
	}
}

func asProcesses(t testing.TB, rig Rig) ProcessRig {
	t.Helper()
	if !rig.Features().Processes {
		t.Skip("declared: its tasks are no processes of this host")
	}
	return rig.(ProcessRig)
}

func asHost(t testing.TB, rig Rig) HostRig {
	t.Helper()
	if !rig.Features().Hosts {
		t.Skip("declared: its host cannot be taken away")
	}
	return rig.(HostRig)
}

// RestartAgent stops and starts it.
func RestartAgent(t testing.TB, rig Rig) {
	t.Helper()
	rig.StopAgent(t)
	rig.StartAgent(t)
}

// acceptWith accepts an offer that holds something. One that was rescinded meanwhile, as offers of a restarted agent are, is
// refused without any effect, and the next one comes.
func (f *Framework) acceptWith(want resources.Resources, operations ...resources.Operation) {
	f.t.Helper()
	for {
		o := f.offerWith(want)
		err := f.Try(resources.Call{Type: resources.CallAccept, Offers: []resources.OfferID{o.ID}, Operations: operations})
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "any more") {
			f.t.Fatal(err)
		}
	}
}

// offerWith waits for an offer that holds something, and lets others go.
func (f *Framework) offerWith(want resources.Resources) resources.Offer {
	f.t.Helper()
	for deadline := time.Now().Add(patienceOf(f.t)); ; {
		o := f.Offer()
		if o.Resources.Contains(want) {
			return o
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("no offer with %s within %s; the last has %s", want.Summary(), patienceOf(f.t), o.Resources.Summary())
		}
		// It may have been rescinded meanwhile, which makes this call a no-op.
		f.Call(resources.Call{Type: resources.CallDecline, Offers: []resources.OfferID{o.ID}, Filter: resources.Filter{RefuseFor: 50 * time.Millisecond}})
	}
}
