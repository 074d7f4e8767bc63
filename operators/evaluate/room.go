package evaluate

import (
	"fmt"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// FitsAll asks, before anything is done, whether n pods like one find room beside others if the agents were empty. It counts cpus and memory
// over all agents together, so that it refuses only what can never be: where each offer is too small in the end, the step waits and says so. (Disk is
// left to the offers: what an agent has free shrinks with the data of the volumes that are there.) The error is of exit code 6 and says
// how many there is room for.
func FitsAll(agents []resources.AgentInfo, beside []operators.PodSpec, pod operators.PodSpec, n int) error {
	have := map[string]resources.Milli{}
	for _, a := range agents {
		for _, r := range a.Resources {
			have[r.Name] += r.Scalar
		}
	}
	taken := map[string]resources.Milli{}
	for _, p := range beside {
		for name, amount := range needs(p) {
			taken[name] += amount
		}
	}
	need, room, scarce := needs(pod), n, ""
	for _, name := range []string{resources.CPUs, resources.Mem} {
		if need[name] <= 0 {
			continue
		}
		if fit := int(max(0, have[name]-taken[name]) / need[name]); fit < room {
			room, scarce = fit, name
		}
	}
	if room >= n {
		return nil
	}
	parts := []string{fmt.Sprintf("%s of %s need %s", fault.Count(n, "pod"), amount(scarce, need[scarce]), amount(scarce, need[scarce]*resources.Milli(n)))}
	parts = append(parts, "the agents have "+amount(scarce, have[scarce]))
	if taken[scarce] > 0 {
		parts = append(parts, "other services take "+amount(scarce, taken[scarce]))
	}
	hint := fmt.Sprintf("at most %d fit; lower what other services or each pod ask for, or add an agent", room)
	return fault.NoFit("E-NOFIT", "place", fmt.Sprintf("service %s of size %d", pod.Service, n), fault.Causef("there is room for %d (%s)", room, strings.Join(parts, ", ")), fault.Hint(hint))
}

// needs are the scalar amounts of a pod.
func needs(p operators.PodSpec) map[string]resources.Milli {
	return map[string]resources.Milli{resources.CPUs: p.CPUs, resources.Mem: resources.Whole(p.MemMiB)}
}
