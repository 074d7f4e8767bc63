package kafka

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
)

// inFlight bounds how many partitions are copied at the same time.
const inFlight = 16

// The stable ids of a broker's steps beside launch, ready and stop, and of those of the whole.
func cordonID(pod string) string     { return pod + ":cordon" }
func uncordonID(pod string) string   { return pod + ":uncordon" }
func drainID(pod string) string      { return pod + ":drain" }
func unregisterID(pod string) string { return pod + ":unregister" }

const (
	spreadID  = "spread"
	leadersID = "leaders"
)

// leaving are the brokers that are and shall not be, the highest first: those with a task that may run, a registration or a replica. Where it
// is unknown what is registered, those with any trace of a task are taken for leaving, so that no plan seems complete.
func (d decision) leaving() []int {
	found := map[int]bool{}
	for pod, t := range d.o.Tasks {
		if i, ok := d.index(pod); ok && (t.Live() || !d.f.Registered.Known) {
			found[i] = true
		}
	}
	for id, a := range d.o.Attempts {
		if pod, launch := strings.CutSuffix(id, plan.LaunchID("")); launch {
			if i, ok := d.index(pod); ok && (a.Unheard(d.o.Tasks[pod]) || a.Total > 0 && !d.f.Registered.Known) {
				found[i] = true
			}
		}
	}
	for id := range d.f.Registered.Value {
		found[id] = true
	}
	for _, p := range d.f.Partitions.Value {
		for _, id := range p.Replicas {
			found[id] = true
		}
	}
	var out []int
	for id := range found {
		if id >= d.spec.Size {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b int) int { return b - a })
	return out
}

func (d decision) index(pod string) (int, bool) {
	text, ok := strings.CutPrefix(pod, d.spec.Name+"-")
	i, err := strconv.Atoi(text)
	return i, ok && err == nil && d.spec.PodName(i) == pod
}

// drain is the phase that empties those that leave. All are cordoned before any is emptied, and nothing moves to one of them.
func (d decision) drain(leaving []int) plan.Phase {
	phase := plan.Phase{Name: "drain", Strategy: plan.Serial}
	for _, id := range leaving {
		phase.Steps = append(phase.Steps, d.cordon(id))
	}
	for _, id := range leaving {
		phase.Steps = append(phase.Steps, d.empty(id))
	}
	return phase
}

// holds counts the replicas of a broker, those that move included; -1: unknown.
func (d decision) holds(id int) int {
	if !d.f.Partitions.Known {
		return -1
	}
	n := 0
	for _, p := range d.f.Partitions.Value {
		if slices.Contains(p.Replicas, id) {
			n++
		}
	}
	return n
}

// back brings a broker back that died with replicas on it: without it they cannot be copied. It runs what it ran.
func (d decision) back(id int) []plan.Step {
	pod := d.spec.PodName(id)
	task := d.o.Tasks[pod]
	if d.holds(id) == 0 {
		return nil
	}
	if up, _ := answers(d.f, id); up && task.Live() {
		return nil
	}
	if task.Live() {
		return []plan.Step{d.ready(id, true)}
	}
	if d.holds(id) < 0 {
		return nil // the steps after it wait on what is unknown
	}
	steps := plan.Pod(d.spec, id, d.o, Pod)
	return append(steps, d.ready(id, steps[len(steps)-1].Done))
}

// short says why those that stay cannot hold all replicas; empty when they can. CheckSize refuses such a size; one that was stored all the same, or
// was right when it was, begins nothing.
func (d decision) short() string {
	why := tooFew(d.f.Partitions.Value, d.spec.Size)
	if why != "" {
		why += fmt.Sprintf("; the least is weir scale %s/%s=%d", d.spec.Stack, d.spec.Name, replication(d.f.Partitions.Value))
	}
	return why
}

// cordoned is what is known of a broker's cordon.
func (d decision) cordoned(id int) operators.Fact[bool] {
	if !d.f.Registered.Known {
		return operators.Unknown[bool](d.f.Registered.Reason())
	}
	b, ok := d.f.Registered.Value[id]
	if !ok {
		return operators.Unknown[bool](fmt.Sprintf("broker %d is not registered", id))
	}
	return b.Cordoned
}

