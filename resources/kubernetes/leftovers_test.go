package kubernetes

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/resourcetest"
)

// dieAt has the agent's next call of that kind never answered, and the agent die in the middle of it.
func (f *faulty) dieAt(call string, task resources.TaskInfo) {
	f.t.Helper()
	var met atomic.Bool
	f.fault(func(_ http.ResponseWriter, r *http.Request, a kube.Request) bool {
		if a.String() != call {
			return false
		}
		snapshot(r) // only a request that was read is told that its client went away
		met.Store(true)
		<-r.Context().Done()
		return true
	})
	f.f.Launch(task)
	f.eventually(call, met.Load)
	f.stop()
	f.fault(nil)
}

func (f *faulty) secrets() []corev1.Secret {
	f.t.Helper()
	var list corev1.SecretList
	f.must(f.admin.list(f.t.Context(), "secrets", "weir", labelInstall+"="+f.config.Install, &list))
	return list.Items
}

func withFile(id string) resources.TaskInfo {
	task := resourcetest.Task(id)
	task.Files = []resources.File{{Path: "etc/secret", Content: []byte("s")}}
	return task
}

func TestASecretWhosePodWasNeverMadeIsDeleted(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.dieAt("create pods in weir", withFile("half.1"))
	if n := len(f.secrets()); n != 1 {
		t.Fatalf("%d Secrets are there before the pod, want 1", n)
	}
	f.StartAgent(t)
	f.f.Wait("half.1", resources.Failed)
	f.eventually("deletion of the Secret", func() bool { return len(f.secrets()) == 0 })
}

func TestAPodThatWasAdoptedOwnsItsSecret(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.dieAt("patch secrets in weir", withFile("half.1"))
	f.StartAgent(t)
	f.f.Wait("half.1", resources.Running)
	if content, _ := f.File(t, "half.1", "etc/secret"); content != "s" { // File looks at the owner
		t.Errorf("the file is %q", content)
	}
	f.oncePod("half.1")
}

// TestAVolumeThatCouldNotBeMadeIsMadeForItsTask: a permission that comes later mends it, and until then the task says what is missing.
func TestAVolumeThatCouldNotBeMadeIsMadeForItsTask(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.fault(func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
		if a.String() != "create persistentvolumeclaims in weir" {
			return false
		}
		refuse(rw, 403, metav1.StatusReasonForbidden, `persistentvolumeclaims is forbidden: User "weir" cannot create resource "persistentvolumeclaims" in API group "" in the namespace "weir"`)
		return true
	})
	s := f.f.Stateful("claims.1", "claims-0-data", resources.Failed)
	for _, want := range []string{"weir may not create persistentvolumeclaims in namespace weir", "kubectl create role"} {
		if !strings.Contains(s.Message, want) {
			t.Errorf("message %q does not say %q", s.Message, want)
		}
	}
	if err := f.fleet.Conditions()["create persistentvolumeclaims"]; err == nil {
		t.Errorf("the conditions do not have it: %v", f.fleet.Conditions())
	}
	f.fault(nil)
	f.f.StatefulAgain("claims.2", "claims-0-data", resources.Running)
	if !f.Volume(t, "claims-0-data") {
		t.Error("the task runs without its volume")
	}
	if err := f.fleet.Conditions()["create persistentvolumeclaims"]; err != nil {
		t.Errorf("the condition stays: %v", err)
	}
}

// TestAVersionFromTheFutureIsAnsweredByAList: after a restore of etcd the API server has never heard of the version that a watch names.
func TestAVersionFromTheFutureIsAnsweredByAList(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.f.Launch(resourcetest.Task("future.1"))
	f.f.Wait("future.1", resources.Running)
	var lists atomic.Int64
	f.fault(func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
		switch {
		case a.Resource != "pods":
		case a.Verb == "list":
			lists.Add(1)
		case a.Verb == "watch" && lists.Load() == 0:
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(504)
			fmt.Fprint(rw, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Timeout","code":504,"message":"Timeout: Too large resource version: 9, current: 1",`+
				`"details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1}}`)
			return true
		}
		return false
	})
	f.eventually("list", func() bool { return lists.Load() > 0 })
	f.End(t, "future.1", 3)
	if s := f.f.Wait("future.1", resources.Failed); s.ExitCode != 3 {
		t.Errorf("exit code %d, want 3", s.ExitCode)
	}
}

// TestANodeThatIsNoLongerSelectedKeepsItsTasks: a label is no end of a host. What runs there would be launched twice if it were.
func TestANodeThatIsNoLongerSelectedKeepsItsTasks(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.f.Launch(resourcetest.Task("stays.1"))
	f.f.Wait("stays.1", resources.Running)
	f.relabel("another")
	f.eventually("condition of the node", func() bool {
		err := f.fleet.Conditions()["node "+f.node]
		return err != nil && strings.Contains(err.Error(), "weir-test="+f.node)
	})
	f.f.Call(resources.Call{Type: resources.CallReconcile})
	f.f.Wait("stays.1", resources.Running)
	f.stop() // a server that begins now knows the agent by its record
	f.StartAgent(t)
	f.relabel(f.node)
	f.f.LaunchSoon(resourcetest.Task("stays.2"))
	f.f.Wait("stays.2", resources.Running)
	f.f.Call(resources.Call{Type: resources.CallReconcile})
	f.f.Wait("stays.1", resources.Running)
	f.oncePod("stays.1")
}

func (f *faulty) relabel(value string) {
	f.t.Helper()
	var n corev1.Node
	f.must(f.cluster.get(f.t.Context(), "nodes", f.node, &n))
	n.Labels["weir-test"] = value
	f.must(f.cluster.update(f.t.Context(), "nodes", f.node, &n, &corev1.Node{}))
}

// TestANodeWithALongNameIsBoundByIt: an agent's id is shorter than a node's name may be, and the record holds the id.
func TestANodeWithALongNameIsBoundByIt(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	long := strings.Repeat("n", 240)
	node := fakeNode(long)
	node.Labels["weir-test"] = f.node
	f.must(f.cluster.create(t.Context(), "nodes", long, node, &corev1.Node{}))
	f.must(f.cluster.remove(t.Context(), "nodes", f.node, "", ""))
	f.eventually("agent of the long name alone", func() bool {
		agents := f.fleet.Agents()
		return len(agents) == 1 && agents[0] == AgentID(long)
	})
	f.f.LaunchSoon(resourcetest.Task("long.1"))
	f.f.Wait("long.1", resources.Running)
	resourcetest.RestartAgent(t, f)
	f.f.LaunchSoon(resourcetest.Task("long.2"))
	f.f.Wait("long.2", resources.Running)
	for _, id := range []resources.TaskID{"long.1", "long.2"} {
		if got := f.podOf(id).Spec.NodeName; got != long {
			t.Errorf("%s is bound to %q", id, got)
		}
	}
}
