package kubernetes

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/agent"
)

type podState struct {
	name string
	pod  corev1.Pod
	want string // state, reason | message
}

func withStatus(node string, phase corev1.PodPhase, reason, message string, containers ...corev1.ContainerStatus) corev1.Pod {
	return corev1.Pod{Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase, Reason: reason, Message: message, ContainerStatuses: containers}}
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: container, Image: "app:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func terminated(code, signal int32, reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: container, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Signal: signal, Reason: reason, Message: message, StartedAt: metav1.Now()}}}
}

// TestWhatAPodSays walks the agent's own edges with what each pod says, from STAGING on.
func TestWhatAPodSays(t *testing.T) {
	running := corev1.ContainerStatus{Name: container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	unschedulable := withStatus("", corev1.PodPending, "", "")
	unschedulable.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available"}}
	prepared := withStatus("n", corev1.PodFailed, "", "", waiting("PodInitializing", ""))
	prepared.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "prepare-0", State: terminated(3, 0, "Error", "first\nthe disk is upside down\n").State}}
	preparing := withStatus("n", corev1.PodPending, "", "", waiting("PodInitializing", ""))
	preparing.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "prepare-0", State: running.State}}
	for _, c := range []podState{
		{"just made", withStatus("", corev1.PodPending, "", ""), "STAGING; in time DROPPED, REASON_POD_UNSCHEDULED | the pod found no place on its node: nobody has bound it to its node"},
		{"the scheduler finds no place", unschedulable, "STAGING; in time DROPPED, REASON_POD_UNSCHEDULED | the pod found no place on its node: Unschedulable: 0/3 nodes are available"},
		{"bound", withStatus("n", corev1.PodPending, "", ""), "STAGING"},
		{"refused by the kubelet", withStatus("n", corev1.PodFailed, "OutOfmemory", "Pod was rejected: requested 64, used 32, capacity 64"),
			"DROPPED, REASON_POD_REFUSED | the node refused the pod: OutOfmemory: Pod was rejected: requested 64, used 32, capacity 64"},
		{"its containers are made", withStatus("n", corev1.PodPending, "", "", waiting("ContainerCreating", "")), "STARTING"},
		{"it prepares", preparing, "STARTING"},
		{"preparation failed", prepared, "FAILED, REASON_CONTAINER_LAUNCH_FAILED, code 3 | prepare-0: exit status 3: the disk is upside down"},
		{"its image cannot be pulled", withStatus("n", corev1.PodPending, "", "", waiting("ImagePullBackOff", "Back-off pulling image")),
			"STARTING; in time FAILED, REASON_IMAGE | image app:1: ImagePullBackOff: Back-off pulling image"},
		{"its image has no name", withStatus("n", corev1.PodPending, "", "", waiting("InvalidImageName", "couldn't parse")), "STARTING; at once FAILED, REASON_IMAGE | image app:1: InvalidImageName: couldn't parse"},
		{"its Secret is not there", withStatus("n", corev1.PodPending, "", "", waiting("CreateContainerConfigError", `secret "x" not found`)),
			`STARTING; in time FAILED, REASON_CONTAINER_LAUNCH_FAILED | image app:1: CreateContainerConfigError: secret "x" not found`},
		{"running", withStatus("n", corev1.PodRunning, "", "", running), "RUNNING"},
		{"its node does not answer", withStatus("n", corev1.PodRunning, "NodeLost", "Node n which was running pod x is unresponsive", running), "RUNNING"},
		{"finished", withStatus("n", corev1.PodSucceeded, "", "", terminated(0, 0, "Completed", "")), "FINISHED"},
		{"ended, and the phase has not caught up", withStatus("n", corev1.PodRunning, "", "", terminated(0, 0, "Completed", "")), "FINISHED"},
		{"failed", withStatus("n", corev1.PodFailed, "", "", terminated(7, 0, "Error", "")), "FAILED, REASON_COMMAND_EXECUTOR_FAILED, code 7 | exit code 7"},
		{"killed by a signal", withStatus("n", corev1.PodFailed, "", "", terminated(139, 11, "Error", "")), "FAILED, REASON_COMMAND_EXECUTOR_FAILED, code 139 | exit code 139 (signal 11)"},
		{"out of memory", withStatus("n", corev1.PodFailed, "", "", terminated(137, 9, "OOMKilled", "")),
			"FAILED, REASON_CONTAINER_LIMITATION_MEMORY, code 137 | it used more memory than its limit and was killed (exit code 137)"},
		{"no such program", withStatus("n", corev1.PodFailed, "", "", terminated(128, 0, "StartError", `exec: "/no/such": no such file`)),
			`FAILED, REASON_CONTAINER_LAUNCH_FAILED, code 128 | it could not be started: exec: "/no/such": no such file`},
		{"evicted while it ran", withStatus("n", corev1.PodFailed, "Evicted", "The node was low on resource: memory.", terminated(143, 0, "Error", "")),
			"FAILED, REASON_POD_EVICTED, code 143 | evicted: The node was low on resource: memory."},
		{"evicted before it ran", withStatus("n", corev1.PodFailed, "Evicted", "The node had condition: [DiskPressure]."),
			"DROPPED, REASON_POD_EVICTED | Evicted: The node had condition: [DiskPressure]."},
		{"the kubelet lost count", withStatus("n", corev1.PodFailed, "", "", terminated(137, 0, "ContainerStatusUnknown", "The container could not be located")),
			"FAILED, REASON_EXECUTOR_TERMINATED | exit status unknown: The container could not be located"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := look(&c.pod)
			state, last := resources.Staging, agent.Observation{}
			for _, o := range v.seen {
				if to, ok := agent.Next(state, o.Event); ok {
					state, last = to, o
				}
			}
			got := describe(state, last)
			if v.waiting != "" {
				to, ok := agent.Next(state, v.giveUp.Event)
				if !ok {
					t.Errorf("it cannot be given up in state %s", state)
				}
				when := "; in time "
				if v.patience(Patience{}.withDefaults()) == 0 {
					when = "; at once "
				}
				got += when + describe(to, v.giveUp)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func describe(s resources.TaskState, o agent.Observation) string {
	out := string(s)
	if o.Reason != "" {
		out += ", " + o.Reason
	}
	if s.Terminal() && o.ExitCode != 0 && !strings.Contains(o.Message, "unknown") {
		out += ", code " + resource.NewQuantity(int64(o.ExitCode), resource.DecimalSI).String()
	}
	if o.Message != "" {
		out += " | " + o.Message
	}
	return out
}

func TestWhatANodeHas(t *testing.T) {
	node := func(change func(*corev1.Node)) *corev1.Node {
		n := fakeNode("n")
		n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("3")
		change(n)
		return n
	}
	pod := func(namespace, install, cpu string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Labels: map[string]string{labelInstall: install}}, Status: corev1.PodStatus{Phase: phase},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}}}
	}
	ready := func(s corev1.ConditionStatus) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Status.Conditions[0].Status = s }
	}
	none := func(*corev1.Node) {}
	for _, c := range []struct {
		name string
		node *corev1.Node
		pods []*corev1.Pod
		cpus resources.Milli // -1: nothing at all
		why  string
	}{
		{"all of it", node(none), nil, 8000, ""},
		{"less what others ask for", node(none), []*corev1.Pod{pod("kube-system", "", "1500m", corev1.PodRunning)}, 6500, ""},
		{"its own tasks are counted elsewhere", node(none), []*corev1.Pod{pod("weir", "w", "2", corev1.PodRunning)}, 8000, ""},
		{"another installation is somebody else", node(none), []*corev1.Pod{pod("weir", "other", "2", corev1.PodRunning)}, 6000, ""},
		{"what has ended asks for nothing", node(none), []*corev1.Pod{pod("x", "", "2", corev1.PodSucceeded)}, 8000, ""},
		{"a node that is full of pods has nothing", node(none), []*corev1.Pod{pod("x", "", "1", ""), pod("x", "", "1", ""), pod("weir", "w", "1", "")}, -1, ""},
		{"more is asked for than there is", node(none), []*corev1.Pod{pod("x", "", "9", "")}, 0, ""},
		{"cordoned", node(func(n *corev1.Node) { n.Spec.Unschedulable = true }), nil, -1, "it is cordoned"},
		{"tainted", node(func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule}}
		}), nil, -1, "it has the taint node-role.kubernetes.io/control-plane:NoSchedule"},
		{"not ready", node(ready(corev1.ConditionFalse)), nil, -1, "it is not ready: "},
		{"unreachable", node(ready(corev1.ConditionUnknown)), nil, -1, "its kubelet does not answer ()"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := capacity(c.node, c.pods, "w", serviceName, "weir", resources.Whole(100))
			if c.cpus < 0 != got.Empty() || c.cpus >= 0 && got.Amount(resources.CPUs) != c.cpus {
				t.Errorf("it has %s, want %s cpus", got.Summary(), c.cpus)
			}
			if s := stand(c.node); s.why != c.why || s.reachable == (c.name == "unreachable") {
				t.Errorf("standing %+v, want %q", s, c.why)
			}
		})
	}
}

