package kubernetes

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	selector "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/resources"
)

// serviceName is the headless Service whose names are offered as addresses. Two installations of one namespace share it: a name holds its
// node, and a pod its own labels.
const serviceName = "weir-tasks"

// Fleet runs an agent for each node of a cluster.
type Fleet struct {
	config Config
	chosen selector.Selector // of the nodes
	api    *api
	nodes  *mirror[*corev1.Node]
	pods   *mirror[*corev1.Pod]
	wake   chan struct{}

	mu         sync.Mutex // guards what follows
	agents     map[resources.AgentID]*node
	conditions map[string]error
}

// New makes a fleet; Run runs it.
func New(c Config) (*Fleet, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("make kubernetes agents: %w", err)
	}
	c.Patience = c.Patience.withDefaults()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = randomID
	}
	if c.VolumeSpace == 0 {
		c.VolumeSpace = resources.Whole(1 << 20)
	}
	chosen, err := selector.Parse(c.Nodes)
	if err != nil {
		return nil, fmt.Errorf("make kubernetes agents: read the node selector %q: %w", c.Nodes, err)
	}
	a, err := newAPI(kube.Guard(c.REST, Rules(), nil), c.Namespace, c.Patience)
	if err != nil {
		return nil, err
	}
	f := &Fleet{config: c, chosen: chosen, api: a, wake: make(chan struct{}, 1), agents: map[resources.AgentID]*node{}, conditions: map[string]error{}}
	a.forbidden = f.note
	f.nodes = newMirror[*corev1.Node](a, "nodes", func() runtime.Object { return &corev1.NodeList{} }, c.Log)
	f.nodes.trim = func(n *corev1.Node) { n.ManagedFields, n.Status.Images = nil, nil }
	f.nodes.changed = func(*corev1.Node, bool) { f.poke() }
	f.nodes.state = func(err error) { f.note("nodes", err) }
	f.pods = newMirror[*corev1.Pod](a, "pods", func() runtime.Object { return &corev1.PodList{} }, c.Log)
	f.pods.trim = f.trim
	f.pods.changed = f.podChanged
	f.pods.state = func(err error) { f.note("pods", err) }
	return f, nil
}

func randomID() string {
	var b [12]byte
	rand.Read(b[:]) // never fails: the program ends when the system has no randomness
	return hex.EncodeToString(b[:])
}

// Conditions are what keeps the fleet, or one of its agents, from working, by subject; none is the rule. Each says what to do about it, where
// something can be done. Subjects: "nodes" and "pods" (the view of them), "namespace NAME", "node NAME", "agent ID", and a verb with its
// resource, such as "create pods", which the API server forbids.
func (f *Fleet) Conditions() map[string]error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.conditions)
}

func (f *Fleet) note(subject string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.conditions, subject)
		return
	}
	f.conditions[subject] = err
}

func (f *Fleet) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Known are the agents that were there before: a server says nothing of tasks that nobody knows until these have registered.
func (f *Fleet) Known(ctx context.Context) ([]resources.AgentID, error) {
	var list corev1.ConfigMapList
	if err := f.api.list(ctx, "configmaps", f.config.Namespace, labelInstall+"="+f.config.Install, &list); err != nil {
		return nil, err
	}
	var out []resources.AgentID
	for i := range list.Items {
		if id := list.Items[i].Annotations[annotationAgent]; resources.CheckID(id) == nil {
			out = append(out, resources.AgentID(id))
		}
	}
	slices.Sort(out)
	return out, nil
}

// Run runs the agents until ctx ends. Their pods run on when it returns.
func (f *Fleet) Run(ctx context.Context) error {
	if err := f.prepare(ctx); err != nil {
		return nil //nolint:nilerr // its only failure is that ctx has ended
	}
	group := lifecycle.NewGroup(ctx)
	group.Go("mirror of nodes", f.nodes.run)
	group.Go("mirror of pods", f.pods.run)
	group.Go("fleet", f.run)
	err := group.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	return err
}

// prepare makes what all agents share, and finds those whose nodes may be gone. What it lacks it waits for: permissions are granted while
// it runs.
func (f *Fleet) prepare(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		known, err := f.Known(ctx)
		if err == nil {
			err = f.makeService(ctx)
		}
		f.note("namespace "+f.config.Namespace, err)
		if err == nil {
			f.mu.Lock()
			for _, id := range known {
				f.agents[id] = newNode(id, string(id))
			}
			f.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		f.config.Log.Error("the kubernetes agents cannot begin", "err", tell(err))
		if err := lifecycle.Sleep(ctx, f.api.backoff.Next(attempt, 0.5)); err != nil {
			return err
		}
	}
}

func (f *Fleet) makeService(ctx context.Context) error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName, Namespace: f.config.Namespace, Labels: map[string]string{labelInstall: f.config.Install}},
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{labelInstall: f.config.Install},
			PublishNotReadyAddresses: true}, // peers find each other while they start
	}
	err := f.api.create(ctx, "services", serviceName, service, &corev1.Service{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// run looks at the nodes whenever something has changed (level-triggered).
func (f *Fleet) run(ctx context.Context) error {
	defer f.stopAll()
	for _, synced := range []chan struct{}{f.nodes.synced, f.pods.synced} {
		select {
		case <-synced:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for {
		f.pass(ctx)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.wake:
		}
		// Pods come in crowds: one look serves many changes.
		if err := lifecycle.Sleep(ctx, f.config.Patience.Settle); err != nil {
			return err
		}
	}
}

func (f *Fleet) stopAll() {
	for _, n := range f.list() {
		n.stop(errors.New("the fleet stops"))
	}
}

func (f *Fleet) list() []*node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.agents))
}

