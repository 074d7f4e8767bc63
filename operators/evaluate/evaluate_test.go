package evaluate

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// parse reads lines such as "cpus 4", "mem 4096", "ports 20000-20009", "addresses 127.20.0.1,127.20.0.2", each followed by "for POD" where
// it is reserved, "port NAME" for a port's label, "volume ID" for a persistent volume.
func parse(t *testing.T, text string) resources.Resources {
	t.Helper()
	var out resources.Resources
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(line)
		r := resources.Resource{Name: f[0]}
		switch f[0] {
		case resources.Ports:
			for _, part := range strings.Split(f[1], ",") {
				from, to, ok := strings.Cut(part, "-")
				if !ok {
					to = from
				}
				r.Ranges = append(r.Ranges, resources.Range{Begin: uint16(number(t, from)), End: uint16(number(t, to))})
			}
		case resources.Addresses:
			r.Set = strings.Split(f[1], ",")
		default:
			v, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			r.Scalar = resources.Milli(v * 1000)
		}
		for i := 2; i+1 < len(f); i += 2 {
			switch f[i] {
			case "for":
				r.Reservation = &resources.Reservation{Role: "smack/" + f[i+1][:strings.LastIndexByte(f[i+1], '-')], Labels: map[string]string{operators.LabelPod: f[i+1]}}
			case "port":
				r.Reservation.Labels[operators.LabelPort] = f[i+1]
			case "volume":
				r.Volume = &resources.Volume{ID: f[i+1], Path: "data"}
			default:
				t.Fatalf("unknown word %q in %q", f[i], line)
			}
		}
		out = append(out, r)
	}
	return out
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func show(all resources.Resources) string {
	var parts []string
	for _, r := range all {
		s := ""
		switch {
		case r.Name == resources.Ports:
			s = "ports " + ranges(r.Ranges)
		case r.Name == resources.Addresses:
			s = "addresses " + strings.Join(r.Set, ",")
		default:
			s = amount(r.Name, r.Scalar)
		}
		if r.Reservation != nil {
			s += " for " + r.Reservation.Labels[operators.LabelPod]
		}
		if r.Volume != nil {
			s += " volume " + r.Volume.ID
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

func pods() map[string]operators.PodSpec {
	return map[string]operators.PodSpec{
		"broker": {Stack: "smack", Service: "events", CPUs: 200, MemMiB: 512, DiskMiB: 1024, Volume: "data", Ports: []operators.Port{{Name: "client"}, {Name: "controller"}}},
		"fixed":  {Stack: "smack", Service: "events", CPUs: 200, MemMiB: 512, DiskMiB: 1024, Volume: "data", Ports: []operators.Port{{Name: "controller"}, {Name: "client", Number: 20000}}},
		"node":   {Stack: "smack", Service: "serving", CPUs: 300, MemMiB: 1024, DiskMiB: 1024, Volume: "data", Address: true, Ports: []operators.Port{{Name: "client", Number: 9042, OnAddress: true}}},
		"worker": {Stack: "smack", Service: "workers", CPUs: 100, MemMiB: 256},
		"huge":   {Stack: "smack", Service: "workers", CPUs: 100, MemMiB: 40000},
		"bigger": {Stack: "smack", Service: "events", CPUs: 200, MemMiB: 768, DiskMiB: 1024, Volume: "data"},
	}
}

func TestOffersAreAnsweredWithOperationsOrReasons(t *testing.T) {
	datadriven.RunTest(t, "testdata/offers", func(t *testing.T, d *datadriven.TestData) string {
		agent, pod, at := "a1", "", ""
		d.MaybeScanArgs(t, "agent", &agent)
		d.MaybeScanArgs(t, "at", &at)
		d.ScanArgs(t, "pod", &pod)
		spec, ok := pods()[pod]
		if !ok {
			t.Fatalf("no pod %q", pod)
		}
		if d.Cmd == "fits" {
			err := Fits([]resources.AgentInfo{{ID: resources.AgentID(agent), Resources: parse(t, d.Input)}}, spec)
			if err == nil {
				return "fits\n"
			}
			return fmt.Sprintf("exit %d: %v\n", fault.ExitCode(err), err)
		}
		out := Offer(resources.Offer{Agent: resources.AgentID(agent), Resources: parse(t, d.Input)}, Request{Pod: spec, At: operators.Placement{Agent: resources.AgentID(at)}})
		if !out.Fits {
			return out.Reasons.String()
		}
		var b strings.Builder
		for _, op := range out.Operations {
			fmt.Fprintf(&b, "%s %s\n", op.Type, show(op.Resources))
		}
		fmt.Fprintf(&b, "launch at %s %v with %s\n", out.Placement.Address, out.Placement.Ports, show(out.Take))
		return b.String()
	})
}

func TestNothingIsTakenThatWasNotOfferedAndNothingIsLost(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		offer := resources.Offer{Agent: "a1", Resources: resources.Resources{
			{Name: resources.CPUs, Scalar: resources.Milli(rapid.IntRange(0, 1000).Draw(r, "cpus"))},
			{Name: resources.Mem, Scalar: resources.Milli(rapid.IntRange(0, 3000).Draw(r, "mem") * 1000)},
			{Name: resources.Mem, Scalar: resources.Milli(rapid.IntRange(0, 600).Draw(r, "reserved") * 1000), Reservation: &resources.Reservation{Role: "smack/events", Labels: map[string]string{operators.LabelPod: "events-0"}}},
			{Name: resources.Disk, Scalar: resources.Milli(rapid.IntRange(0, 3000).Draw(r, "disk") * 1000)},
			{Name: resources.Ports, Ranges: []resources.Range{{Begin: 20000, End: uint16(20000 + rapid.IntRange(0, 3).Draw(r, "ports"))}}},
			{Name: resources.Addresses, Set: []string{"127.20.0.1"}},
		}}
		names := []string{"broker", "fixed", "node", "worker", "bigger"}
		before := totals(offer.Resources)
		out := Offer(offer, Request{Pod: pods()[rapid.SampledFrom(names).Draw(r, "pod")]})
		if got := totals(offer.Resources); !slices.Equal(got, before) {
			r.Fatalf("the offer was changed from %v to %v", before, got)
		}
		if !out.Fits {
			if len(out.Reasons.Under) == 0 {
				r.Fatal("it does not fit, and no reason is given")
			}
			return
		}
		if got := totals(append(slices.Clone(out.Left), out.Take...)); !slices.Equal(got, before) {
			r.Fatalf("taken and left make %v of %v\ntaken %s\nleft %s", got, before, show(out.Take), show(out.Left))
		}
	})
}

// totals are cpus, mem, disk, ports, addresses.
func totals(all resources.Resources) []int64 {
	out := make([]int64, 5)
	for _, r := range all {
		switch r.Name {
		case resources.CPUs:
			out[0] += int64(r.Scalar)
		case resources.Mem:
			out[1] += int64(r.Scalar)
		case resources.Disk:
			out[2] += int64(r.Scalar)
		case resources.Ports:
			for _, p := range r.Ranges {
				out[3] += int64(p.End) - int64(p.Begin) + 1
			}
		case resources.Addresses:
			out[4] += int64(len(r.Set))
		}
	}
	return out
}

func TestASecondPodUsesWhatTheFirstLeft(t *testing.T) {
	offer := resources.Offer{Agent: "a1", Resources: parse(t, "cpus 1\nmem 600")}
	first := Offer(offer, Request{Pod: pods()["worker"]})
	offer.Resources = first.Left
	second := Offer(offer, Request{Pod: pods()["worker"]})
	offer.Resources = second.Left
	third := Offer(offer, Request{Pod: pods()["worker"]})
	if !first.Fits || !second.Fits || third.Fits {
		t.Fatalf("600 MiB hold two workers of 256: got %v %v %v", first.Fits, second.Fits, third.Fits)
	}
}

func TestBestNamesTheReasonsOfEachOffer(t *testing.T) {
	offers := []resources.Offer{{Agent: "a1", Resources: parse(t, "cpus 1\nmem 100")}, {Agent: "a2", Resources: parse(t, "cpus 1\nmem 200")}}
	out, i := Best(offers, Request{Pod: pods()["worker"]})
	if out.Fits || i != -1 || len(out.Reasons.Under) != 2 {
		t.Fatalf("got %+v, %d", out, i)
	}
	offers = append(offers, resources.Offer{Agent: "a3", Resources: parse(t, "cpus 1\nmem 300")})
	if out, i = Best(offers, Request{Pod: pods()["worker"]}); !out.Fits || i != 2 {
		t.Fatalf("the third offer fits: got %v, %d", out.Fits, i)
	}
}

func TestAPlacementIsReadFromWhatATaskHolds(t *testing.T) {
	pod := pods()["node"]
	out := Offer(resources.Offer{Agent: "a1", Resources: parse(t, "cpus 1\nmem 2000\ndisk 2000\naddresses 127.20.0.7,127.20.0.8")}, Request{Pod: pod})
	if !out.Fits {
		t.Fatal(out.Reasons)
	}
	at, ok := PlacementOf("a1", out.Take, pod.Role(), pod.Name())
	if at = Complete(at, pod); !ok || at.Address != out.Placement.Address || at.Ports["client"] != 9042 || at.Volume != pod.VolumeID() {
		t.Fatalf("got %+v, %v", at, ok)
	}
	if _, ok := PlacementOf("a1", out.Take, "smack/other", pod.Name()); ok {
		t.Fatal("another role's reservation is taken for the pod's")
	}
	var nofit *fault.Error
	if err := Fits(nil, pod); !errors.As(err, &nofit) || fault.ExitCode(err) != fault.ExitNoFit {
		t.Fatalf("no agents: %v", err)
	}
}
