package evaluate

import (
	"strings"
	"testing"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

func TestManyPodsAreRefusedWithTheNumbersWhereThereIsRoomForFewer(t *testing.T) {
	agents := []resources.AgentInfo{{ID: "a", Resources: parse(t, "cpus 2\nmem 4000")}, {ID: "b", Resources: parse(t, "cpus 1\nmem 2000")}}
	worker := operators.PodSpec{Service: "workers", CPUs: 100, MemMiB: 500}
	broker := operators.PodSpec{Service: "events", CPUs: 1000, MemMiB: 1500}
	for _, c := range []struct {
		beside []operators.PodSpec
		pod    operators.PodSpec
		n      int
		want   string
	}{
		{nil, worker, 12, ""},
		{nil, worker, 13, "error[E-NOFIT]: place service workers of size 13: there is room for 12 (13 pods of mem 500 MiB need mem 6500 MiB, the agents have mem 6000 MiB)"},
		{[]operators.PodSpec{broker, broker}, worker, 7, "error[E-NOFIT]: place service workers of size 7: there is room for 6 (7 pods of mem 500 MiB need mem 3500 MiB, the agents have mem 6000 MiB, other services take mem 3000 MiB)"},
		{[]operators.PodSpec{broker, broker, broker}, worker, 1, "error[E-NOFIT]: place service workers of size 1: there is room for 0 (1 pod of cpus 0.1 need cpus 0.1, the agents have cpus 3, other services take cpus 3)"},
		{nil, broker, 4, "error[E-NOFIT]: place service events of size 4: there is room for 3 (4 pods of cpus 1 need cpus 4, the agents have cpus 3)"},
	} {
		err := FitsAll(agents, c.beside, c.pod, c.n)
		if c.want == "" {
			if err != nil {
				t.Errorf("%d pods: %v", c.n, err)
			}
			continue
		}
		if err == nil || err.Error() != c.want || fault.ExitCode(err) != fault.ExitNoFit || !strings.Contains(fault.From(err).Flat().Hint, "at most ") {
			t.Errorf("%d pods: got %v\nwant %s", c.n, err, c.want)
		}
	}
}