// cordon is asked on every pass: a cordon that somebody lifts in the middle of the drain is laid again before anything else moves.
func (d decision) cordon(id int) plan.Step {
	pod := d.spec.PodName(id)
	c, action := d.cordoned(id), operators.Admin{Kind: operators.CordonBroker, Service: d.spec.Name, Broker: id}
	_, there := d.f.Registered.Value[id]
	gone := d.holds(id) == 0 && (!d.o.Tasks[pod].Live() || d.f.Registered.Known && !there)
	done := gone || c.Known && c.Value
	missing, before := "new replicas may still be placed on it", d.o.Attempts[cordonID(pod)]
	if before.Total > 0 && before.Failures == 0 && before.At.After(d.o.Attempts[uncordonID(pod)].At) && c.Known && c.At.After(before.At) {
		missing = "it was cordoned and is no longer: somebody lifted it; it is cordoned again"
	}
	blocked := d.short()
	if !c.Known {
		blocked = "whether it is cordoned is unknown: " + c.Reason()
	}
	return plan.Admin(cordonID(pod), action, done, blocked, missing, d.o)
}

func (d decision) uncordon(id int, ready bool) plan.Step {
	c, pod := d.cordoned(id), d.spec.PodName(id)
	blocked := ""
	switch {
	case !ready:
		blocked = "after the broker answers"
	case !c.Known:
		blocked = "whether it is cordoned is unknown: " + c.Reason()
	}
	action := operators.Admin{Kind: operators.UncordonBroker, Service: d.spec.Name, Broker: id}
	step := plan.Admin(uncordonID(pod), action, blocked == "" && !c.Value, blocked, "it is cordoned and shall serve", d.o)
	if !c.Value {
		step.Action = operators.Wait{For: "the broker to say that it is not cordoned"} // no change that a plan should announce
	}
	return step
}

// empty is the step that moves every replica off a broker, a bounded number of partitions at a time.
func (d decision) empty(id int) plan.Step {
	left := d.holds(id)
	step, blocked := drainID(d.spec.PodName(id)), ""
	if c := d.cordoned(id); !c.Known || !c.Value {
		blocked = "after its cordon"
	}
	return d.moving(step, left == 0, blocked, fmt.Sprintf("%d replicas are on it", left), func(p operators.Partition) bool { return slices.Contains(p.Goal(), id) })
}

// moving is a step that moves replicas of the partitions that which picks, those of the next batch.
func (d decision) moving(id string, done bool, blocked, missing string, which func(operators.Partition) bool) plan.Step {
	a := operators.Admin{Kind: operators.MoveReplicas, Service: d.spec.Name}
	f := d.f.Partitions
	if !f.Known {
		return plan.Admin(id, a, false, "where the replicas are is unknown: "+f.Reason(), "", d.o)
	}
	if done {
		return plan.Admin(id, a, true, "", "", d.o)
	}
	all, err := Spread(f.Value, d.stay())
	if err != nil {
		return plan.Admin(id, a, false, d.short(), "", d.o)
	}
	under := 0
	for _, p := range f.Value {
		if p.Moving() {
			under++
		}
	}
	a.Moves = batch(f.Value, all, which, inFlight-under)
	step := plan.Admin(id, a, false, blocked, missing, d.o)
	switch {
	case blocked != "":
		return step
	case d.o.Attempts[id].At.After(f.At):
		// Asked for, and not looked at since: what would be moved now may be on its way.
		step.Status, step.Reason = plan.Prepared, missing
	case len(a.Moves) == 0 && under > 0:
		step.Status = plan.Starting
	}
	if under > 0 && step.Status != plan.Delayed {
		step.Reason = fmt.Sprintf("%s, %s being copied", missing, partitionsAre(under))
	}
	return step
}

// partitionsAre counts partitions of which something is said.
func partitionsAre(n int) string {
	if n == 1 {
		return "1 partition is"
	}
	return fmt.Sprintf("%d partitions are", n)
}

