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

// Pod is what one broker wants. The first is controller too, and has the port that the user fixed; the others are brokers alone.
func Pod(spec operators.ServiceSpec, index int) operators.PodSpec {
	ports := []operators.Port{{Name: ClientPort, Number: spec.Port}, {Name: ControllerPort}}
	if index > 0 {
		ports = []operators.Port{{Name: ClientPort}}
	}
	return operators.PodSpec{
		Stack: spec.Stack, Service: spec.Name, Type: "broker", Index: index, Task: "kafka", Revision: spec.PodRevision(),
		CPUs: orDefault(spec.CPUs, defaultCPUs), MemMiB: orDefault(spec.MemoryMiB, defaultMem), DiskMiB: orDefault(spec.StorageMiB, defaultStorage),
		Volume: volume, Grace: grace, Ports: ports,
	}
}

func orDefault[T ~int64](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// Decide is the plan of a Kafka of any size, from what is observed alone, so that it can be asked again after every step and every crash, and a
// size that changes in the middle is simply the next one:
//
//   - broker: those that shall be are launched one after the other and answer; a cordon that is left from their leaving is lifted. One that
//     leaves and died before it was empty comes back.
//   - drain: those that leave are cordoned, and all replicas on them move to those that stay.
//   - remove: those that are empty are stopped and then unregistered, the highest first.
//   - spread: replicas are moved to brokers that hold too little, and the preferred leaders elected.
func Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	d := decision{spec: spec, o: o, f: o.Kafka}
	leaving := d.leaving()
	p := plan.Plan{Service: spec.Name, Name: "deploy", Revision: spec.Revision(), Phases: []plan.Phase{d.brokers(leaving)}}
	if len(leaving) > 0 {
		p.Name = "scale in"
		p.Phases = append(p.Phases, d.drain(leaving), d.remove(leaving))
	}
	if spec.Size > 1 {
		p.Phases = append(p.Phases, d.spread())
	}
	return p
}

// decision is what the steps of one plan are made from.
type decision struct {
	spec operators.ServiceSpec
	o    operators.Observed
	f    operators.KafkaFacts
}

// stay are the brokers of the wanted size.
func (d decision) stay() []int {
	out := make([]int, d.spec.Size)
	for i := range out {
		out[i] = i
	}
	return out
}

// brokers is the phase of those that stay, and of those that must come back to be drained. Who must be stopped comes last, the controller at the
// very end: what is down may be what the others wait for.
func (d decision) brokers(leaving []int) plan.Phase {
	phase := plan.Phase{Name: "broker", Strategy: plan.Serial}
	var roll []plan.Step
	for _, i := range d.stay() {
		steps := d.broker(i)
		if d.spec.Size > 1 && steps[0].ID == plan.StopID(d.spec.PodName(i)) {
			roll = append(d.gated(i, steps), roll...)
			continue
		}
		phase.Steps = append(phase.Steps, steps...)
	}
	for _, id := range leaving {
		phase.Steps = append(phase.Steps, d.back(id)...)
	}
	phase.Steps = append(phase.Steps, roll...)
	return phase
}

func (d decision) broker(i int) []plan.Step {
	steps := plan.Pod(d.spec, i, d.o, Pod)
	ready := d.ready(i, steps[len(steps)-1].Done)
	steps = append(steps, ready)
	if i > 0 {
		steps = append(steps, d.uncordon(i, ready.Done))
	}
	return steps
}

func (d decision) ready(i int, launched bool) plan.Step {
	pod := d.spec.PodName(i)
	ready, why := answers(d.f, i)
	if at := d.o.Attempts[plan.LaunchID(pod)].At; ready && d.f.Authenticated.At.Before(at) {
		ready, why = false, "the broker has not been asked since its launch"
	}
	return plan.Ready(pod, launched, ready, "the broker to take a SCRAM login and to be listed by Metadata", why)
}

// gated lets a roll wait while a partition would fall below its min ISR (I5).
func (d decision) gated(i int, steps []plan.Step) []plan.Step {
	if ok, why := mayStop(d.f, i); !ok && steps[0].Status == plan.Pending {
		steps[0].Status, steps[0].Reason = plan.Waiting, why
	}
	return steps
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
