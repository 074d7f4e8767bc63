package master

import (
	"time"

	"github.com/weir-project/weir/resources"
)

// Options of a master. The zero values are the defaults.
type Options struct {
	Term           uint64                   // of this server; agents refuse a lower one than they have seen (C2)
	NewID          func(kind string) string // unique for ever; kind is "offer" or "framework"
	Unreachable    time.Duration            // after an agent's link broke, its tasks count as unreachable; 8 s (Mesos: 75 s)
	OfferTimeout   time.Duration            // an offer that nobody answers is rescinded; 30 s
	RefuseFor      time.Duration            // filter of a decline that names none; 5 s, as in Mesos
	Recovery       time.Duration            // after its start a master does not say "gone" of a task it does not know; 10 s
	Expect         []resources.AgentID      // recovery ends earlier when all of these have registered
	Weights        map[string]float64       // by role
	MinAllocatable []resources.Resources
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&o.Unreachable, 8*time.Second)
	set(&o.OfferTimeout, 30*time.Second)
	set(&o.RefuseFor, 5*time.Second)
	set(&o.Recovery, 10*time.Second)
	return o
}

// Event is something that happened.
type Event interface{ event() }

type (
	// AgentReported is a message of an agent on its link. The first on every link registers it.
	AgentReported struct {
		Agent  resources.AgentID
		Report resources.AgentReport
	}
	// AgentDisconnected says that an agent's link broke.
	AgentDisconnected struct{ Agent resources.AgentID }
	// Subscribed is a framework that subscribes, or does so again: one stream for one id, the newer wins.
	Subscribed struct{ Info resources.FrameworkInfo }
	// Unsubscribed says that a framework's stream ended. Its tasks run on.
	Unsubscribed struct{ Framework resources.FrameworkID }
	// Called is any other call of a framework.
	Called struct{ Call resources.Call }
)

func (AgentReported) event()     {}
func (AgentDisconnected) event() {}
func (Subscribed) event()        {}
func (Unsubscribed) event()      {}
func (Called) event()            {}

// Effect is something for the edge to do, in order.
type Effect interface{ effect() }

type (
	SendAgent struct {
		Agent   resources.AgentID
		Command resources.AgentCommand
	}
	SendFramework struct {
		Framework resources.FrameworkID
		Event     resources.Event
	}
	// Refuse is the only effect of an event that is not accepted.
	Refuse struct{ Err error }
)

func (SendAgent) effect()     {}
func (SendFramework) effect() {}
func (Refuse) effect()        {}

// Snapshot is what there is, for people.
type Snapshot struct {
	Term       uint64                 `json:"term"`
	Recovering bool                   `json:"recovering"` // agents may still be missing after a restart
	Agents     []AgentView            `json:"agents"`
	Frameworks []FrameworkView        `json:"frameworks"`
	Offers     []resources.Offer      `json:"offers"`
	Tasks      []resources.TaskStatus `json:"tasks"`
}

// AgentView is one agent.
type AgentView struct {
	Info        resources.AgentInfo `json:"info"`
	Connected   bool                `json:"connected"`
	Unreachable bool                `json:"unreachable"`
	Used        resources.Resources `json:"used"`
	Offered     resources.Resources `json:"offered"`
}

// FrameworkView is one framework.
type FrameworkView struct {
	Info       resources.FrameworkInfo `json:"info"`
	Connected  bool                    `json:"connected"`
	Suppressed bool                    `json:"suppressed"`
}
