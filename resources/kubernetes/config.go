package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	selectors "k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/resources"
)

// Config of a fleet of agents.
type Config struct {
	REST      *rest.Config // kube.Load finds one
	Namespace string       // of everything that it makes; it must exist
	Nodes     string       // a label selector; all nodes when empty
	Install   string       // names this installation: two of them may share a namespace
	// Dial links the agent of that id, which is its certificate's common name, to the server.
	Dial func(context.Context, resources.AgentID) (*link.Conn, error)
	// Image says which image runs a task.
	Image func(resources.TaskInfo) (string, error)
	// StorageClass of the claims; the cluster's default when empty. VolumeSpace is what each node offers of it, since a cluster's storage
	// belongs to no node: 1 TiB when zero.
	StorageClass string
	VolumeSpace  resources.Milli
	Log          *slog.Logger     // nil drops
	Now          func() time.Time // time.Now when nil
	NewID        func() string    // of status reports; random when nil

	// How long is waited, for tests; the zero values are the defaults.
	Patience Patience
}

// Patience holds the limits on waiting.
type Patience struct {
	Unscheduled time.Duration // for a place on the node, then the task is dropped (D2): 30 s
	Start       time.Duration // for an image that cannot be pulled, then the task has failed: 2 min
	Call        time.Duration // for one answer of the API server: 10 s
	Retry       time.Duration // over all attempts of one call: 30 s
	Watch       time.Duration // a watch is asked for anew after this, so that one that hangs is noticed: 60 s
	Settle      time.Duration // between two looks at the nodes: 200 ms
}

func (p Patience) withDefaults() Patience {
	for _, d := range []struct {
		at  *time.Duration
		def time.Duration
	}{{&p.Unscheduled, 30 * time.Second}, {&p.Start, 2 * time.Minute}, {&p.Call, 10 * time.Second}, {&p.Retry, 30 * time.Second},
		{&p.Watch, time.Minute}, {&p.Settle, 200 * time.Millisecond}} {
		if *d.at == 0 {
			*d.at = d.def
		}
	}
	return p
}

func (c Config) check() error {
	switch {
	case c.REST == nil:
		return errors.New("it has no API server; use kube.Load")
	case c.Dial == nil || c.Image == nil:
		return errors.New("no way to dial the server, or to choose an image")
	case len(c.Namespace) == 0 || len(c.Namespace) > 63:
		return fmt.Errorf("namespace %.80q has %d bytes, not 1 to 63", c.Namespace, len(c.Namespace))
	}
	if _, err := selectors.Parse(c.Nodes); err != nil {
		return fault.Invalid("E-SELECTOR", "read the label selector of the nodes", c.Nodes, fault.Cause(err), fault.Hint("write it as kubectl get nodes -l takes it, such as pool=streams"))
	}
	if len(c.Install) > 63 {
		return fmt.Errorf("installation %.80q has %d bytes, more than a label's 63", c.Install, len(c.Install))
	}
	return resources.CheckID(c.Install)
}
