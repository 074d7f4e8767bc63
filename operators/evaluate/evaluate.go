package evaluate

import (
	"fmt"
	"strings"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// Request is a pod that wants to be launched, and where its reservation is, if it was seen anywhere.
type Request struct {
	Pod operators.PodSpec
	At  operators.Placement // the zero value: no reservation is known
}

// Reason is one cause, or a group of them under a heading.
type Reason struct {
	Text  string   `json:"text"`
	Under []Reason `json:"under,omitempty"`
}

// String prints the tree, one cause a line, indented.
func (r Reason) String() string {
	var b strings.Builder
	r.print(&b, 0)
	return b.String()
}

func (r Reason) print(b *strings.Builder, depth int) {
	fmt.Fprintf(b, "%s%s\n", strings.Repeat("  ", depth), r.Text)
	for _, u := range r.Under {
		u.print(b, depth+1)
	}
}

// Line is the tree on one line.
func (r Reason) Line() string {
	if len(r.Under) == 0 {
		return r.Text
	}
	parts := make([]string, len(r.Under))
	for i, u := range r.Under {
		parts[i] = u.Line()
	}
	return r.Text + ": " + strings.Join(parts, "; ")
}

// Outcome is the answer. Where it fits, Operations come before the launch in the accept, Take is what the task holds, and Left is what the
// next pod may be evaluated against in the same accept. Where it does not, Reasons says why.
type Outcome struct {
	Fits       bool
	Agent      resources.AgentID
	Operations []resources.Operation
	Placement  operators.Placement
	Take       resources.Resources
	Left       resources.Resources
	Reasons    Reason
}

// Launch is the operations of the accept: reserve and create where they are needed, then the launch.
func (o Outcome) Launch(task resources.TaskInfo) []resources.Operation {
	return append(append([]resources.Operation(nil), o.Operations...), resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{task}})
}

// loopback is the address of a pod without one of its own.
const loopback = "127.0.0.1"

// Offer evaluates one pod against one offer.
func Offer(o resources.Offer, r Request) Outcome {
	e := &evaluation{offer: o, pod: r.Pod, left: clone(o.Resources), place: operators.Placement{
		Agent: o.Agent, Address: loopback, Ports: map[string]int{}, Volume: r.Pod.VolumeID(),
	}}
	if why := e.elsewhere(r.At); why != "" {
		return e.refuse(Reason{Text: why})
	}
	e.scalar(resources.CPUs, r.Pod.CPUs)
	e.scalar(resources.Mem, resources.Milli(r.Pod.MemMiB*1000))
	e.disk()
	e.address()
	e.ports()
	if len(e.reasons) > 0 {
		return e.refuse(e.reasons...)
	}
	return Outcome{Fits: true, Agent: o.Agent, Operations: e.operations(), Placement: e.place, Take: e.take, Left: e.left}
}

type evaluation struct {
	offer   resources.Offer
	pod     operators.PodSpec
	left    resources.Resources // of the offer
	take    resources.Resources
	reserve resources.Resources // what the reservation lacks
	create  resources.Resources
	place   operators.Placement
	reasons []Reason
}

func (e *evaluation) refuse(under ...Reason) Outcome {
	return Outcome{Agent: e.offer.Agent, Reasons: Reason{Text: fmt.Sprintf("%s does not fit on agent %s", e.pod.Name(), e.offer.Agent), Under: under}}
}

func (e *evaluation) miss(format string, args ...any) {
	e.reasons = append(e.reasons, Reason{Text: fmt.Sprintf(format, args...)})
}

// elsewhere: a pod with a reservation goes nowhere but to it, or it would come up without its data (I3).
func (e *evaluation) elsewhere(at operators.Placement) string {
	if !e.pod.Stateful() || at.Agent == "" {
		return ""
	}
	if at.Agent != e.offer.Agent {
		return fmt.Sprintf("its volume and reservation are on agent %s, this is an offer of agent %s", at.Agent, e.offer.Agent)
	}
	for _, r := range e.offer.Resources {
		if e.mine(r) {
			return ""
		}
	}
	return fmt.Sprintf("its reservation on agent %s is not in this offer (a task of it may still hold it)", at.Agent)
}

func (e *evaluation) operations() []resources.Operation {
	var ops []resources.Operation
	if len(e.reserve) > 0 {
		ops = append(ops, resources.Operation{Type: resources.Reserve, Resources: e.reserve})
	}
	if len(e.create) > 0 {
		ops = append(ops, resources.Operation{Type: resources.Create, Resources: e.create})
	}
	return ops
}

// mine reports whether a resource is reserved for this pod.
func (e *evaluation) mine(r resources.Resource) bool {
	return r.Reservation != nil && r.Reservation.Role == e.pod.Role() && r.Reservation.Labels[operators.LabelPod] == e.pod.Name()
}

