package kafka

import (
	"slices"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
)

// The names of a broker's ports.
const (
	ClientPort     = "client"
	ControllerPort = "controller"
)

// The users of the client listener. Both are super users; Weir's own parts log in as ClientUser.
const (
	BrokerUser = "broker"
	ClientUser = "weir"
)

const (
	volume         = "data"
	defaultMem     = 512   // MiB of the task: 256 MB of heap, and what the JVM needs beside it
	defaultStorage = 10240 // MiB
	defaultCPUs    = 200   // 0.2: shares, not a quota (C4)
	grace          = 15 * time.Second
)

// Pod is what one broker wants.
func Pod(spec operators.ServiceSpec, index int) operators.PodSpec {
	return operators.PodSpec{
		Stack: spec.Stack, Service: spec.Name, Type: "broker", Index: index, Task: "kafka", Revision: spec.PodRevision(),
		CPUs: orDefault(spec.CPUs, defaultCPUs), MemMiB: orDefault(spec.MemoryMiB, defaultMem), DiskMiB: orDefault(spec.StorageMiB, defaultStorage),
		Volume: volume, Grace: grace,
		Ports: []operators.Port{{Name: ClientPort, Number: spec.Port}, {Name: ControllerPort}},
	}
}

func orDefault[T ~int64](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// Decide is the plan of a Kafka: one phase, a broker after the other, each launched and then asked until it answers.
func Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	phase := plan.Phase{Name: "broker", Strategy: plan.Serial}
	for i := range spec.Size {
		steps := plan.Pod(spec, i, o, Pod)
		last := steps[len(steps)-1]
		ready, why := answers(o.Kafka, i)
		if launched := o.Attempts[plan.LaunchID(spec.PodName(i))].At; ready && o.Kafka.Authenticated.At.Before(launched) {
			ready, why = false, "the broker has not been asked since its launch"
		}
		phase.Steps = append(append(phase.Steps, steps...),
			plan.Ready(spec.PodName(i), last.Done, ready, "the broker to take a SCRAM login and to be listed by Metadata", why))
	}
	return plan.Plan{Service: spec.Name, Name: "deploy", Revision: spec.Revision(), Phases: []plan.Phase{phase}}
}

// Ready reports whether all brokers answer, and why not.
func Ready(spec operators.ServiceSpec, f operators.KafkaFacts) (bool, string) {
	for i := range spec.Size {
		if ok, why := answers(f, i); !ok {
			return false, why
		}
	}
	return true, ""
}

func answers(f operators.KafkaFacts, id int) (bool, string) {
	switch {
	case !f.Authenticated.Known:
		return false, "the broker does not answer yet: " + f.Authenticated.Reason()
	case !f.Authenticated.Value:
		return false, "the broker refuses the login"
	case !f.Brokers.Known:
		return false, "the list of brokers is unknown: " + f.Brokers.Reason()
	case !slices.Contains(f.Brokers.Value, id):
		return false, "the broker is not listed by Metadata"
	}
	return true, ""
}
