package kubernetes

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/agent"
)

// start makes a task's pod and says what came of it.
func (l *life) start(ctx context.Context, info resources.TaskInfo) error {
	p, err := l.launch(ctx, info)
	if err == nil {
		return l.see(ctx, p, false)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // the next life finds the pod, or that there is none
	}
	l.log.Warn("a task was not launched", "task", info.ID, "err", tell(err))
	l.warn("what was made of a launch stays behind", l.undo(ctx, info.ID))
	return l.perform(ctx, l.pure.Observe(l.fleet.config.Now(), info.ID, agent.Observation{Event: agent.StartFailed, Reason: agent.ReasonLaunch, Message: tell(err)}))
}

// undo deletes what was made of a launch. A pod that a lost call makes later is found by the watch, and deleted then; one that has the name
// and is not this task's stays as it is.
func (l *life) undo(ctx context.Context, id resources.TaskID) error {
	name := podName(l.at.install, id)
	var p corev1.Pod
	err := l.fleet.api.get(ctx, "pods", name, &p)
	if err == nil {
		if found, err := taskOf(&p); err != nil || found.ID != id {
			return nil //nolint:nilerr // what cannot be read is not this task's
		}
		err = l.fleet.api.remove(ctx, "pods", name, p.UID, "")
	}
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return errors.Join(err, l.fleet.api.remove(ctx, "secrets", name, "", ""))
}

// launch makes the Secret, the pod, and the binding, in this order: a pod without its Secret could never start, and a pod that is bound
// to no node never runs.
func (l *life) launch(ctx context.Context, info resources.TaskInfo) (*corev1.Pod, error) {
	at := l.at
	image, err := l.fleet.config.Image(info)
	if err != nil {
		return nil, err
	}
	at.image = image
	if err := l.makeVolumes(ctx, info); err != nil {
		return nil, err
	}
	pod, secret, err := podFor(at, info)
	if err != nil {
		return nil, err
	}
	if secret != nil {
		err := l.fleet.api.create(ctx, "secrets", secret.Name, secret, &corev1.Secret{})
		if err != nil && !apierrors.IsAlreadyExists(err) { // the name is this task's alone: an earlier attempt has made it
			return nil, err
		}
	}
	made, err := l.create(ctx, pod, info.ID)
	if err != nil {
		return nil, err
	}
	if secret != nil {
		if err := l.fleet.api.own(ctx, secret.Name, made); err != nil {
			return nil, err
		}
	}
	if pod.Spec.SchedulerName == scheduler && made.Spec.NodeName == "" {
		if err := l.bind(ctx, made); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// create makes the pod, or finds the one that an earlier attempt has made.
func (l *life) create(ctx context.Context, pod *corev1.Pod, id resources.TaskID) (*corev1.Pod, error) {
	var made corev1.Pod
	err := l.fleet.api.create(ctx, "pods", pod.Name, pod, &made)
	if !apierrors.IsAlreadyExists(err) {
		return &made, err
	}
	if err := l.fleet.api.get(ctx, "pods", pod.Name, &made); err != nil {
		return nil, err
	}
	if found, err := taskOf(&made); err != nil || found.ID != id {
		return nil, fmt.Errorf("create pod %s for task %s: a pod of that name exists and is not this task's", pod.Name, id)
	}
	return &made, nil
}

// bind binds a pod to the node; one that is bound already is.
func (l *life) bind(ctx context.Context, p *corev1.Pod) error {
	err := l.fleet.api.bind(ctx, p.Name, p.UID, l.node.name)
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}