// batch are the first n moves of partitions that are to be moved for the step's sake. One that is being copied is left to come to its end, whatever is
// wanted of it now: Kafka 4.3.1 keeps the broker that it was to be added to when a reassignment is replaced by one back to where it came from, lists
// it as both adding and removing, and never ends it.
func batch(all []operators.Partition, moves []operators.Move, which func(operators.Partition) bool, n int) []operators.Move {
	picked := map[string]bool{}
	moving := map[string]bool{}
	for _, p := range all {
		picked[p.Name()], moving[p.Name()] = which(p), p.Moving()
	}
	var out []operators.Move
	for _, m := range moves {
		name := operators.Partition{Topic: m.Topic, Index: m.Partition}.Name()
		switch {
		case !picked[name]:
		case moving[name]:
		case n > 0:
			out = append(out, m)
			n--
		}
	}
	return out
}

// remove is the phase that stops the empty ones and unregisters them. UnregisterBroker refuses nothing, so that is done here (I5).
func (d decision) remove(leaving []int) plan.Phase {
	phase := plan.Phase{Name: "remove", Strategy: plan.Serial}
	for _, id := range leaving {
		pod := d.spec.PodName(id)
		task := d.o.Tasks[pod]
		why := d.notEmpty(id)
		stop := plan.Stop(pod, task, "the service has "+brokersText(d.spec.Size)+" now", d.o)
		if d.o.Attempts[plan.LaunchID(pod)].Unheard(task) {
			stop.Done, stop.Status, stop.Reason = false, plan.Waiting, "a launch of it is not heard of yet"
		} else if why != "" && !stop.Done {
			stop.Status, stop.Reason = plan.Waiting, why
		}
		if why == "" && !stop.Done {
			why = "after its end"
		}
		_, there := d.f.Registered.Value[id]
		phase.Steps = append(phase.Steps, stop, plan.Admin(unregisterID(pod), operators.Admin{Kind: operators.UnregisterBroker, Service: d.spec.Name, Broker: id},
			d.f.Registered.Known && !there && stop.Done, why, "it is registered", d.o))
	}
	return phase
}

// notEmpty says why a broker may not be stopped and unregistered; empty when it may.
func (d decision) notEmpty(id int) string {
	switch left := d.holds(id); {
	case left < 0:
		return "what is on it is unknown: " + d.f.Partitions.Reason()
	case left > 0:
		return fmt.Sprintf("%d replicas are on it", left)
	case !d.f.Registered.Known:
		return "whether it is registered is unknown: " + d.f.Registered.Reason()
	case !d.f.Quorum.Known:
		return "whether it votes in the controllers' quorum is unknown: " + d.f.Quorum.Reason()
	case slices.Contains(d.f.Quorum.Value.Voters, id):
		return "it votes in the controllers' quorum, and must leave that first"
	}
	return ""
}

// spread is the phase that gives a broker that is new its share.
func (d decision) spread() plan.Phase {
	f := d.f.Partitions
	why, under := "", 0
	if f.Known {
		why = uneven(f.Value, d.stay())
		for _, p := range f.Value {
			if p.Moving() {
				under++
			}
		}
	}
	if why == "" && under > 0 {
		why = "replicas move"
	}
	spread := d.moving(spreadID, why == "", "", why, func(operators.Partition) bool { return true })
	return plan.Phase{Name: "spread", Strategy: plan.Serial, Steps: []plan.Step{spread, d.leaders(spread.Done)}}
}

// leaders is the step that gives leadership back to the first replica of each partition, where that one is in sync.
func (d decision) leaders(after bool) plan.Step {
	a := operators.Admin{Kind: operators.ElectLeaders, Service: d.spec.Name}
	for _, p := range d.f.Partitions.Value {
		if len(p.Replicas) > 0 && p.Leader != p.Replicas[0] && slices.Contains(p.ISR, p.Replicas[0]) && !p.Moving() {
			a.Moves = append(a.Moves, operators.Move{Topic: p.Topic, Partition: p.Index, Replicas: p.Replicas})
		}
	}
	blocked := ""
	if !d.f.Partitions.Known {
		blocked = "who leads is unknown: " + d.f.Partitions.Reason()
	} else if !after {
		blocked = "after the replicas are spread"
	}
	return plan.Admin(leadersID, a, blocked == "" && len(a.Moves) == 0, blocked, partitionsAre(len(a.Moves))+" not led by their first replica", d.o)
}
