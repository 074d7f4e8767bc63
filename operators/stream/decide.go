package stream

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

const (
	defaultMem  = 512 // MiB of a worker
	defaultCPUs = 100 // 0.1: shares, not a quota (C4)
	grace       = 10 * time.Second
)

// Input is what a plan of a stream service is decided on.
type Input struct {
	Observed operators.Observed
	Graphs   []physical.Graph
	Services map[string]operators.ServiceSpec // all of the stack's, by name
}

// Pod is what one worker wants. It has no state of its own: its slots' state is in Kafka.
func Pod(spec operators.ServiceSpec, index int) operators.PodSpec {
	pod := operators.PodSpec{
		Stack: spec.Stack, Service: spec.Name, Type: "worker", Index: index, Task: "worker", Revision: spec.PodRevision(),
		CPUs: defaultCPUs, MemMiB: defaultMem, Grace: grace,
	}
	if spec.CPUs != 0 {
		pod.CPUs = spec.CPUs
	}
	if spec.MemoryMiB != 0 {
		pod.MemMiB = spec.MemoryMiB
	}
	return pod
}

// Decide is the plan of a stream service. Phase recover brings back what ran before and failed, whatever else goes on; phase workers brings up
// side by side what never ran, before the channels, so that workers start beside the services that hold these; phase update replaces one worker
// after the other; phases drain and stop scale in.
func Decide(spec operators.ServiceSpec, in Input) plan.Plan {
	recover := plan.Phase{Name: "recover", Strategy: plan.Parallel, Beside: true}
	workers := plan.Phase{Name: "workers", Strategy: plan.Parallel}
	update := plan.Phase{Name: "update", Strategy: plan.Serial}
	for i := range spec.Size {
		pod := spec.PodName(i)
		steps := plan.Pod(spec, i, in.Observed, Pod)
		ready, why := registered(in.Observed, pod)
		steps = append(steps, plan.Ready(pod, steps[len(steps)-1].Done, ready, "the worker to register", why))
		task := in.Observed.Tasks[pod]
		switch {
		case steps[0].ID == plan.StopID(pod):
			update.Steps = append(update.Steps, steps...)
		case task.ID != "" && task.State != resources.Killed && !task.Live():
			recover.Steps = append(recover.Steps, steps...)
		default:
			workers.Steps = append(workers.Steps, steps...)
		}
	}
	p := plan.Plan{Service: spec.Name, Name: "deploy", Revision: spec.Revision(), Phases: append([]plan.Phase{recover, workers, channels(in), update}, scaleIn(spec, in.Observed)...)}
	p.Phases = slices.DeleteFunc(p.Phases, func(ph plan.Phase) bool { return len(ph.Steps) == 0 })
	return p
}

func registered(o operators.Observed, pod string) (bool, string) {
	w := o.Stream.Workers
	if !w.Known {
		return false, "the workers' streams are unknown: " + w.Reason()
	}
	if got := w.Value[pod]; !got.Registered || got.Task != string(o.Tasks[pod].ID) {
		return false, "its task runs and has not registered"
	}
	return true, ""
}

// channels: the steps of different services go on side by side.
func channels(in Input) plan.Phase {
	ph := plan.Phase{Name: "channels", Strategy: plan.Parallel}
	all := Channels(in.Graphs, in.Services)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f, r := in.Observed.Stream.Services[name], all[name]
		blocked := ""
		switch {
		case !f.Ready.Known:
			blocked = fmt.Sprintf("service %s is not ready: %s", name, f.Ready.Reason())
		case !f.Ready.Value:
			blocked = fmt.Sprintf("service %s is not ready", name)
		}
		if len(r.Topics) > 0 {
			missing := topicsMissing(r.Topics, f.Topics)
			ph.Steps = append(ph.Steps, plan.Admin("topics:"+name, operators.Admin{Kind: operators.EnsureTopics, Service: name, Topics: r.Topics}, missing == "", blocked, missing, in.Observed))
		}
		if len(r.Streams) > 0 {
			missing := streamsMissing(r.Streams, f.Streams)
			ph.Steps = append(ph.Steps, plan.Admin("streams:"+name, operators.Admin{Kind: operators.EnsureStreams, Service: name, Streams: r.Streams}, missing == "", blocked, missing, in.Observed))
		}
		if len(r.Tables) > 0 {
			missing := tablesMissing(r.Keyspaces, r.Tables, f)
			ph.Steps = append(ph.Steps, plan.Admin("tables:"+name, operators.Admin{Kind: operators.EnsureTables, Service: name, Keyspaces: r.Keyspaces, Tables: r.Tables}, missing == "", blocked, missing, in.Observed))
		}
	}
	return ph
}