func TestAPodIsWhatItsTaskAsksFor(t *testing.T) {
	info := resources.TaskInfo{
		ID: "events-kafka-0.broker.3", Name: "events-kafka-0", Framework: "f", Labels: map[string]string{"stack": "smack", "pod": "events-kafka-0"},
		Resources: resources.Resources{resources.Scalar(resources.CPUs, 200), resources.Scalar(resources.Mem, resources.Whole(512)),
			resources.SetOf(resources.Addresses, "n-1-07.weir-tasks.weir.svc"),
			resources.Scalar(resources.Disk, resources.Whole(16)).ReservedFor("r", nil).WithVolume("vol", "data")},
		Command: resources.Command{Argv: []string{"run", "{sandbox}/etc/a", "{volume:vol}/log", "$(NOT_EXPANDED)"}, Env: map[string]string{"A": "{volume:vol}"},
			Prepare: []resources.Prepare{{Argv: []string{"format", "{volume:vol}"}, Creates: "made", Quiet: true}}},
		Files:     []resources.File{{Path: "etc/a", Content: []byte("hunter2 in {sandbox}")}, {Path: "{volume:vol}/conf/b", Mode: 0o640, Content: []byte("b")}},
		KillGrace: 20e9,
	}
	at := place{install: "w", namespace: "weir", agent: "n-1", node: "n-1", image: "kafka:4", service: serviceName}
	p, s, err := podFor(at, info)
	if err != nil {
		t.Fatal(err)
	}
	c := p.Spec.Containers[0]
	for _, x := range []struct{ what, got, want string }{
		{"command", strings.Join(c.Command, " "), "run /weir/sandbox/etc/a /weir/volumes/vol/log $$(NOT_EXPANDED)"},
		{"environment", c.Env[2].Name + "=" + c.Env[2].Value, "A=/weir/volumes/vol"},
		{"host name", p.Spec.Hostname + "." + p.Spec.Subdomain, "n-1-07.weir-tasks"},
		{"scheduler", p.Spec.SchedulerName, corev1.DefaultSchedulerName},
		{"affinity", p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0], "n-1"},
		{"claim", p.Spec.Volumes[1].PersistentVolumeClaim.ClaimName, claimName("w", "vol")},
		{"label", p.Labels["weir.dev/stack"], "smack"},
		{"memory limit", c.Resources.Limits.Memory().String(), "512Mi"},
		{"cpu request", c.Resources.Requests.Cpu().String(), "200m"},
		{"cpu limit", c.Resources.Limits.Cpu().String(), "0"},
		{"file", string(s.Data["file-0"]), "hunter2 in /weir/sandbox"},
		{"preparation", strings.Join(p.Spec.InitContainers[0].Command[3:], " "), "made format /weir/volumes/vol"},
	} {
		if x.got != x.want {
			t.Errorf("%s is %q, want %q", x.what, x.got, x.want)
		}
	}
	if *p.Spec.TerminationGracePeriodSeconds != 20 || p.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("grace %d, restart policy %s", *p.Spec.TerminationGracePeriodSeconds, p.Spec.RestartPolicy)
	}
	again, _, err := podFor(at, info)
	if err != nil || again.Name != p.Name {
		t.Errorf("the same task is pod %s and then %s (%v)", p.Name, again.Name, err)
	}
	info.Command.Argv = []string{"run", "{volume:other}"}
	if _, _, err := podFor(at, info); err == nil || !strings.Contains(err.Error(), "a volume that the task does not hold") {
		t.Errorf("a volume that is not held: %v", err)
	}
}

func TestNamesAreDNSLabelsAndNeverMeet(t *testing.T) {
	seen := map[string]resources.TaskID{}
	for _, id := range []resources.TaskID{"a.1", "a-1", "A.1", "a_1", "1", "9.x", resources.TaskID(strings.Repeat("x", 200)), resources.TaskID(strings.Repeat("x", 199)), "z"} {
		name := podName("w", id)
		if len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || name[0] < 'a' || name[0] > 'z' {
			t.Errorf("task %s: pod name %q is no DNS label", id, name)
		}
		if other, met := seen[name]; met {
			t.Errorf("tasks %s and %s have one pod name %s", id, other, name)
		}
		seen[name] = id
	}
	if podName("w", "a.1") == podName("v", "a.1") {
		t.Error("two installations have one name for their pods")
	}
}
