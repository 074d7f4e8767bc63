package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/agent"
)

// life is one agent from reading its record to its end. Its state belongs to the goroutine of live.
type life struct {
	fleet  *Fleet
	node   *node
	log    *slog.Logger
	record *record
	pure   *agent.Agent
	at     place

	inbox   chan any      // links and commands
	done    chan struct{} // closed when the loop has ended
	session *session      // nil without a link

	waits map[resources.TaskID]wait // pods that do not get on
	ran   map[resources.TaskID]bool // tasks whose pod was seen on the node
}

// wait is a pod that does not get on, and since when.
type wait struct {
	pod     *corev1.Pod
	verdict verdict
	since   time.Time
}

// live runs one life. It returns nil when the node is gone and all was told, an error when the next life has to begin from the record.
func (f *Fleet) live(ctx context.Context, n *node, log *slog.Logger) (err error) {
	l := &life{fleet: f, node: n, log: log, record: newRecord(f.api, f.config.Install, n.id), inbox: make(chan any), done: make(chan struct{}),
		at:    place{install: f.config.Install, namespace: f.config.Namespace, agent: n.id, node: n.name, service: serviceName},
		waits: map[resources.TaskID]wait{}, ran: map[resources.TaskID]bool{}}
	saved, err := l.record.load(ctx)
	if err != nil {
		return err
	}
	have, gone, _ := n.take()
	l.pure = agent.New(agent.Config{NewID: f.config.NewID, Info: resources.AgentInfo{ID: n.id, Hostname: n.name, Resources: have,
		Attributes: map[string]string{resources.FreePorts: freePorts, "kubernetes": f.config.Namespace}}}, saved)
	// What is known is known before the server is told of it.
	if err := l.adopt(ctx, gone); err != nil {
		return err
	}
	f.note("agent "+string(n.id), nil)
	ctx, cancel := context.WithCancelCause(ctx)
	linked := make(chan error, 1)
	go func() { linked <- l.holdLink(ctx) }()
	defer func() {
		cancel(err)
		close(l.done)
		<-linked //nolint:errcheck // its context was ended above: that is all it can say
	}()
	return l.loop(ctx)
}

// adopt looks after the tasks of earlier lives: those of the record, and pods that no record speaks of.
func (l *life) adopt(ctx context.Context, gone bool) error {
	now := l.fleet.config.Now()
	for _, info := range l.pure.Tasks() {
		var p corev1.Pod
		err := l.fleet.api.get(ctx, "pods", podName(l.at.install, info.ID), &p)
		switch {
		case apierrors.IsNotFound(err) && gone:
			// The node is gone and its pods with it: that is what is told below.
		case apierrors.IsNotFound(err):
			// Its file contents are in no record, so it cannot be made now. A Secret that has no pod has no owner either.
			l.warn("what is no longer needed stays behind", l.fleet.api.remove(ctx, "secrets", podName(l.at.install, info.ID), "", ""))
			o := agent.Observation{Event: agent.StartFailed, Reason: agent.ReasonLaunch,
				Message: "no pod of it is there: the agent ended before it made one, or somebody deleted it while the agent was away"}
			if state, _ := l.pure.State(info.ID); state == resources.Killing {
				o = vanished(state, true)
			}
			err = l.perform(ctx, l.pure.Observe(now, info.ID, o))
			if err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if err := l.see(ctx, &p, false); err != nil {
				return err
			}
			l.complete(ctx, &p)
		}
	}
	for _, p := range l.fleet.podsOf(l.node.id) {
		if err := l.see(ctx, p, false); err != nil {
			return err
		}
	}
	if gone {
		return l.perform(ctx, l.pure.HostGone(now, goneMessage(l.node.name)))
	}
	return l.perform(ctx, l.pure.Resume(now))
}

// complete does what an earlier life may not have come to after it made a pod. A pod that an agent binds has been given its Secret before.
func (l *life) complete(ctx context.Context, p *corev1.Pod) {
	binds := p.Spec.SchedulerName == scheduler
	if over(p) || binds && p.Spec.NodeName != "" {
		return
	}
	if hasSecret(p) {
		l.warn("a Secret without an owner may stay behind", l.fleet.api.own(ctx, p.Name, p))
	}
	if binds {
		l.warn("a pod is not bound to its node", l.bind(ctx, p)) // the wait for a place ends it
	}
}

func hasSecret(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == p.Name })
}

func (l *life) loop(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if _, gone, _ := l.peek(); gone && l.pure.Idle() {
			return l.bury(ctx)
		}
		timer.Reset(l.untilNext())
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			err = l.tick(ctx)
		case <-l.node.wake:
			err = l.look(ctx)
		case m := <-l.inbox:
			err = l.handle(ctx, m)
		}
		if err != nil {
			return err
		}
	}
}

func (l *life) peek() (resources.Resources, bool, int) {
	l.node.mu.Lock()
	defer l.node.mu.Unlock()
	return l.node.have, l.node.gone, len(l.node.seen)
}

