package operatortest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-project/weir/operators"
)

// brokers is what a Kafka's controller knows, and what its brokers do: the facts that a scale is decided on. It refuses as little as Kafka does.
type brokers struct {
	registered map[int]bool
	cordoned   map[int]bool // outlives the registration
	partitions []operators.Partition
}

func newBrokers() brokers { return brokers{registered: map[int]bool{}, cordoned: map[int]bool{}} }

// broker is the index of a pod.
func (w *World) broker(pod string) int {
	i, err := strconv.Atoi(strings.TrimPrefix(pod, w.Spec.Name+"-"))
	if err != nil {
		return -1
	}
	return i
}

func (w *World) serves(id int) bool { return w.answers[w.Spec.PodName(id)] }

// kafkaFacts: the first broker is asked, so that nothing is known while it is down.
func (w *World) kafkaFacts() operators.KafkaFacts {
	if !w.serves(0) {
		return operators.KafkaFacts{}
	}
	var ids []int
	for pod, ok := range w.answers {
		if ok {
			ids = append(ids, w.broker(pod))
		}
	}
	slices.Sort(ids)
	registered := map[int]operators.BrokerFact{}
	for id := range w.kafka.registered {
		b := operators.BrokerFact{Fenced: !w.serves(id), Cordoned: operators.Unknown[bool]("it does not serve")}
		if !b.Fenced {
			b.Cordoned = operators.Know(w.kafka.cordoned[id], w.Now)
		}
		registered[id] = b
	}
	return operators.KafkaFacts{
		Brokers: operators.Know(ids, w.Now), Authenticated: operators.Know(true, w.Now), Topics: operators.Know(maps.Clone(w.topics), w.Now),
		Registered: operators.Know(registered, w.Now), Partitions: operators.Know(w.replicas(), w.Now),
		Quorum: operators.Know(operators.Quorum{Leader: 0, Voters: []int{0}}, w.Now),
	}
}

// replicas are the partitions with who leads and who is in sync, as the brokers that serve make it.
func (w *World) replicas() []operators.Partition {
	out := slices.Clone(w.kafka.partitions)
	for i, p := range out {
		p.ISR = nil
		for _, id := range p.Replicas {
			if w.serves(id) && !slices.Contains(p.Adding, id) {
				p.ISR = append(p.ISR, id)
			}
		}
		switch {
		case len(p.ISR) == 0:
			p.Leader, p.ISR = -1, slices.DeleteFunc(slices.Clone(p.Replicas), func(id int) bool { return slices.Contains(p.Adding, id) })[:1]
		case !slices.Contains(p.ISR, p.Leader):
			p.Leader = p.ISR[0]
		}
		out[i] = p
		w.kafka.partitions[i].Leader = p.Leader
	}
	return out
}

// topic lays a topic's replicas on the brokers that serve and are not cordoned, as Kafka does.
func (w *World) topic(name string, partitions, replication int) error {
	var open []int
	for id := range w.kafka.registered {
		if w.serves(id) && !w.kafka.cordoned[id] {
			open = append(open, id)
		}
	}
	slices.Sort(open)
	if len(open) < replication {
		return fmt.Errorf("topic %s: replication %d, %d brokers are open", name, replication, len(open))
	}
	for i := range partitions {
		p := operators.Partition{Topic: name, Index: i, MinISR: max(1, replication-1)}
		for k := range replication {
			p.Replicas = append(p.Replicas, open[(i+k)%len(open)])
		}
		p.Leader = p.Replicas[0]
		w.kafka.partitions = append(w.kafka.partitions, p)
	}
	return nil
}

