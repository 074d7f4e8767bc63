package kubernetes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/resourcetest"
)

// realPatience leaves a real control plane on a busy machine its time.
var realPatience = Patience{Unscheduled: 10 * time.Second, Settle: 50 * time.Millisecond}

// real is a namespace on a real API server, and what a service account may do in it that has the chart's permissions.
type real struct {
	admin, agent *rest.Config
	namespace    string
	user         string
}

// onCluster makes one, or skips where no cluster was started: `make verify-kubernetes` starts one.
func onCluster(t testing.TB, rules []kube.Rule) real {
	t.Helper()
	dir := testbed(t)
	admin, _, err := kube.Load(filepath.Join(dir, "admin.kubeconfig"), "")
	if err != nil {
		t.Fatal(err)
	}
	r := real{admin: admin, namespace: unique("weir")}
	r.user = "system:serviceaccount:" + r.namespace + ":weir"
	r.agent = rest.CopyConfig(admin)
	r.agent.Impersonate.UserName = r.user
	var doc strings.Builder
	fmt.Fprintf(&doc, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: weir, namespace: %[1]s}\n", r.namespace)
	for _, cluster := range []bool{true, false} {
		kind, meta := "Role", fmt.Sprintf("{name: %s, namespace: %[1]s}", r.namespace)
		if cluster {
			kind, meta = "ClusterRole", fmt.Sprintf("{name: %s}", r.namespace)
		}
		fmt.Fprintf(&doc, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: %s\nmetadata: %s\nrules:\n", kind, meta)
		for _, rule := range rules {
			if rule.Cluster == cluster {
				fmt.Fprintf(&doc, "- {apiGroups: [%q], resources: [%q], verbs: [%s]}\n", rule.Group, rule.Resource, strings.Join(rule.Verbs, ", "))
			}
		}
		fmt.Fprintf(&doc, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: %sBinding\nmetadata: %s\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: %[1]s, name: %[3]s}\n"+
			"subjects: [{kind: ServiceAccount, name: weir, namespace: %[3]s}]\n", kind, meta, r.namespace)
	}
	kubectl(t, doc.String(), "apply", "-f", "-")
	t.Cleanup(func() {
		kubectl(t, "", "delete", "--wait=false", "namespace/"+r.namespace, "clusterrole/"+r.namespace, "clusterrolebinding/"+r.namespace)
	})
	return r
}

func testbed(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("WEIR_KUBERNETES_TESTBED")
	if dir == "" {
		t.Skip("needs a cluster: make verify-kubernetes")
	}
	return dir
}

func kubectl(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	c := exec.Command("kubectl", args...)
	c.Stdin = strings.NewReader(stdin)
	c.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(os.Getenv("WEIR_KUBERNETES_TESTBED"), "admin.kubeconfig"))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestVerifyConformance(t *testing.T) {
	testbed(t)
	resourcetest.Run(t, func(t testing.TB) resourcetest.Rig {
		c := onCluster(t, Rules())
		return newRig(t, c.admin, c.agent, c.namespace, unique("node"), realPatience)
	})
}

