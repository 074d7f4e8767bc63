package daemon

import (
	"errors"
	"fmt"
	"testing"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/master"
)

func TestWhatIsSaidOfANodeStandsWithItsAgent(t *testing.T) {
	denied := fault.Denied("E-RBAC", "list pods", "", fault.Causef("weir may not list pods in the cluster"), fault.Hint("kubectl create clusterrole …"))
	conditions := map[string]error{
		"node node-1": errors.New("it is cordoned"), "agent node-1": fmt.Errorf("adopt: %w", denied), "pods": denied,
		"list pods": denied, "node node-2": errors.New("its kubelet does not answer"),
	}
	if got := because(api.Agent{ID: "node-1", Host: "node-1"}, conditions); got != "it is cordoned; adopt: "+denied.Error()+"; kubectl create clusterrole …" {
		t.Errorf("the agent's reason is %q", got)
	}
	if got := because(api.Agent{ID: "node-3", Host: "node-3", Reason: "as it was"}, conditions); got != "as it was" {
		t.Errorf("the reason of an agent that nothing is said of is %q", got)
	}
	got := told(conditions)
	want := []api.Condition{{Subject: "list pods", Reason: denied.Error(), Hint: "kubectl create clusterrole …"}, {Subject: "node node-2", Reason: "its kubelet does not answer"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("the conditions are %+v, want %+v: one cause is told once", got, want)
	}
}

func TestAnAgentsStateCountsWhatHasNotEnded(t *testing.T) {
	have, err := resources.Parse("cpus:4; mem:1024")
	if err != nil {
		t.Fatal(err)
	}
	tasks := []resources.TaskStatus{{Agent: "a", State: resources.Running}, {Agent: "a", State: resources.Finished}, {Agent: "b", State: resources.Running}, {Agent: "a", State: resources.Unreachable}}
	for state, v := range map[string]master.AgentView{"connected": {Connected: true}, "disconnected": {}, "unreachable": {Unreachable: true}} {
		v.Info = resources.AgentInfo{ID: "a", Hostname: "h", Resources: have}
		got := agentView(v, tasks)
		if got.State != state || got.Tasks != 2 || got.Total.CPUs != 4 || got.Total.Mem != 1024 || (got.Reason == "") != (state == "connected") {
			t.Errorf("%s: %+v", state, got)
		}
	}
}
