package cassandra

import (
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
)

// The names of a node's ports. All of them stand on the node's own address.
const (
	ClientPort  = "client"
	StoragePort = "storage"
	TLSPort     = "storage-tls"
)

// AdminRole is Weir's own role; DC and Rack are those of every node so far.
const (
	AdminRole = "weir"
	DC        = "dc1"
	Rack      = "rack1"
)

const (
	volume         = "data"
	defaultMem     = 1024  // MiB of the task: 384 MB of heap, and what the JVM needs beside it (709 MB seen under load)
	defaultStorage = 10240 // MiB
	defaultCPUs    = 300   // 0.3: shares, not a quota (C4)
	grace          = 20 * time.Second
)

// Pod is what one node wants.
func Pod(spec operators.ServiceSpec, index int) operators.PodSpec {
	pod := operators.PodSpec{
		Stack: spec.Stack, Service: spec.Name, Type: "node", Index: index, Task: "cassandra", Revision: spec.PodRevision(),
		CPUs: defaultCPUs, MemMiB: defaultMem, DiskMiB: defaultStorage, Volume: volume, Address: true, Grace: grace,
		Ports: []operators.Port{
			{Name: ClientPort, Number: 9042, OnAddress: true},
			{Name: StoragePort, Number: 7000, OnAddress: true},
			{Name: TLSPort, Number: 7001, OnAddress: true},
		},
	}
	if spec.CPUs != 0 {
		pod.CPUs = spec.CPUs
	}
	if spec.MemoryMiB != 0 {
		pod.MemMiB = spec.MemoryMiB
	}
	if spec.StorageMiB != 0 {
		pod.DiskMiB = spec.StorageMiB
	}
	if spec.Port != 0 {
		pod.Ports[0].Number = spec.Port
	}
	return pod
}

// Decide is the plan of a Cassandra: phase node launches and waits, phase access makes our role and then turns the default account off.
func Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	node := plan.Phase{Name: "node", Strategy: plan.Serial}
	for i := range spec.Size {
		name := spec.PodName(i)
		steps := plan.Pod(spec, i, o, Pod)
		ready, why := answers(o, name)
		node.Steps = append(append(node.Steps, steps...),
			plan.Ready(name, steps[len(steps)-1].Done, ready, "the node to answer on its client port", why))
	}
	return plan.Plan{Service: spec.Name, Name: "deploy", Revision: spec.Revision(), Phases: []plan.Phase{node, access(spec, o)}}
}

func access(spec operators.ServiceSpec, o operators.Observed) plan.Phase {
	f := o.Cassandra
	role := f.Authenticated.Known && f.Authenticated.Value
	off := f.DefaultOff.Known && f.DefaultOff.Value
	var blocked string
	if ready, why := Ready(spec, f); !ready {
		blocked = why
	}
	missing := func(f operators.Fact[bool], no string) string {
		if !f.Known {
			return f.Reason()
		}
		return no
	}
	first := plan.Admin("access:role", operators.Admin{Kind: operators.CreateAdminRole, Service: spec.Name}, role, blocked,
		missing(f.Authenticated, "role "+AdminRole+" cannot log in yet"), o)
	if !role && blocked == "" {
		blocked = "after role " + AdminRole + " can log in"
	}
	return plan.Phase{Name: "access", Strategy: plan.Serial, Steps: []plan.Step{
		first,
		plan.Admin("access:default-off", operators.Admin{Kind: operators.DisableDefaultLogin, Service: spec.Name}, role && off, blocked,
			missing(f.DefaultOff, "the default account can still log in"), o),
	}}
}

// Ready reports whether all nodes are up, and why not.
func Ready(spec operators.ServiceSpec, f operators.CassandraFacts) (bool, string) {
	if !f.Nodes.Known {
		return false, "the node does not answer yet: " + f.Nodes.Reason()
	}
	up := 0
	for _, state := range f.Nodes.Value {
		if state == Up {
			up++
		}
	}
	if up < spec.Size {
		return false, "a node is not up"
	}
	return true, ""
}

// Usable reports whether the service is ready for others: up, our role works, the default account is off.
func Usable(spec operators.ServiceSpec, f operators.CassandraFacts) (bool, string) {
	ready, why := Ready(spec, f)
	switch {
	case !ready:
		return false, why
	case !f.Authenticated.Known || !f.Authenticated.Value:
		return false, "role " + AdminRole + " cannot log in yet"
	case !f.DefaultOff.Known || !f.DefaultOff.Value:
		return false, "the default account has not been turned off yet"
	}
	return true, ""
}

// Up is the state of a node that answers.
const Up = "up"

func answers(o operators.Observed, pod string) (bool, string) {
	f := o.Cassandra.Nodes
	if !f.Known {
		return false, "the node does not answer yet: " + f.Reason()
	}
	if address := o.Reserved[pod].Address; f.Value[address] != Up {
		return false, "the node at " + address + " is not up"
	}
	if f.At.Before(o.Attempts[plan.LaunchID(pod)].At) {
		return false, "the node has not been asked since its launch"
	}
	return true, ""
}
