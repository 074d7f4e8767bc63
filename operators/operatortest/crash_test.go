package operatortest

import (
	"testing"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
)

// TestAScaleEndsTheSameWhereverTheServerDies lets the server die at the n-th step of 1 -> 3 -> 1 brokers, after its attempt was stored and before
// anything was done, for every n.
func TestAScaleEndsTheSameWhereverTheServerDies(t *testing.T) {
	whole, steps, _ := scaleWithCrash(t, 0)
	if steps < 12 {
		t.Fatalf("%d steps, want launches, moves, cordons, stops and unregistrations", steps)
	}
	for n := 1; n <= steps; n++ {
		layout, _, died := scaleWithCrash(t, n)
		if layout != whole {
			t.Errorf("died at step %d (%s):\n%swant\n%s", n, died, layout, whole)
		}
	}
	t.Logf("%d steps, as many crashes", steps)
}

func scaleWithCrash(t *testing.T, at int) (layout string, steps int, died string) {
	w := newWorld(operators.Kafka, 1, 2)
	w.broken = func(what string) { t.Fatalf("died at step %d (%s): %s", at, died, what) }
	w.twice = func(pod string) { t.Fatalf("died at step %d (%s): %s was launched twice", at, died, pod) }
	w.crash = func(step string) bool {
		steps++
		if steps == at {
			died = step
		}
		return steps == at
	}
	for _, size := range []int{1, 3, 1} {
		w.Spec.Size = size
		for i := 0; w.Plan().Summary() != plan.Done; i++ {
			if i > 800 {
				t.Fatalf("died at step %d (%s), not complete:\n%s", at, died, w.Plan())
			}
			w.Pass()
			w.Move()
		}
		if len(w.kafka.partitions) == 0 {
			must(t, w.topic("orders", 20, 1))
			must(t, w.topic("__transaction_state", 5, 1))
		}
		layout += w.layout()
	}
	return layout, steps, died
}