func (e *evaluation) reservation(port string) *resources.Reservation {
	labels := map[string]string{operators.LabelPod: e.pod.Name()}
	if port != "" {
		labels[operators.LabelPort] = port
	}
	return &resources.Reservation{Role: e.pod.Role(), Labels: labels}
}

// keep books a resource that was unreserved: reserved for the pod where it is stateful.
func (e *evaluation) keep(r resources.Resource, port string) {
	if e.pod.Stateful() {
		r.Reservation = e.reservation(port)
		e.reserve = append(e.reserve, r)
	}
	e.take = append(e.take, r)
}

// scalar takes an amount: first what is reserved for the pod, then what nobody has.
func (e *evaluation) scalar(name string, need resources.Milli) {
	if need <= 0 {
		return
	}
	reserved := e.sum(name, e.mine)
	free := e.sum(name, unreserved)
	if reserved+free < need {
		e.miss("needs %s, agent %s offers %s%s", amount(name, need), e.offer.Agent, amount(name, reserved+free), e.heldBy(name))
		return
	}
	fromReserved := min(need, reserved)
	if fromReserved > 0 {
		e.take = append(e.take, resources.Resource{Name: name, Scalar: fromReserved, Reservation: e.reservation("")})
		e.subtract(name, fromReserved, e.mine)
	}
	if more := need - fromReserved; more > 0 {
		e.subtract(name, more, unreserved)
		e.keep(resources.Resource{Name: name, Scalar: more}, "")
		e.take = merged(e.take)
	}
}

// heldBy explains a shortage that others' reservations cause.
func (e *evaluation) heldBy(name string) string {
	held := e.sum(name, func(r resources.Resource) bool { return r.Reservation != nil && !e.mine(r) })
	if held == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s more are reserved for others)", amount(name, held))
}

func (e *evaluation) sum(name string, which func(resources.Resource) bool) resources.Milli {
	var total resources.Milli
	for _, r := range e.left {
		if r.Name == name && r.Volume == nil && which(r) {
			total += r.Scalar
		}
	}
	return total
}

func (e *evaluation) subtract(name string, n resources.Milli, which func(resources.Resource) bool) {
	for i := range e.left {
		r := &e.left[i]
		if r.Name != name || r.Volume != nil || !which(*r) {
			continue
		}
		part := min(n, r.Scalar)
		r.Scalar -= part
		n -= part
	}
}

// disk: a persistent volume that is there is taken whole; one that is not is reserved and created.
func (e *evaluation) disk() {
	need := resources.Milli(e.pod.DiskMiB * 1000)
	if e.pod.Volume == "" {
		e.scalar(resources.Disk, need)
		return
	}
	for i, r := range e.left {
		if r.Name != resources.Disk || r.Volume == nil || r.Volume.ID != e.pod.VolumeID() || !e.mine(r) {
			continue
		}
		// A volume does not grow; a wish for more is said by the plan, and never a reason to come up without the data.
		e.take = append(e.take, r)
		e.left = append(e.left[:i:i], e.left[i+1:]...)
		return
	}
	free := e.sum(resources.Disk, unreserved)
	reserved := e.sum(resources.Disk, e.mine) // reserved, and the accept died before it was created
	if free+reserved < need {
		e.miss("needs %s for its volume, agent %s offers %s%s", amount(resources.Disk, need), e.offer.Agent, amount(resources.Disk, free+reserved), e.heldBy(resources.Disk))
		return
	}
	e.subtract(resources.Disk, min(need, reserved), e.mine)
	if more := need - reserved; more > 0 {
		e.subtract(resources.Disk, more, unreserved)
		e.reserve = append(e.reserve, resources.Resource{Name: resources.Disk, Scalar: more, Reservation: e.reservation("")})
	}
	v := resources.Resource{Name: resources.Disk, Scalar: need, Reservation: e.reservation(""), Volume: &resources.Volume{ID: e.pod.VolumeID(), Path: e.pod.Volume}}
	e.create = append(e.create, v)
	e.take = append(e.take, v)
}

func (e *evaluation) address() {
	if !e.pod.Address {
		return
	}
	for _, which := range []func(resources.Resource) bool{e.mine, unreserved} {
		for i := range e.left {
			r := &e.left[i]
			if r.Name != resources.Addresses || len(r.Set) == 0 || !which(*r) {
				continue
			}
			e.place.Address = r.Set[0]
			took := resources.Resource{Name: resources.Addresses, Set: []string{r.Set[0]}, Reservation: r.Reservation}
			r.Set = r.Set[1:]
			if took.Reservation != nil {
				e.take = append(e.take, took)
			} else {
				e.keep(took, "")
			}
			return
		}
	}
	e.miss("needs an address of its own, agent %s offers none", e.offer.Agent)
}

func unreserved(r resources.Resource) bool { return r.Reservation == nil }
