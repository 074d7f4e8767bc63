package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	nodes "github.com/weir-project/weir/resources/kubernetes"
)

// Nodes says which cluster's nodes are the agents, in the place of this host.
type Nodes struct {
	Kubeconfig string // empty: $KUBECONFIG, the user's own, or the pod's service account
	Namespace  string // of the pods; empty: the context's, or the pod's
	Selector   string // labels of the nodes; empty: all
	Image      string // of the tasks' pods
}

// expect finds the cluster where its nodes are the agents, and names the agents that were there before.
func (d *Daemon) expect(ctx context.Context) ([]resources.AgentID, error) {
	if d.cfg.Nodes == nil {
		return []resources.AgentID{agentID}, nil
	}
	config, namespace, err := kube.Load(d.cfg.Nodes.Kubeconfig, d.cfg.Nodes.Namespace)
	if err != nil {
		return nil, err
	}
	d.nodes, err = nodes.New(nodes.Config{REST: config, Namespace: namespace, Install: d.install, Nodes: d.cfg.Nodes.Selector, Dial: d.dialAs, Log: d.cfg.Log,
		Image: func(resources.TaskInfo) (string, error) { return d.cfg.Nodes.Image, nil }})
	if err != nil {
		return nil, err
	}
	known, err := d.nodes.Known(ctx)
	if err != nil {
		return nil, fault.New("E-KUBERNETES", "ask the Kubernetes API server for the agents that were there before", config.Host,
			fault.Causef("%s", strings.ReplaceAll(err.Error(), "\n", ": ")), fault.Hint("kubectl -n "+namespace+" get configmaps must answer with the same kubeconfig"))
	}
	d.cfg.Log.Info("the cluster's nodes are the agents", "namespace", namespace, "server", config.Host, "known", len(known))
	return known, nil
}

// startAgents runs what runs tasks: this host, or the cluster's nodes. Both link over the same mTLS (C3).
func (d *Daemon) startAgents() error {
	if d.nodes == nil {
		return d.startAgent()
	}
	d.group.Go("kubernetes agents", d.nodes.Run)
	return nil
}

// dialAs links an agent of this process under a certificate of its own.
func (d *Daemon) dialAs(ctx context.Context, id resources.AgentID) (*link.Conn, error) {
	now := time.Now()
	b, err := d.ca.Issue(security.Request{CN: string(id), Role: security.RoleAgent, NotBefore: now, NotAfter: now.AddDate(1, 0, 0), ClientAuth: true})
	if err != nil {
		return nil, fmt.Errorf("issue the certificate of agent %s: %w", id, err)
	}
	config, err := security.ClientTLS(b, "weir-server")
	if err != nil {
		return nil, err
	}
	return link.Dial(ctx, d.url+"/v1/agent", config, nil, link.Options{})
}
