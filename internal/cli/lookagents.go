package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
)

// getAgents lists what runs tasks. Below it stands what is in the way of all of them, whichever one was asked for.
func (a *app) getAgents(ctx context.Context, client *api.Client, name string) error {
	var known api.Agents
	if err := client.Do(ctx, "GET", "/v1/agents", nil, &known); err != nil {
		return err
	}
	agents, conditions := agentSections(known, a.output == "wide")
	if agents = agents.only(name); name != "" && len(agents.items) == 0 {
		return fault.NotFound("E-NOT-FOUND", "get", "agents "+name, fault.Causef("there is none of that name"), fault.Hint("weir get agents"))
	}
	if len(agents.items) == 0 {
		fmt.Fprintln(a.err, "no agent is there: nothing can run")
	}
	shown := []section{agents}
	if name == "" && a.output != "name" {
		shown = append(shown, conditions)
	}
	return a.print(shown, name != "")
}

func agentSections(known api.Agents, wide bool) (agents, conditions section) {
	agents = section{kind: "agents", header: []string{"AGENT", "KIND", "STATE", "TASKS", "TOTAL", "USED", "OFFERED", "REASON"}}
	conditions = section{kind: "conditions", header: []string{"CONDITION", "REASON", "HINT"}}
	size := func(m api.Amount) string {
		if wide {
			return m.All
		}
		return sizes(m)
	}
	for _, v := range known.Agents {
		agents.add(v.ID, v, []string{v.ID, v.Kind, v.State, fmt.Sprint(v.Tasks), size(v.Total), size(v.Used), size(v.Offered), v.Reason})
	}
	for _, c := range known.Conditions {
		conditions.add(c.Subject, c, []string{c.Subject, c.Reason, c.Hint})
	}
	return agents, conditions
}

// sizes is an amount for people: 4 cpus, 7.5Gi memory, 1Ti disk.
func sizes(m api.Amount) string {
	var parts []string
	for _, x := range []struct{ size, what string }{{fmt.Sprintf("%.4g", m.CPUs), "cpus"}, {binary(m.Mem), "memory"}, {binary(m.Disk), "disk"}} {
		if x.size != "0" {
			parts = append(parts, x.size+" "+x.what)
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// binary prints MiB with the unit in which they are short.
func binary(mib float64) string {
	switch {
	case mib == 0:
		return "0"
	case mib < 1<<10:
		return fmt.Sprintf("%.4gMi", mib)
	case mib < 1<<20:
		return fmt.Sprintf("%.3gGi", mib/(1<<10))
	}
	return fmt.Sprintf("%.3gTi", mib/(1<<20))
}
