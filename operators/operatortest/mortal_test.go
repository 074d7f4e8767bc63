package operatortest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/kafka"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

// workersModel is a fleet with a pipeline of six slots.
type workersModel struct{ state stream.State }

func (w *workersModel) decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	return stream.Decide(spec, stream.Input{Observed: o})
}

func (w *workersModel) facts(m *Mortal, o *operators.Observed) {
	workers, stay := map[string]operators.Worker{}, []string{}
	for pod, id := range m.pods() {
		if i, ok := stream.Index(m.spec.Name, pod); ok && i < m.spec.Size {
			stay = append(stay, string(id))
		}
	}
	run := stream.Run{PipelineRun: physical.PipelineRun{UID: "u", Run: 1, Graph: physical.Graph{Pipeline: "p", Stages: []physical.Stage{{Name: "s", Fragments: []physical.Fragment{{Name: "f0", Slots: 6}}}}}}, Ended: map[string]bool{}}
	w.state = stream.Assign(stream.Request{Runs: []stream.Run{run}, Workers: stay, Previous: w.state})
	given := w.state.Count()
	for pod, id := range m.pods() {
		workers[pod] = operators.Worker{Task: string(id), Registered: true, Assigned: given[string(id)], Holding: given[string(id)]}
	}
	o.Stream.Workers = operators.Know(workers, time.Now())
}

func (w *workersModel) admin(*Mortal, operators.Admin) {}

func (w *workersModel) ends(m *Mortal, pod string) {
	if n := w.state.Count()[string(m.pods()[pod])]; n > 0 {
		m.Faults = append(m.Faults, fmt.Sprintf("%s is stopped and has %d slots", pod, n))
	}
}

// kafkaModel is a Kafka whose replicas move at once.
type kafkaModel struct {
	all      []operators.Partition
	cordoned map[int]bool
	joined   map[int]bool // registered, and not unregistered
}

func newKafkaModel() *kafkaModel {
	k := &kafkaModel{cordoned: map[int]bool{}, joined: map[int]bool{}}
	for i := range 6 {
		k.all = append(k.all, operators.Partition{Topic: "t", Index: i, Replicas: []int{0}, ISR: []int{0}, MinISR: 1})
	}
	return k
}

func (k *kafkaModel) decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	return kafka.Decide(spec, o)
}

func (k *kafkaModel) facts(m *Mortal, o *operators.Observed) {
	now, up := time.Now(), []int{}
	for pod := range m.pods() {
		i, _ := stream.Index(m.spec.Name, pod)
		up = append(up, i)
		k.joined[i] = true // starting registers it again, also one that was unregistered
	}
	slices.Sort(up)
	if len(up) == 0 {
		return
	}
	registered := map[int]operators.BrokerFact{}
	for i := range k.joined {
		registered[i] = operators.BrokerFact{Fenced: !slices.Contains(up, i), Cordoned: operators.Know(k.cordoned[i], now)}
	}
	o.Kafka = operators.KafkaFacts{Brokers: operators.Know(up, now), Authenticated: operators.Know(true, now), Topics: operators.Know(map[string]operators.Topic{}, now),
		Registered: operators.Know(registered, now), Partitions: operators.Know(slices.Clone(k.all), now), Quorum: operators.Know(operators.Quorum{Voters: []int{0}}, now)}
}

func (k *kafkaModel) holds(id int) int {
	n := 0
	for _, p := range k.all {
		if slices.Contains(p.Replicas, id) {
			n++
		}
	}
	return n
}

