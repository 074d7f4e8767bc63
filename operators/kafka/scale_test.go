package kafka

import (
	"testing"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/resources"
)

// TestAPlanIsNotCompleteWhileWhoIsRegisteredIsUnknown: the server died after it stopped a broker that leaves, and its agent has forgotten the task.
func TestAPlanIsNotCompleteWhileWhoIsRegisteredIsUnknown(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	spec := operators.ServiceSpec{Stack: "s", Name: "events", Operator: operators.Kafka, Size: 1}
	o := operators.Observed{Now: now,
		Tasks:    map[string]operators.Task{"events-0": {ID: "t0", State: resources.Running, Revision: spec.PodRevision()}},
		Attempts: map[string]operators.Attempt{plan.LaunchID("events-1"): {Total: 1, Task: "t1", Settled: "t1"}},
		Kafka: operators.KafkaFacts{Authenticated: operators.Know(true, now), Brokers: operators.Know([]int{0}, now),
			Registered: operators.Unknown[map[int]operators.BrokerFact]("no answer")}}
	for _, c := range []struct {
		what string
		all  map[int]operators.BrokerFact // nil: unknown
		done bool
	}{
		{"unknown", nil, false},
		{"both", map[int]operators.BrokerFact{0: {}, 1: {Fenced: true}}, false},
		{"the first alone", map[int]operators.BrokerFact{0: {}}, true},
	} {
		if c.all != nil {
			o.Kafka.Registered = operators.Know(c.all, now)
			o.Kafka.Partitions = operators.Know([]operators.Partition(nil), now)
			o.Kafka.Quorum = operators.Know(operators.Quorum{Voters: []int{0}}, now)
		}
		if p := Decide(spec, o); (p.Summary() == plan.Done) != c.done {
			t.Errorf("registered: %s: complete is %v, want %v\n%s", c.what, !c.done, c.done, p)
		}
	}
}