// pass gives each node's agent what it has now, starts those that are missing, and stops those whose node does not answer.
func (f *Fleet) pass(ctx context.Context) {
	byNode := map[string][]*corev1.Pod{}
	for _, p := range f.pods.all(func(p *corev1.Pod) bool { return p.Spec.NodeName != "" }) {
		byNode[p.Spec.NodeName] = append(byNode[p.Spec.NodeName], p)
	}
	there := map[resources.AgentID]bool{}
	for _, k := range f.nodes.all(func(*corev1.Node) bool { return true }) {
		if !f.chosen.Matches(selector.Set(k.Labels)) && !f.has(AgentID(k.Name)) {
			continue
		}
		n := f.agent(AgentID(k.Name), k.Name)
		there[n.id] = true
		f.follow(ctx, n, k, byNode[k.Name])
	}
	for _, n := range f.list() {
		switch {
		case there[n.id]:
		case n.finished():
			n.stop(nil)
			f.mu.Lock()
			delete(f.agents, n.id)
			delete(f.conditions, "agent "+string(n.id))
			delete(f.conditions, "node "+n.name)
			f.mu.Unlock()
			f.config.Log.Info("the agent of a deleted node has told all", "agent", n.id)
		default:
			n.aim(nil, true)
			f.note("node "+n.name, errors.New("it was deleted from the cluster; the end of its tasks is being told"))
			if !n.runs() {
				f.startAgent(ctx, n)
			}
		}
	}
}

// follow keeps one agent in step with its node. One that is no longer chosen is offered no more; what runs there runs on.
func (f *Fleet) follow(ctx context.Context, n *node, k *corev1.Node, pods []*corev1.Pod) {
	s := stand(k)
	if s.schedulable && !f.chosen.Matches(selector.Set(k.Labels)) {
		s.schedulable, s.why = false, fmt.Sprintf("its labels are not those of the nodes that were asked for (%s)", f.config.Nodes)
	}
	f.note("node "+k.Name, s.err())
	if n.wasGone() || n.finished() {
		// A node of that name is there again: a new life begins from the record.
		n.stop(errors.New("its node is there again"))
		n = f.replace(n)
	}
	if !s.reachable {
		if n.runs() {
			f.config.Log.Warn("an agent falls silent", "agent", n.id, "why", s.why)
			n.stop(errUnreachable)
		}
		return
	}
	if !n.runs() {
		n.name = k.Name // what was known of it before may have been its id alone
	}
	var have resources.Resources
	if s.schedulable {
		have = capacity(k, pods, f.config.Install, serviceName, f.config.Namespace, f.config.VolumeSpace)
	}
	n.aim(have, false)
	if !n.runs() {
		f.startAgent(ctx, n)
	}
}

func (f *Fleet) has(id resources.AgentID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.agents[id] != nil
}

// Agents are the agents that the fleet knows, those among them whose nodes do not answer.
func (f *Fleet) Agents() []resources.AgentID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.agents))
}

func (f *Fleet) agent(id resources.AgentID, name string) *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.agents[id]
	if n == nil {
		n = newNode(id, name)
		f.agents[id] = n
	}
	return n
}

func (f *Fleet) replace(old *node) *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := newNode(old.id, old.name)
	f.agents[old.id] = n
	return n
}

// podsOf are the pods that were made for an agent.
func (f *Fleet) podsOf(id resources.AgentID) []*corev1.Pod {
	return f.pods.all(func(p *corev1.Pod) bool { return f.ours(p) && p.Annotations[annotationAgent] == string(id) })
}

func (f *Fleet) ours(p *corev1.Pod) bool {
	return p.Namespace == f.config.Namespace && p.Labels[labelInstall] == f.config.Install && p.Annotations[annotationTask] != ""
}

// podChanged tells the agent that a pod is of; everybody's pods change what nodes have.
func (f *Fleet) podChanged(p *corev1.Pod, gone bool) {
	if f.ours(p) {
		id := resources.AgentID(p.Annotations[annotationAgent])
		if resources.CheckID(string(id)) == nil {
			f.agent(id, string(id)).sight(p, gone)
		}
	}
	f.poke()
}

// trim drops what nobody here reads, which is most of a pod.
func (f *Fleet) trim(p *corev1.Pod) {
	p.ManagedFields = nil
	if f.ours(p) {
		p.Spec.Volumes = nil
		return
	}
	p.Annotations, p.Labels, p.OwnerReferences = nil, nil, nil
	p.Spec.Volumes, p.Spec.Affinity, p.Spec.Tolerations = nil, nil, nil
	p.Status = corev1.PodStatus{Phase: p.Status.Phase}
	for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i, c := range containers {
			containers[i] = corev1.Container{Resources: c.Resources, RestartPolicy: c.RestartPolicy}
		}
	}
}