func (w *World) kafkaAdmin(a operators.Admin) {
	switch a.Kind {
	case operators.CordonBroker, operators.UncordonBroker:
		w.kafka.cordoned[a.Broker] = a.Kind == operators.CordonBroker
	case operators.MoveReplicas:
		for _, m := range a.Moves {
			w.move(m)
		}
	case operators.ElectLeaders:
		for _, m := range a.Moves {
			for i, p := range w.replicas() {
				if p.Topic == m.Topic && p.Index == m.Partition && slices.Contains(p.ISR, p.Replicas[0]) {
					w.kafka.partitions[i].Leader = p.Replicas[0]
				}
			}
		}
	case operators.UnregisterBroker:
		if w.serves(a.Broker) || w.holds(a.Broker) > 0 {
			w.violated(fmt.Sprintf("broker %d was unregistered while it served (%v) or held replicas (%d)", a.Broker, w.serves(a.Broker), w.holds(a.Broker)))
		}
		delete(w.kafka.registered, a.Broker)
	}
}

func (w *World) move(m operators.Move) {
	for i, p := range w.kafka.partitions {
		if p.Topic != m.Topic || p.Index != m.Partition {
			continue
		}
		if len(p.Goal()) != len(m.Replicas) {
			w.violated(fmt.Sprintf("%s had %d replicas and shall have %v", p.Name(), len(p.Goal()), m.Replicas))
		}
		not := func(of []int) func(int) bool { return func(id int) bool { return slices.Contains(of, id) } }
		data := slices.DeleteFunc(slices.Clone(p.Replicas), not(p.Adding))
		p.Adding = slices.DeleteFunc(slices.Clone(m.Replicas), not(data))
		p.Removing = slices.DeleteFunc(slices.Clone(data), not(m.Replicas))
		p.Replicas = slices.Concat(m.Replicas, p.Removing)
		w.kafka.partitions[i] = p
	}
}

func (w *World) holds(id int) int {
	n := 0
	for _, p := range w.kafka.partitions {
		if slices.Contains(p.Replicas, id) {
			n++
		}
	}
	return n
}

// copied ends the moves whose brokers all serve.
func (w *World) copied() {
	for i, p := range w.replicas() {
		if p.Moving() && p.Leader >= 0 && !slices.ContainsFunc(p.Replicas, func(id int) bool { return !w.serves(id) }) {
			p.Replicas, p.Adding, p.Removing = p.Goal(), nil, nil
			if !slices.Contains(p.Replicas, p.Leader) {
				p.Leader = p.Replicas[0]
			}
			w.kafka.partitions[i] = p
		}
	}
}

// killed holds that no broker is stopped by our hand which leaves a partition below its min ISR, or that leaves for good with anything on it (I5).
func (w *World) killed(pod string) {
	id := w.broker(pod)
	if id >= w.Spec.Size && w.holds(id) > 0 {
		w.violated(fmt.Sprintf("broker %d leaves with %d replicas", id, w.holds(id)))
	}
	for _, p := range w.replicas() {
		left := slices.DeleteFunc(slices.Clone(p.ISR), func(other int) bool { return other == id })
		if slices.Contains(p.Replicas, id) && len(p.Replicas) > p.MinISR && len(left) < p.MinISR {
			w.violated(fmt.Sprintf("broker %d is stopped and leaves %s with %d in sync", id, p.Name(), len(left)))
		}
	}
}

func (w *World) violated(what string) {
	if w.broken == nil {
		panic(what)
	}
	w.broken(what)
}

// layout says what lies where.
func (w *World) layout() string {
	all := map[int]string{}
	for id := range w.kafka.registered {
		lead := 0
		for _, p := range w.replicas() {
			if p.Leader == id {
				lead++
			}
		}
		all[id] = fmt.Sprintf("broker %d: %d replicas, leads %d", id, w.holds(id), lead)
		if w.kafka.cordoned[id] {
			all[id] += ", cordoned"
		}
	}
	var out []string
	for _, id := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[id])
	}
	return lines(out)
}

func lines(all []string) string {
	if len(all) == 0 {
		return "nothing to do\n"
	}
	return strings.Join(all, "\n") + "\n"
}