func (k *kafkaModel) admin(m *Mortal, a operators.Admin) {
	switch a.Kind {
	case operators.CordonBroker, operators.UncordonBroker:
		k.cordoned[a.Broker] = a.Kind == operators.CordonBroker
	case operators.MoveReplicas:
		for _, move := range a.Moves {
			for _, id := range move.Replicas {
				if k.cordoned[id] {
					m.Faults = append(m.Faults, fmt.Sprintf("%s moves to a broker that is cordoned", move))
				}
			}
			p := &k.all[move.Partition]
			p.Replicas, p.ISR, p.Leader = move.Replicas, move.Replicas, move.Replicas[0]
		}
	case operators.UnregisterBroker:
		if n := k.holds(a.Broker); n > 0 {
			m.Faults = append(m.Faults, fmt.Sprintf("broker %d is unregistered and holds %d replicas", a.Broker, n))
		}
		delete(k.joined, a.Broker)
	}
}

func (k *kafkaModel) ends(m *Mortal, pod string) {
	if i, _ := stream.Index(m.spec.Name, pod); k.holds(i) > 0 {
		m.Faults = append(m.Faults, fmt.Sprintf("%s is stopped and holds %d replicas", pod, k.holds(i)))
	}
}

// there takes the service through sizes, dying at a boundary, and tells what is there in the end.
func there(t *testing.T, operator string, at int, forget bool, sizes ...int) (m *Mortal, end string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m = &Mortal{At: at, Forget: forget, model: &workersModel{}, live: map[resources.TaskID]*mortalTask{}, ids: map[resources.TaskID]bool{},
			spec: operators.ServiceSpec{Stack: "s", Name: "x", Operator: operator, Size: 1, StorageMiB: 100}}
		if operator == operators.Kafka {
			m.model = newKafkaModel()
		}
		for _, n := range sizes {
			p, err := m.Reach(n)
			if err != nil {
				end = err.Error()
				return
			}
			end += fmt.Sprintf("%s %v; ", p.Summary(), slices.Sorted(maps.Keys(m.pods())))
			if k, ok := m.model.(*kafkaModel); ok {
				end += fmt.Sprintf("brokers %v hold %d and %d replicas; ", slices.Sorted(maps.Keys(k.joined)), k.holds(0), k.holds(1))
			}
		}
		time.Sleep(time.Second) // what the last life began has ended
	})
	return m, end
}

// scalings are the ways through sizes whose every boundary is died at.
var scalings = []struct {
	operator string
	sizes    []int
	most     int // a way of so many boundaries at least, or the harness sees nothing
}{{operators.Stream, []int{1, 3, 1}, 20}, {operators.Kafka, []int{1, 2, 1}, 30}}

func TestAPlanEndsTheSameWhereverItsServerDies(t *testing.T) {
	for _, c := range scalings {
		t.Run(c.operator, func(t *testing.T) {
			calm, want := there(t, c.operator, 0, false, c.sizes...)
			if len(calm.Faults) > 0 || calm.count < c.most || strings.Count(want, string(plan.Done)) != len(c.sizes) {
				t.Fatalf("undisturbed: %d boundaries, faults %q, it ends as\n%s\n%s", calm.count, calm.Faults, want, strings.Join(calm.Passed, "\n"))
			}
			t.Logf("%d boundaries; %s", calm.count, want)
			for at := 1; at <= calm.count; at++ {
				m, got := there(t, c.operator, at, false, c.sizes...)
				if got != want || len(m.Faults) > 0 {
					t.Errorf("died %s (boundary %d): it ends as\n%s\nand should as\n%s\nfaults: %q", m.Passed[at-1], at, got, want, m.Faults)
				}
			}
		})
	}
}

func TestAServerThatForgetsWhatItStoredIsCaughtAtABoundary(t *testing.T) {
	for _, c := range scalings {
		calm, _ := there(t, c.operator, 0, true, c.sizes...)
		caught := 0
		for at := 1; at <= calm.count; at++ {
			if m, _ := there(t, c.operator, at, true, c.sizes...); len(m.Faults) > 0 {
				caught++
			}
		}
		if caught == 0 {
			t.Errorf("%s: a record that is lost at each death was seen at none of %d boundaries", c.operator, calm.count)
		}
	}
}