// TestVerifyHundredPods launches a hundred pods on one node, restarts the agent in the middle, and counts what was made.
func TestVerifyHundredPods(t *testing.T) {
	c := onCluster(t, Rules())
	r := newRig(t, c.admin, c.agent, c.namespace, unique("node"), realPatience)
	f := resourcetest.NewFramework(t, r, "hundred")
	var tasks []resources.TaskInfo
	for n := range 100 {
		task := resourcetest.Task(fmt.Sprintf("pod-%d.1", n))
		task.Files = []resources.File{{Path: "etc/secret", Content: []byte("s")}}
		tasks = append(tasks, task)
	}
	began := time.Now()
	f.Launch(tasks...)
	for _, task := range tasks {
		f.Wait(task.ID, resources.Running)
	}
	launched := time.Since(began)
	began = time.Now()
	resourcetest.RestartAgent(t, r)
	f.LaunchSoon(resourcetest.Task("one-more.1"))
	f.Wait("one-more.1", resources.Running)
	adopted := time.Since(began)
	f.Call(resources.Call{Type: resources.CallReconcile})
	for _, task := range tasks {
		f.Wait(task.ID, resources.Running)
	}
	began = time.Now()
	for _, task := range tasks {
		f.Call(resources.Call{Type: resources.CallKill, Task: task.ID})
	}
	for _, task := range tasks {
		f.Wait(task.ID, resources.Killed)
		if got := r.Launches(t, task.ID); got != 1 {
			t.Errorf("task %s was begun %d times (I3)", task.ID, got)
		}
	}
	t.Logf("100 pods with a Secret each: running after %s, adopted by a new agent, which launched one more, after %s, killed after %s", launched.Round(time.Millisecond), adopted.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// TestVerifyForbidden takes one verb away, reads what is said about it, and types the command that the hint names.
func TestVerifyForbidden(t *testing.T) {
	var rules []kube.Rule
	for _, rule := range Rules() {
		if rule.Resource != "pods" || rule.Cluster {
			rules = append(rules, rule)
		}
	}
	c := onCluster(t, append(rules, kube.Rule{Resource: "pods", Verbs: []string{"get", "delete"}}))
	r := newRig(t, c.admin, c.agent, c.namespace, unique("node"), realPatience)
	f := resourcetest.NewFramework(t, r, "denied")
	task := resourcetest.Task("denied.1")
	task.Files = []resources.File{{Path: "etc/secret", Content: []byte("s")}}
	f.Launch(task)
	s := f.Wait("denied.1", resources.Failed)
	for _, want := range []string{c.user + " may not create pods in namespace " + c.namespace, "kubectl create role"} {
		if !strings.Contains(s.Message, want) {
			t.Errorf("message %q does not say %q", s.Message, want)
		}
	}
	var left corev1.SecretList
	r.must(r.admin.list(t.Context(), "secrets", c.namespace, labelInstall+"="+r.config.Install, &left))
	if len(left.Items) > 0 {
		t.Errorf("the refused launch left %d Secrets behind", len(left.Items))
	}
	_, command, ok := strings.Cut(s.Message, "kubectl create role ")
	if !ok {
		t.Fatalf("no command in %q", s.Message)
	}
	for _, line := range strings.Split("kubectl create role "+command, " && ") {
		kubectl(t, "", strings.Fields(line)[1:]...)
	}
	f.LaunchSoon(resourcetest.Task("granted.1"))
	f.Wait("granted.1", resources.Running)
	f.Call(resources.Call{Type: resources.CallKill, Task: "granted.1"})
	f.Wait("granted.1", resources.Killed)
}

// TestVerifyBlind has an agent that may not even look at nodes: the fleet says so, and begins when it may.
func TestVerifyBlind(t *testing.T) {
	var rules []kube.Rule
	for _, rule := range Rules() {
		if rule.Resource != "nodes" {
			rules = append(rules, rule)
		}
	}
	c := onCluster(t, rules)
	r := newRig(t, c.admin, c.agent, c.namespace, unique("node"), realPatience)
	r.eventually("condition about nodes", func() bool { return r.fleet.Conditions()["nodes"] != nil })
	if err := r.fleet.Conditions()["nodes"].Error(); !strings.Contains(err, c.user+" may not list nodes in the cluster") {
		t.Errorf("condition %q", err)
	}
	kubectl(t, "", "create", "clusterrole", c.namespace+"-nodes", "--verb=list,watch", "--resource=nodes")
	kubectl(t, "", "create", "clusterrolebinding", c.namespace+"-nodes", "--clusterrole="+c.namespace+"-nodes", "--user="+c.user)
	t.Cleanup(func() {
		kubectl(t, "", "delete", "clusterrole/"+c.namespace+"-nodes", "clusterrolebinding/"+c.namespace+"-nodes")
	})
	resourcetest.NewFramework(t, r, "seeing").Offer()
	if err := r.fleet.Conditions()["nodes"]; err != nil {
		t.Errorf("the condition stays: %v", err)
	}
}

// TestVerifyUnscheduled asks for a volume that no storage class can make: the pod finds no place, and the task is dropped.
func TestVerifyUnscheduled(t *testing.T) {
	c := onCluster(t, Rules())
	r := newRig(t, c.admin, c.agent, c.namespace, unique("node"), Patience{Unscheduled: 2 * time.Second, Settle: 50 * time.Millisecond})
	r.stop()
	r.config.StorageClass = "there-is-none"
	r.StartAgent(t)
	f := resourcetest.NewFramework(t, r, "nowhere")
	s := f.Stateful("nowhere.1", "nowhere-0-data", resources.Dropped)
	if s.Reason != ReasonUnscheduled || !strings.Contains(s.Message, "PersistentVolumeClaim") {
		t.Errorf("reason %s, message %q; want the scheduler's own words", s.Reason, s.Message)
	}
	r.eventually("deletion of the pod", func() bool { return len(r.pods(t.Context())) == 0 })
}
