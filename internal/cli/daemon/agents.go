package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/master"
)

// listAgents is what `weir get agents` prints: what the master knows of each, and what the cluster says where its nodes are the agents.
func (d *Daemon) listAgents(ctx context.Context) (api.Agents, error) {
	snap, err := d.master.Snapshot(ctx)
	if err != nil {
		return api.Agents{}, fmt.Errorf("list the agents: %w", err)
	}
	conditions := map[string]error{}
	views := map[resources.AgentID]api.Agent{}
	if d.nodes != nil {
		conditions = d.nodes.Conditions()
		for _, id := range d.nodes.Agents() {
			views[id] = api.Agent{ID: string(id), Host: string(id), State: "absent", Reason: "it has not registered since the server began"}
		}
	}
	for _, a := range snap.Agents {
		views[a.Info.ID] = agentView(a, snap.Tasks)
	}
	out := api.Agents{Agents: []api.Agent{}, Conditions: []api.Condition{}}
	for _, id := range slices.Sorted(maps.Keys(views)) {
		v := views[id]
		v.Kind = "process"
		if d.nodes != nil {
			v.Kind = "kubernetes"
			v.Reason = because(v, conditions)
		}
		out.Agents = append(out.Agents, v)
	}
	out.Conditions = append(out.Conditions, told(conditions)...)
	return out, nil
}

func agentView(a master.AgentView, tasks []resources.TaskStatus) api.Agent {
	v := api.Agent{ID: string(a.Info.ID), Host: a.Info.Hostname, State: "connected", Total: amount(a.Info.Resources), Used: amount(a.Used), Offered: amount(a.Offered)}
	switch {
	case a.Unreachable:
		v.State, v.Reason = "unreachable", "it has not answered for so long that its tasks count as unreachable; they may run on"
	case !a.Connected:
		v.State, v.Reason = "disconnected", "its link to the server is broken"
	}
	for _, t := range tasks {
		if t.Agent == a.Info.ID && !t.State.Terminal() {
			v.Tasks++
		}
	}
	return v
}

func amount(r resources.Resources) api.Amount {
	return api.Amount{CPUs: r.Amount(resources.CPUs).Float(), Mem: r.Amount(resources.Mem).Float(), Disk: r.Amount(resources.Disk).Float(), All: r.Summary()}
}

// because moves what is said of one agent and its node from the conditions to the agent.
func because(v api.Agent, conditions map[string]error) string {
	reasons := []string{}
	for _, subject := range []string{"node " + v.Host, "agent " + v.ID} {
		if err := conditions[subject]; err != nil {
			reason, hint := words(err)
			reasons = append(reasons, strings.TrimSuffix(reason+"; "+hint, "; "))
		}
		delete(conditions, subject)
	}
	if len(reasons) == 0 {
		return v.Reason
	}
	return strings.Join(reasons, "; ")
}

// told are conditions in order. Two subjects may suffer from one cause, which is told once.
func told(conditions map[string]error) []api.Condition {
	var out []api.Condition
	for _, subject := range slices.Sorted(maps.Keys(conditions)) {
		reason, hint := words(conditions[subject])
		if !slices.ContainsFunc(out, func(c api.Condition) bool { return c.Reason == reason }) {
			out = append(out, api.Condition{Subject: subject, Reason: reason, Hint: hint})
		}
	}
	return out
}

// words are what an error says, and what to type.
func words(err error) (reason, hint string) {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		hint = f.Hint
	}
	return err.Error(), hint
}

// whyOffers asks the allocator why a role is not offered anything, and the cluster why its nodes might offer nothing.
func (d *Daemon) whyOffers(role string) (string, error) {
	ctx := d.group.Context()
	reasons, err := d.master.WhyOffers(ctx, role)
	if err != nil {
		return "", fmt.Errorf("ask the allocator about %s: %w", role, err)
	}
	known, err := d.listAgents(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range reasons {
		fmt.Fprintln(&b, r)
	}
	for _, a := range known.Agents {
		if a.Reason != "" {
			fmt.Fprintf(&b, "agent %s is %s: %s\n", a.ID, a.State, a.Reason)
		}
	}
	for _, c := range known.Conditions {
		fmt.Fprintf(&b, "%s: %s\n", c.Subject, c.Reason)
		if c.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", c.Hint)
		}
	}
	return b.String(), nil
}
