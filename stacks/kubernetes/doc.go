// Package kubernetes watches the Stack objects of one namespace of a Kubernetes cluster, hands each to the server, and writes into its status
// what `weir get` says (D4: the objects own the specs).
//
// It is level-triggered: it looks at the objects that are there, asks the server to make them so, and writes only what differs. It decides
// nothing about services, keeps nothing that it cannot find again, and never writes a spec. An object gets a finalizer before its services
// start and loses it when they have ended. Every write names the revision that it was made for (I8); on a conflict the object is read afresh.
//
//	c, err := kubernetes.New(kubernetes.Config{Rest: config, Namespace: "default", Server: daemon, Log: log})
//	group.Go("stack objects", c.Run)
package kubernetes

import (
	"context"
	"errors"

	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/stacks"
)

// Finalizer keeps an object until the services of its stack have ended.
const Finalizer = stacks.Group + "/stop"

// Rules are the permissions that this package uses; its client is held to them.
var Rules = []kube.Rule{
	{Group: stacks.Group, Resource: stacks.Plural, Verbs: []string{"get", "list", "watch", "update"}},
	{Group: stacks.Group, Resource: stacks.Plural + "/status", Verbs: []string{"update"}},
	{Resource: "configmaps", Verbs: []string{"get"}},
}

// Object is a Stack object as the server gets it.
type Object struct {
	Namespace  string
	Name       string
	UID        string
	Generation int64
	Source     []byte            // the stack document, as YAML
	Files      map[string][]byte // by the path written in it
}

// Document is the name that diagnostics give to Source.
const Document = "stack.yaml"

// ErrStale answers an object of a generation that has been passed already, or one whose stack has ended: a read that lagged behind. Nothing is
// done and nothing written.
var ErrStale = errors.New("a later generation of the object is known")

// Server is the Weir server as Stack objects see it. Its methods answer soon and are called by one goroutine.
type Server interface {
	// Apply makes a stack what the object says. The error says why it was refused, and then nothing changed (I7). Applying what is
	// applied already changes nothing.
	Apply(ctx context.Context, o Object) error
	// Status is what `weir get` says of the object's stack; found is false where none was applied.
	Status(ctx context.Context, name, uid string) (s Status, found bool, err error)
	// End stops the services of the object's stack and says whether all have ended. It is called again until they have.
	End(ctx context.Context, name, uid string) (done bool, err error)
	// Applied lists the names of the objects whose stacks have not ended, by uid.
	Applied(ctx context.Context) (map[string]string, error)
}

// Status is how a stack stands, in the words of `weir get`.
type Status struct {
	Phase     string // starting, running, complete, stopping, stopped, failed
	Reason    string
	Services  []Service
	Pipelines []Pipeline
}

// Service is one of its services.
type Service struct {
	Name, Operator, Version, State, Endpoint, Reason string
	Size, Ready                                      int
}

// Pipeline is one of its pipelines.
type Pipeline struct {
	Name, State, Reason string
	Run                 uint64
}
