package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/master"
	"github.com/weir-project/weir/resources/resourcetest"
)

// rig is a fleet of one node on an API server, real or not, and a master. What the test itself does there it does as admin.
type rig struct {
	*resourcetest.Server
	t       testing.TB
	admin   *api
	cluster *api // for what has no namespace
	config  Config
	node    string
	fleet   *Fleet
	stop    func()
	mu      sync.Mutex
	uids    map[string]map[types.UID]bool // by pod: all that ever were
}

// newRig makes a node of its own on an API server, and starts an agent for it.
func newRig(t testing.TB, admin, agent *rest.Config, namespace, name string, patience Patience) *rig {
	t.Helper()
	r := &rig{t: t, node: name, uids: map[string]map[types.UID]bool{}}
	var err error
	if r.admin, err = newAPI(admin, namespace, patience.withDefaults()); err != nil {
		t.Fatal(err)
	}
	cluster := *r.admin
	cluster.namespace = ""
	r.cluster = &cluster
	r.must(r.cluster.create(t.Context(), "nodes", name, fakeNode(name), &corev1.Node{}))
	r.Server = resourcetest.NewServer(t, master.Options{}, AgentID(name))
	r.config = Config{REST: agent, Namespace: namespace, Install: name, Nodes: "weir-test=" + name, Dial: r.Dial, Patience: patience,
		Image: func(resources.TaskInfo) (string, error) { return "registry.example/app:1", nil }, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	ctx, cancel := context.WithCancel(context.Background())
	watcher := newMirror[*corev1.Pod](r.admin, "pods", func() runtime.Object { return &corev1.PodList{} }, slog.New(slog.DiscardHandler))
	watcher.changed = r.count
	done := make(chan struct{})
	go func() {
		defer close(done)
		watcher.run(ctx) //nolint:errcheck // ends with its context
	}()
	<-watcher.synced
	r.StartAgent(t)
	t.Cleanup(func() {
		r.stop()
		cancel()
		<-done
		ctx := context.WithoutCancel(t.Context())
		if err := r.cluster.remove(ctx, "nodes", name, "", ""); err != nil {
			t.Error(err)
		}
		for _, p := range r.pods(ctx) {
			zero := int64(0)
			err := r.admin.rest.Delete().Namespace(namespace).Resource("pods").Name(p.Name).Body(&metav1.DeleteOptions{GracePeriodSeconds: &zero}).Do(ctx).Error()
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	})
	return r
}

func fakeNode(name string) *corev1.Node {
	has := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("150")}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"weir-test": name, "kubernetes.io/hostname": name}, Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"}},
		Status:     corev1.NodeStatus{Allocatable: has, Capacity: has, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) count(p *corev1.Pod, _ bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.uids[p.Name] == nil {
		r.uids[p.Name] = map[types.UID]bool{}
	}
	r.uids[p.Name][p.UID] = true
}

func (r *rig) pods(ctx context.Context) []corev1.Pod {
	r.t.Helper()
	var list corev1.PodList
	r.must(r.admin.list(ctx, "pods", r.config.Namespace, labelInstall+"="+r.config.Install, &list))
	return list.Items
}

func (r *rig) Features() resourcetest.Features { return resourcetest.Features{Hosts: true} }

func (r *rig) StopAgent(testing.TB) { r.stop() }

func (r *rig) StartAgent(t testing.TB) {
	t.Helper()
	f, err := New(r.config)
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	var once sync.Once
	r.fleet = f
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("run fleet: %v", err)
			}
		})
	}
}

// eventually waits until something holds.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) { // a bounded poll
		if time.Now().After(deadline) {
			r.t.Fatalf("no %s within 20 s", what)
		}
	}
}

func (r *rig) podOf(id resources.TaskID) *corev1.Pod {
	r.t.Helper()
	var p corev1.Pod
	r.must(r.admin.get(r.t.Context(), "pods", podName(r.config.Install, id), &p))
	return &p
}

// End says what a kubelet would.
func (r *rig) End(t testing.TB, id resources.TaskID, code int) {
	t.Helper()
	phase := corev1.PodSucceeded
	if code != 0 {
		phase = corev1.PodFailed
	}
	r.setStatus(id, corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{Name: container, Image: "i", ImageID: "i",
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: int32(code), Reason: "Error", StartedAt: metav1.Now(), FinishedAt: metav1.Now()}}}}})
}

func (r *rig) setStatus(id resources.TaskID, status corev1.PodStatus) {
	r.t.Helper()
	data, err := json.Marshal(map[string]any{"status": status})
	r.must(err)
	name := podName(r.config.Install, id)
	r.must(r.admin.rest.Patch(types.MergePatchType).Namespace(r.config.Namespace).Resource("pods").Name(name).SubResource("status").Body(data).Do(r.t.Context()).Error())
}

func (r *rig) Launches(t testing.TB, id resources.TaskID) int {
	t.Helper()
	for _, p := range r.pods(t.Context()) {
		r.count(&p, false)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.uids[podName(r.config.Install, id)])
}

func (r *rig) File(t testing.TB, id resources.TaskID, name string) (string, uint32) {
	t.Helper()
	p := r.podOf(id)
	var s corev1.Secret
	r.must(r.admin.get(t.Context(), "secrets", p.Name, &s))
	if len(s.OwnerReferences) != 1 || s.OwnerReferences[0].UID != p.UID {
		t.Errorf("the Secret %s is owned by %v, not by its pod", s.Name, s.OwnerReferences)
	}
	for _, m := range p.Spec.Containers[0].VolumeMounts {
		if m.MountPath != path.Join(sandboxPath, name) {
			continue
		}
		for _, v := range p.Spec.Volumes {
			if v.Name == m.Name && v.Secret != nil && v.Secret.SecretName == s.Name {
				for _, item := range v.Secret.Items {
					if item.Key == m.SubPath {
						return string(s.Data[item.Key]), uint32(*item.Mode)
					}
				}
			}
		}
	}
	return "", 0
}

func (r *rig) Exposed(t testing.TB, id resources.TaskID) string {
	t.Helper()
	pod, err := json.Marshal(r.podOf(id))
	r.must(err)
	var list corev1.ConfigMapList
	r.must(r.admin.list(t.Context(), "configmaps", r.config.Namespace, "", &list))
	records, err := json.Marshal(list.Items)
	r.must(err)
	return string(pod) + string(records)
}

func (r *rig) Volume(t testing.TB, id string) bool {
	t.Helper()
	var c corev1.PersistentVolumeClaim
	err := r.admin.get(t.Context(), "persistentvolumeclaims", claimName(r.config.Install, id), &c)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil && c.DeletionTimestamp == nil
}

func (r *rig) RemoveHost(t testing.TB) {
	t.Helper()
	r.must(r.cluster.remove(t.Context(), "nodes", r.node, "", ""))
}

var serial struct {
	sync.Mutex
	n int
}

// unique is a name that no other test of this run has.
func unique(prefix string) string {
	serial.Lock()
	defer serial.Unlock()
	serial.n++
	return strings.ToLower(fmt.Sprintf("%s-%d-%d", prefix, time.Now().UnixNano()%1e9, serial.n))
}
