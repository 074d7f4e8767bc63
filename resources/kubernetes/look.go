package kubernetes

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/agent"
)

// Weir's own reasons, beside the agent's.
const (
	ReasonUnscheduled = "REASON_POD_UNSCHEDULED" // no place on its node within the time
	ReasonRefused     = "REASON_POD_REFUSED"     // the kubelet did not admit it
	ReasonEvicted     = "REASON_POD_EVICTED"
	ReasonImage       = "REASON_IMAGE"
	ReasonDeleted     = "REASON_POD_DELETED" // by somebody else
)

// verdict is what a pod says of its task.
type verdict struct {
	seen []agent.Observation // in the order in which it happened
	// waiting is why it does not run yet, empty when nothing is wrong; it is given up for after the time says so.
	waiting  string
	giveUp   agent.Observation
	patience func(Patience) time.Duration
}

// look reads a pod. It is a pure function of the pod, so it says the same however often the same pod is seen.
func look(p *corev1.Pod) verdict {
	status, started := task(p)
	switch {
	case status != nil && status.State.Terminated != nil:
		return verdict{seen: append(ran(status.State.Terminated.StartedAt.IsZero()), ended(p, status.State.Terminated))}
	case p.Status.Phase == corev1.PodFailed:
		return failed(p, started)
	case p.Status.Phase == corev1.PodSucceeded:
		return verdict{seen: append(ran(false), agent.Observation{Event: agent.ExitedZero})}
	case status != nil && status.State.Running != nil, p.Status.Phase == corev1.PodRunning && status == nil:
		return verdict{seen: ran(false)}
	case p.Spec.NodeName == "":
		return unscheduled(p)
	case started || status != nil && status.State.Waiting != nil:
		return preparing(p)
	}
	return verdict{} // bound, and its kubelet has not said anything yet
}

func ran(never bool) []agent.Observation {
	if never {
		return []agent.Observation{{Event: agent.ShimStarted}}
	}
	return []agent.Observation{{Event: agent.ShimStarted}, {Event: agent.ProcessStarted}}
}

// task finds the status of the task's container, and whether the kubelet has begun with any of the pod's.
func task(p *corev1.Pod) (status *corev1.ContainerStatus, started bool) {
	for i := range p.Status.ContainerStatuses {
		if p.Status.ContainerStatuses[i].Name == container {
			status = &p.Status.ContainerStatuses[i]
		}
	}
	return status, len(p.Status.ContainerStatuses)+len(p.Status.InitContainerStatuses) > 0
}

func ended(p *corev1.Pod, t *corev1.ContainerStateTerminated) agent.Observation {
	o := agent.Observation{Event: agent.ExitedBad, Reason: agent.ReasonExited, ExitCode: int(t.ExitCode)}
	switch {
	case t.Reason == "OOMKilled":
		o.Reason = agent.ReasonMemory
		o.Message = "it used more memory than its limit and was killed (exit code 137)"
	case p.Status.Reason == "Evicted":
		o.Reason, o.Message = ReasonEvicted, "evicted: "+p.Status.Message
	case t.Reason == "ContainerStatusUnknown":
		o.Event, o.Reason = agent.ExitUnknown, agent.ReasonUnknownExit
		o.Message = "exit status unknown: " + t.Message
	case t.Reason == "StartError" || t.Reason == "ContainerCannotRun":
		o.Reason, o.Message = agent.ReasonLaunch, "it could not be started: "+t.Message
	case t.ExitCode == 0:
		return agent.Observation{Event: agent.ExitedZero}
	default:
		o.Message = fmt.Sprintf("exit code %d", t.ExitCode)
		if t.Signal != 0 {
			o.Message += fmt.Sprintf(" (signal %d)", t.Signal)
		}
		if t.Message != "" {
			o.Message += ": " + lastLine(t.Message)
		}
	}
	return o
}

// failed is a pod that has ended and whose container says nothing: the kubelet did not admit it, or ended it as a whole.
func failed(p *corev1.Pod, started bool) verdict {
	message := strings.TrimSpace(p.Status.Reason + ": " + p.Status.Message)
	switch {
	case p.Status.Reason == "Evicted" && !started:
		return verdict{seen: []agent.Observation{{Event: agent.Refused, Reason: ReasonEvicted, Message: message}}}
	case p.Status.Reason == "Evicted":
		return verdict{seen: append(ran(false), agent.Observation{Event: agent.ExitUnknown, Reason: ReasonEvicted, Message: message})}
	}
	for _, s := range p.Status.InitContainerStatuses {
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return verdict{seen: append(ran(true), agent.Observation{Event: agent.StartFailed, Reason: agent.ReasonLaunch, ExitCode: int(t.ExitCode),
				Message: fmt.Sprintf("%s: exit status %d: %s", s.Name, t.ExitCode, lastLine(t.Message))})}
		}
	}
	if !started {
		return verdict{seen: []agent.Observation{{Event: agent.Refused, Reason: ReasonRefused, Message: "the node refused the pod: " + message}}}
	}
	return verdict{seen: append(ran(false), agent.Observation{Event: agent.ExitUnknown, Reason: agent.ReasonUnknownExit, Message: "exit status unknown: " + message})}
}

func unscheduled(p *corev1.Pod) verdict {
	why := "nobody has bound it to its node"
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message != "" {
			why = c.Reason + ": " + c.Message
		}
	}
	return verdict{waiting: why, patience: func(p Patience) time.Duration { return p.Unscheduled },
		giveUp: agent.Observation{Event: agent.Refused, Reason: ReasonUnscheduled, Message: "the pod found no place on its node: " + why}}
}

// preparing is a pod whose images are pulled and containers made. Some of what can go wrong there goes wrong for ever.
func preparing(p *corev1.Pod) verdict {
	v := verdict{seen: []agent.Observation{{Event: agent.ShimStarted}}}
	for _, s := range append(append([]corev1.ContainerStatus{}, p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...) {
		w := s.State.Waiting
		if w == nil {
			continue
		}
		reason := agent.ReasonLaunch
		patience := func(p Patience) time.Duration { return p.Start }
		switch w.Reason {
		case "InvalidImageName", "ErrImageNeverPull":
			reason, patience = ReasonImage, func(Patience) time.Duration { return 0 }
		case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable":
			reason = ReasonImage
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff":
		default:
			continue
		}
		why := strings.TrimSuffix(w.Reason+": "+w.Message, ": ")
		v.waiting, v.patience = why, patience
		v.giveUp = agent.Observation{Event: agent.StartFailed, Reason: reason, Message: fmt.Sprintf("image %s: %s", s.Image, why)}
		return v
	}
	return v
}

// vanished is what is known of a task whose pod is not there any more. It was this agent's doing where the task was being killed.
func vanished(state resources.TaskState, ran bool) agent.Observation {
	switch {
	case state == resources.Killing:
		return agent.Observation{Event: agent.ExitUnknown, Message: "the pod was deleted as asked; its exit code is not known"}
	case !ran:
		return agent.Observation{Event: agent.Refused, Reason: ReasonDeleted, Message: "the pod was deleted by somebody else before it ran"}
	}
	return agent.Observation{Event: agent.ExitUnknown, Reason: ReasonDeleted, Message: "the pod was deleted by somebody else; exit status unknown"}
}

// over reports that no container of a pod will ever run (again).
func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