// missing says what of the things that are wanted is not there, or is not what it shall be.
func missing[T interface{ Differs(have T) string }](want []T, name func(T) string, have map[string]T) []string {
	var out []string
	for _, w := range want {
		if h, ok := have[name(w)]; !ok {
			out = append(out, name(w)+" is missing")
		} else if d := w.Differs(h); d != "" {
			out = append(out, name(w)+": "+d)
		}
	}
	return out
}

func topicsMissing(want []operators.Topic, f operators.Fact[map[string]operators.Topic]) string {
	if !f.Known {
		return "its topics are unknown: " + f.Reason()
	}
	return few(missing(want, func(t operators.Topic) string { return t.Name }, f.Value))
}

func tablesMissing(keyspaces []operators.Keyspace, tables []operators.Table, f operators.ServiceFacts) string {
	switch {
	case !f.Keyspaces.Known:
		return "its keyspaces are unknown: " + f.Keyspaces.Reason()
	case !f.Tables.Known:
		return "its tables are unknown: " + f.Tables.Reason()
	}
	var out []string
	for _, k := range keyspaces {
		if _, ok := f.Keyspaces.Value[k.Name]; !ok {
			out = append(out, "keyspace "+k.Name+" is missing")
		}
	}
	return few(append(out, missing(tables, operators.Table.ID, f.Tables.Value)...))
}

// few names at most three things, so that a line stays a line.
func few(all []string) string {
	if len(all) <= 3 {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:3], ", "), len(all)-3)
}

// scaleIn ends the workers beyond the size. All of them are drained at once, so that no slot moves twice; then the highest index is stopped
// first, and only while it is known to hold nothing: a slot is given up after a commit.
func scaleIn(spec operators.ServiceSpec, o operators.Observed) []plan.Phase {
	drain := plan.Phase{Name: "drain", Strategy: plan.Parallel}
	stop := plan.Phase{Name: "stop", Strategy: plan.Serial}
	for _, i := range beyond(spec, o) {
		pod := spec.PodName(i)
		d := drained(pod, o)
		s := plan.Stop(pod, o.Tasks[pod], fmt.Sprintf("the size is %d", spec.Size), o)
		if s.Status == plan.Pending && !d.Done {
			s.Status, s.Reason = plan.Waiting, "after its slots have moved"
		}
		drain.Steps, stop.Steps = append(drain.Steps, d), append(stop.Steps, s)
	}
	return []plan.Phase{drain, stop}
}

// DrainID is the step that moves a worker's slots away.
func DrainID(pod string) string { return pod + ":drain" }

// drained is the step that waits for a worker's slots to be elsewhere. The server moves them while it is not paused.
func drained(pod string, o operators.Observed) plan.Step {
	s := plan.Step{ID: DrainID(pod), Action: operators.Wait{For: "its slots to move to the workers that stay"}}
	w := o.Stream.Workers
	switch has := w.Value[pod]; {
	case !w.Known:
		s.Status, s.Reason = plan.Waiting, "whether it holds slots is unknown: "+w.Reason()
	case has.Awaited:
		s.Status, s.Reason = plan.Waiting, "its link is broken: whether it holds slots is unknown until it is back, or is no longer waited for"
	case has.Assigned > 0:
		s.Status, s.Reason = plan.Pending, fmt.Sprintf("%s assigned to it", slots(has.Assigned))
	case has.Holding > 0:
		s.Status, s.Reason = plan.Started, fmt.Sprintf("it commits and gives up %s", slots(has.Holding))
	default:
		s.Status, s.Done = plan.Complete, true
	}
	return s
}

func slots(n int) string {
	if n == 1 {
		return "1 slot"
	}
	return fmt.Sprintf("%d slots", n)
}

// beyond are the indexes of live pods that the size has no place for, highest first.
func beyond(spec operators.ServiceSpec, o operators.Observed) []int {
	var out []int
	for pod, t := range o.Tasks {
		if i, ok := Index(spec.Name, pod); ok && i >= spec.Size && t.Live() {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// Index is a pod's index in a service; false where it is none of the service's.
func Index(service, pod string) (int, bool) {
	rest, ok := strings.CutPrefix(pod, service+"-")
	n, err := strconv.Atoi(rest)
	return n, ok && err == nil && n >= 0
}
