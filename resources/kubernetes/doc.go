// Package kubernetes is the agents that are Kubernetes nodes: each node of a cluster is one agent, and a task is one pod bound to that
// node (D2). It speaks to the server over the same link and in the same words as resources/process does; operators cannot tell the two
// apart.
//
//	config, namespace, err := kube.Load("", "")
//	fleet, err := kubernetes.New(kubernetes.Config{REST: config, Namespace: namespace, Install: "w1", Dial: dial, Image: image})
//	err = fleet.Run(ctx) // returns when ctx ends; the pods run on, and the next Run adopts them
//
// What it makes, all in one namespace, all labelled weir.dev/install:
//
//	Pod                    one a task; its name comes from the task's id, so that a second create finds the first ("adopted, never twice")
//	Secret                 a task's files, mode 0600 unless they ask for another; owned by the pod
//	PersistentVolumeClaim  one a persistent volume; deleted by DESTROY alone
//	ConfigMap              one an agent: term, reservations, tasks (docs/formats), written by compare-and-set
//	Service                one, headless: the names that are offered as `addresses` (docs/adr/0006)
//
// A pod without a claim is bound by the agent itself; one with a claim is placed by the cluster's scheduler, with an affinity to the node.
// A node that cannot be reached is an agent that does not answer; a deleted node ends its tasks as GONE.
//
// It never decides what runs, never deletes a pod by force, never creates one before its record is written, never reads a Secret, and
// never ends a pod because it ends itself or because the server is away. What it may do is the list in Rules, and nothing else.
package kubernetes