// bury removes the record of an agent that is gone, unless it holds reservations, whose claims may hold data.
func (l *life) bury(ctx context.Context) error {
	if len(l.pure.Saved().Reserved) > 0 {
		return nil
	}
	return l.record.forget(ctx)
}

func (l *life) untilNext() time.Duration {
	next := l.pure.Next()
	for _, w := range l.waits {
		if due := w.since.Add(w.verdict.patience(l.fleet.config.Patience)); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	if next.IsZero() {
		return time.Hour
	}
	return max(0, next.Sub(l.fleet.config.Now()))
}

func (l *life) handle(ctx context.Context, m any) error {
	now := l.fleet.config.Now()
	switch m := m.(type) {
	case *session: // a new link
		l.session = m
		m.send(l.pure.Register(now))
	case sessionEnded:
		if l.session == m.session {
			l.session = nil
		}
	case command:
		if m.session == l.session {
			return l.perform(ctx, l.pure.Command(now, m.command))
		}
	}
	return nil
}

// look takes note of what has changed on the node and in its pods.
func (l *life) look(ctx context.Context) error {
	have, gone, seen := l.node.take()
	for _, s := range seen {
		if err := l.see(ctx, s.pod, s.gone); err != nil {
			return err
		}
	}
	if gone {
		return l.perform(ctx, l.pure.HostGone(l.fleet.config.Now(), goneMessage(l.node.name)))
	}
	return l.perform(ctx, l.pure.Resize(have))
}

// see takes note of one pod; gone means that a watch or a list says that it is not there any more.
func (l *life) see(ctx context.Context, p *corev1.Pod, gone bool) error {
	info, err := taskOf(p)
	if err != nil {
		l.log.Warn("a pod is not what it was made as", "pod", p.Name, "err", err)
		return nil
	}
	state, known := l.pure.State(info.ID)
	switch {
	case !known && gone:
		return nil
	case !known:
		l.log.Warn("a pod of an unknown launch is taken in", "pod", p.Name, "task", info.ID)
		l.pure.Adopt(info)
		if err := l.perform(ctx, []agent.Effect{agent.Save{}}); err != nil {
			return err
		}
	case state == "" || state.Terminal():
		// Its end was told. A pod of it that can still run came too late, as after a create whose answer was lost.
		delete(l.waits, info.ID)
		if !gone && !over(p) && p.DeletionTimestamp == nil {
			l.log.Warn("a pod of a task that has ended is deleted", "pod", p.Name, "task", info.ID)
			l.remove(ctx, p, "")
		}
		return nil
	}
	l.ran[info.ID] = l.ran[info.ID] || p.Spec.NodeName != ""
	v := look(p)
	for _, o := range v.seen {
		if err := l.perform(ctx, l.pure.Observe(l.fleet.config.Now(), info.ID, o)); err != nil {
			return err
		}
	}
	if gone {
		return l.lost(ctx, info.ID, p)
	}
	l.await(info.ID, p, v)
	return nil
}

func (l *life) await(id resources.TaskID, p *corev1.Pod, v verdict) {
	if v.waiting == "" || p.DeletionTimestamp != nil {
		delete(l.waits, id)
		return
	}
	w := wait{pod: p, verdict: v, since: l.fleet.config.Now()}
	if old, waited := l.waits[id]; waited {
		w.since = old.since
	}
	l.waits[id] = w
}

// lost ends a task whose pod is gone. A list may be older than the pod, so the API server is asked for this one pod; a name that it does
// not know now will never be used again, since a task id is used once.
func (l *life) lost(ctx context.Context, id resources.TaskID, last *corev1.Pod) error {
	var p corev1.Pod
	err := l.fleet.api.get(ctx, "pods", last.Name, &p)
	if err == nil && p.UID == last.UID {
		return l.see(ctx, &p, false)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	delete(l.waits, id)
	if _, gone, _ := l.peek(); gone {
		return nil // the node's end is the reason, and is told as such
	}
	state, _ := l.pure.State(id)
	o := vanished(state, l.ran[id])
	delete(l.ran, id)
	return l.perform(ctx, l.pure.Observe(l.fleet.config.Now(), id, o))
}

// tick repeats what is due, and gives up what has waited too long.
func (l *life) tick(ctx context.Context) error {
	now := l.fleet.config.Now()
	for id, w := range l.waits {
		if now.Sub(w.since) < w.verdict.patience(l.fleet.config.Patience) {
			continue
		}
		if err := l.giveUp(ctx, id, w); err != nil {
			return err
		}
	}
	return l.perform(ctx, l.pure.Tick(now))
}

// giveUp deletes a pod that does not get on, if it is still as it was looked at: one that was bound meanwhile may run.
func (l *life) giveUp(ctx context.Context, id resources.TaskID, w wait) error {
	var p corev1.Pod
	err := l.fleet.api.get(ctx, "pods", w.pod.Name, &p)
	if apierrors.IsNotFound(err) {
		return l.lost(ctx, id, w.pod)
	}
	if err != nil {
		return err
	}
	v := look(&p)
	if v.waiting == "" {
		return l.see(ctx, &p, false)
	}
	err = l.fleet.api.remove(ctx, "pods", p.Name, p.UID, p.ResourceVersion)
	if apierrors.IsConflict(err) {
		return nil // it has changed: the watch tells, or the next tick looks again
	}
	if err != nil {
		l.log.Warn("a pod that does not get on cannot be deleted", "pod", p.Name, "err", err)
		w.since = l.fleet.config.Now() // not at once again
		l.waits[id] = w
		return nil
	}
	delete(l.waits, id)
	return l.perform(ctx, l.pure.Observe(l.fleet.config.Now(), id, v.giveUp))
}

// holdLink dials, and dials again, until ctx ends.
func (l *life) holdLink(ctx context.Context) error {
	loop := link.Loop{
		Dial:    func(ctx context.Context) (*link.Conn, error) { return l.fleet.config.Dial(ctx, l.node.id) },
		Session: l.serve,
		Failed: func(attempt int, err error, wait time.Duration) {
			if attempt == 1 { // the rest would say the same
				l.log.Info("no link to the server", "err", err, "wait", wait)
			}
		},
	}
	return loop.Run(ctx)
}

// perform carries effects out in order. A record that cannot be written ends this life: without it nothing may run (I3).
func (l *life) perform(ctx context.Context, effects []agent.Effect) error {
	for _, e := range effects {
		switch e := e.(type) {
		case agent.Save:
			if err := l.record.save(ctx, l.pure.Saved()); err != nil {
				return err
			}
		case agent.MakeVolume:
			l.warn("a volume's claim was not made", l.makeVolume(ctx, e.ID))
		case agent.RemoveVolume:
			l.warn("a claim that is no longer needed stays behind", l.fleet.api.remove(ctx, "persistentvolumeclaims", claimName(l.at.install, e.ID), "", ""))
		case agent.RemoveSandbox:
			name := podName(l.at.install, e.Task)
			l.warn("what is no longer needed stays behind", errors.Join(l.fleet.api.remove(ctx, "pods", name, "", ""), l.fleet.api.remove(ctx, "secrets", name, "", "")))
		case agent.Start:
			if err := l.start(ctx, e.Info); err != nil {
				return err
			}
		case agent.Stop:
			l.stop(ctx, e)
		case agent.Report:
			if l.session != nil {
				l.session.send(e.Report)
			}
		case agent.Reject:
			l.log.Error("the server is refused", "err", e.Err)
			if l.session != nil {
				l.session.end(e.Err)
			}
		}
	}
	return nil
}

func (l *life) warn(what string, err error) {
	if err != nil {
		l.log.Warn(what, "err", tell(err))
	}
}

func (l *life) remove(ctx context.Context, p *corev1.Pod, version string) {
	l.warn("a pod cannot be deleted", l.fleet.api.remove(ctx, "pods", p.Name, p.UID, version))
}

// stop deletes a pod with the grace that it was made with. Hard or not is the same: the kubelet kills at the end of the grace, and to
// delete a pod without its word would let its successor run beside it.
func (l *life) stop(ctx context.Context, e agent.Stop) {
	name := podName(l.at.install, e.Task)
	if p, ok := l.fleet.pods.get(l.at.namespace, name); ok && p.DeletionTimestamp != nil {
		return
	}
	l.warn("a task cannot be stopped", l.fleet.api.remove(ctx, "pods", name, "", ""))
}

// makeVolume makes a volume's claim. One that could not be made is made when a task needs it; one that was made once never is again, since
// a task must not find an empty volume where its data was.
func (l *life) makeVolume(ctx context.Context, id string) error {
	volume, ok := l.pure.Info().Resources.Volume(id)
	if !ok {
		return nil
	}
	claim := claimFor(l.at, volume, l.fleet.config.StorageClass)
	err := l.fleet.api.create(ctx, "persistentvolumeclaims", claim.Name, claim, &corev1.PersistentVolumeClaim{})
	if apierrors.IsAlreadyExists(err) {
		err = l.ownClaim(ctx, claim)
	}
	delete(l.node.unmade, id)
	if err != nil {
		l.node.unmade[id] = true
	}
	return err
}

// makeVolumes makes those of a task's volumes that could not be made before.
func (l *life) makeVolumes(ctx context.Context, info resources.TaskInfo) error {
	for _, v := range info.Resources.Volumes() {
		if l.node.unmade[v.Volume.ID] {
			if err := l.makeVolume(ctx, v.Volume.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// ownClaim sees that a claim that is there already is this agent's (I3: no two agents hold one volume).
func (l *life) ownClaim(ctx context.Context, want *corev1.PersistentVolumeClaim) error {
	var have corev1.PersistentVolumeClaim
	if err := l.fleet.api.get(ctx, "persistentvolumeclaims", want.Name, &have); err != nil {
		return err
	}
	if a := have.Annotations[annotationAgent]; a != string(l.at.agent) {
		return fmt.Errorf("claim %s is agent %s's (I3)", have.Name, a)
	}
	return nil
}
