package kubernetes

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/weir-project/weir/resources"
)

// The ports that a pod may ask for. Each pod has an IP of its own, so they are there to be told apart by name, not to be fought for.
const firstPort, lastPort = 1024, 32767

// freePorts is where ports are chosen from for those who fix none.
const freePorts = "20000"

// maxAddresses is how many pods of one node may have a name of their own.
const maxAddresses = 64

// standing is what of a node concerns its agent.
type standing struct {
	reachable   bool   // its kubelet answers: an agent that does not answer has no link
	schedulable bool   // new pods may come
	why         string // of what is not so
}

// err is what is not so, nil when nothing is.
func (s standing) err() error {
	if s.why == "" {
		return nil
	}
	return errors.New(s.why)
}

// stand reads a node's conditions and taints.
func stand(n *corev1.Node) standing {
	s := standing{reachable: true, schedulable: true}
	ready := corev1.NodeCondition{Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated"}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			ready = c
		}
	}
	switch ready.Status {
	case corev1.ConditionUnknown:
		return standing{why: fmt.Sprintf("its kubelet does not answer (%s)", ready.Reason)}
	case corev1.ConditionFalse:
		s.schedulable, s.why = false, "it is not ready: "+ready.Message
	}
	if n.Spec.Unschedulable {
		s.schedulable, s.why = false, "it is cordoned"
	}
	for _, t := range n.Spec.Taints {
		if t.Key == corev1.TaintNodeUnschedulable { // the cluster's own mark of a cordon
			s.schedulable, s.why = false, "it is cordoned"
			continue
		}
		if t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute {
			s.schedulable, s.why = false, fmt.Sprintf("it has the taint %s:%s", t.Key, t.Effect)
		}
	}
	return s
}

// capacity is what a node has for Weir: what it may allocate, less what other people's pods on it ask for. A node that is full of pods,
// or that takes none, has nothing; what tasks and reservations hold stays theirs all the same (resources/agent.Resize).
func capacity(n *corev1.Node, pods []*corev1.Pod, install, service, namespace string, volumes resources.Milli) resources.Resources {
	if !stand(n).schedulable {
		return nil
	}
	cpu, mem := n.Status.Allocatable[corev1.ResourceCPU], n.Status.Allocatable[corev1.ResourceMemory]
	slots := n.Status.Allocatable[corev1.ResourcePods]
	free := slots.Value()
	for _, p := range pods {
		if over(p) {
			continue
		}
		free--
		if p.Labels[labelInstall] == install && p.Namespace == namespace {
			continue // counted as tasks
		}
		cpu.Sub(asks(p, corev1.ResourceCPU))
		mem.Sub(asks(p, corev1.ResourceMemory))
	}
	if free <= 0 {
		return nil
	}
	return resources.Resources{
		resources.Scalar(resources.CPUs, resources.Milli(max(0, cpu.MilliValue()))),
		resources.Scalar(resources.Mem, resources.Whole(max(0, mem.Value())>>20)),
		resources.Scalar(resources.Disk, volumes),
		resources.RangesOf(resources.Ports, resources.Range{Begin: firstPort, End: lastPort}),
		resources.SetOf(resources.Addresses, addresses(n.Name, service, namespace)...),
	}.Normal()
}

// asks is what the scheduler counts for a pod: the sum over its containers, or what one that prepares asks for if that is more.
func asks(p *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	var sum, most resource.Quantity
	for _, c := range p.Spec.Containers {
		sum.Add(c.Resources.Requests[name])
	}
	for _, c := range p.Spec.InitContainers {
		q := c.Resources.Requests[name]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sum.Add(q)
			continue
		}
		if q.Cmp(most) > 0 {
			most = q
		}
	}
	if most.Cmp(sum) > 0 {
		sum = most
	}
	sum.Add(p.Spec.Overhead[name])
	return sum
}

// addresses are names below the headless service. A pod that holds one has it for its host name, so that whoever reserved the name finds
// the same one again, whatever IP the pod was given.
func addresses(node, service, namespace string) []string {
	out := make([]string, 0, maxAddresses)
	name := short(node)
	for i := range maxAddresses {
		out = append(out, fmt.Sprintf("%s-%02d.%s.%s.svc", name, i, service, namespace))
	}
	return out
}
