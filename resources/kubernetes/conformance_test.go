package kubernetes

import (
	"testing"
	"time"

	"github.com/weir-project/weir/resources/resourcetest"
)

// brisk is patience for a server in this process.
var brisk = Patience{Unscheduled: 2 * time.Second, Start: 2 * time.Second, Call: 2 * time.Second, Retry: 5 * time.Second, Watch: time.Second, Settle: 5 * time.Millisecond}

// TestConformance needs no cluster: its API server is world. `make verify-kubernetes` runs the same against a real one.
func TestConformance(t *testing.T) {
	t.Parallel()
	resourcetest.Run(t, func(t testing.TB) resourcetest.Rig {
		w := newWorld(t)
		return newRig(t, w.config(), w.config(), "weir", unique("node"), brisk)
	})
}
