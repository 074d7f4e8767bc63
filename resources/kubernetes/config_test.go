package kubernetes

import (
	"context"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/resources"
)

func TestASelectorThatKubernetesCannotReadIsRefusedAtTheStart(t *testing.T) {
	c := Config{REST: &rest.Config{}, Namespace: "team", Install: "a",
		Dial:  func(context.Context, resources.AgentID) (*link.Conn, error) { return nil, context.Canceled },
		Image: func(resources.TaskInfo) (string, error) { return "x", nil }}
	for selector, code := range map[string]string{"": "", "pool=streams,zone in (a, b)": "", "===": "E-SELECTOR", "pool=a b": "E-SELECTOR"} {
		c.Nodes = selector
		if err := c.check(); err != nil && code == "" || code != "" && !fault.HasCode(err, code) {
			t.Errorf("selector %q: %v, want the code %q", selector, err, code)
		}
	}
}
