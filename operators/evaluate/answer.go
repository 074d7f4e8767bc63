package evaluate

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// Best evaluates a pod against all offers and returns the first that fits. Where none does, its outcome holds the reasons of each.
func Best(offers []resources.Offer, r Request) (Outcome, int) {
	var under []Reason
	for i, o := range offers {
		out := Offer(o, r)
		if out.Fits {
			return out, i
		}
		under = append(under, out.Reasons)
	}
	text := fmt.Sprintf("%s fits in none of %d offers", r.Pod.Name(), len(offers))
	if len(offers) == 0 {
		text = fmt.Sprintf("%s waits for an offer", r.Pod.Name())
	}
	return Outcome{Reasons: Reason{Text: text, Under: under}}, -1
}

// Fits asks, before anything is done, whether the pod could be launched on any of the agents if they were empty. The error is of exit
// code 6 and names the largest amount seen of what is missing. Reservations for the pod's own role and pod do count as empty.
func Fits(agents []resources.AgentInfo, pod operators.PodSpec) error {
	var reasons []Reason
	for _, a := range agents {
		out := Offer(resources.Offer{Agent: a.ID, Resources: empty(a.Resources)}, Request{Pod: pod})
		if out.Fits {
			return nil
		}
		reasons = append(reasons, out.Reasons.Under...)
	}
	causes := make([]string, len(reasons))
	for i, r := range reasons {
		causes[i] = r.Line()
	}
	if len(agents) == 0 {
		causes = []string{"no agent is registered"}
	}
	return fault.NoFit("E-NOFIT", "place", pod.Name(),
		fault.Causef("it does not fit on any agent (%s); the largest seen: %s", strings.Join(causes, "; "), largest(agents)),
		fault.Hintf("lower what service %q asks for, or add an agent", pod.Service))
}

// empty is an agent's resources as if nothing were reserved. Volumes give back their disk.
func empty(all resources.Resources) resources.Resources {
	out := clone(all)
	for i := range out {
		out[i].Reservation, out[i].Volume = nil, nil
	}
	return merged(out)
}

func largest(agents []resources.AgentInfo) string {
	best := map[string]resources.Milli{}
	for _, a := range agents {
		sum := map[string]resources.Milli{}
		for _, r := range a.Resources {
			sum[r.Name] += r.Scalar
		}
		for name, n := range sum {
			best[name] = max(best[name], n)
		}
	}
	var parts []string
	for _, name := range []string{resources.CPUs, resources.Mem, resources.Disk} {
		parts = append(parts, amount(name, best[name]))
	}
	return strings.Join(parts, ", ")
}

// amount prints "mem 40000 MiB" or "cpus 0.2".
func amount(name string, n resources.Milli) string {
	s := name + " " + strconv.FormatFloat(float64(n)/1000, 'f', -1, 64)
	if name == resources.Mem || name == resources.Disk {
		s += " MiB"
	}
	return s
}

func clone(all resources.Resources) resources.Resources {
	out := make(resources.Resources, len(all))
	for i, r := range all {
		r.Ranges = append([]resources.Range(nil), r.Ranges...)
		r.Set = append([]string(nil), r.Set...)
		out[i] = r
	}
	return out
}

// merged joins scalars of the same name and reservation, so that a task does not hold "mem 100 + mem 28".
func merged(all resources.Resources) resources.Resources {
	var out resources.Resources
next:
	for _, r := range all {
		for i := range out {
			if r.Scalar != 0 && r.Volume == nil && out[i].Volume == nil && out[i].Name == r.Name && sameReservation(out[i].Reservation, r.Reservation) {
				out[i].Scalar += r.Scalar
				continue next
			}
		}
		out = append(out, r)
	}
	return out
}

func sameReservation(a, b *resources.Reservation) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Role != b.Role || len(a.Labels) != len(b.Labels) {
		return false
	}
	for k, v := range a.Labels {
		if b.Labels[k] != v {
			return false
		}
	}
	return true
}

// PlacementOf reads a pod's placement from what an agent or a task holds; false where nothing of it is reserved for the pod.
func PlacementOf(agent resources.AgentID, all resources.Resources, role, pod string) (operators.Placement, bool) {
	at := operators.Placement{Agent: agent, Address: loopback, Ports: map[string]int{}}
	found := false
	for _, r := range all {
		if r.Reservation == nil || r.Reservation.Role != role || r.Reservation.Labels[operators.LabelPod] != pod {
			continue
		}
		found = true
		switch {
		case r.Name == resources.Addresses && len(r.Set) > 0:
			at.Address = r.Set[0]
		case r.Name == resources.Ports && len(r.Ranges) > 0:
			at.Ports[r.Reservation.Labels[operators.LabelPort]] = int(r.Ranges[0].Begin)
		case r.Volume != nil:
			at.Volume = r.Volume.ID
		}
	}
	return at, found
}

// Complete adds to a placement what its pod has without a reservation: ports that stand on the pod's own address.
func Complete(at operators.Placement, pod operators.PodSpec) operators.Placement {
	ports := map[string]int{}
	for k, v := range at.Ports {
		ports[k] = v
	}
	for _, p := range pod.Ports {
		if p.OnAddress {
			ports[p.Name] = p.Number
		}
	}
	at.Ports = ports
	return at
}
