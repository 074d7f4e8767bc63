package operators

import (
	"fmt"
	"strings"

	"github.com/weir-project/weir/resources"
)

// Action is what a step does: one of Launch, Kill, Admin, Wait. Each is idempotent where it stands in a step (I4).
type Action interface {
	fmt.Stringer
	action()
}

// Launch wants an offer for a pod. Spec is the one of the pod's revision: a recovery launches at the revision that the task had.
type Launch struct {
	Pod  PodSpec
	Spec ServiceSpec
}

// Kill ends a task.
type Kill struct {
	Pod  string
	Task resources.TaskID
	Why  string
}

// AdminKind names a call of operators/admin.
type AdminKind string

// The admin calls.
const (
	EnsureTopics        AdminKind = "ensure topics"
	EnsureTables        AdminKind = "ensure tables"
	EnsureStreams       AdminKind = "ensure streams"
	CreateAdminRole     AdminKind = "create the admin role"
	DisableDefaultLogin AdminKind = "disable the default account"
	CordonBroker        AdminKind = "cordon"
	UncordonBroker      AdminKind = "lift the cordon"
	MoveReplicas        AdminKind = "move replicas"
	ElectLeaders        AdminKind = "elect the preferred leaders"
	UnregisterBroker    AdminKind = "unregister"
)

// Admin is a call that changes a running service, idempotent and verified by what is observed afterwards.
type Admin struct {
	Kind      AdminKind
	Service   string
	Topics    []Topic
	Keyspaces []Keyspace
	Tables    []Table
	Broker    int    // of CordonBroker, UncordonBroker, UnregisterBroker
	Moves     []Move // of MoveReplicas; of ElectLeaders the partitions
	Streams   []JetStream
}

// Wait does nothing but wait for something to become true.
type Wait struct{ For string }

func (Launch) action() {}
func (Kill) action()   {}
func (Admin) action()  {}
func (Wait) action()   {}

func (l Launch) String() string {
	return fmt.Sprintf("launch %s at revision %s", l.Pod.Name(), l.Pod.Revision)
}

func (k Kill) String() string { return fmt.Sprintf("kill %s: %s", k.Task, k.Why) }

func (a Admin) String() string {
	switch a.Kind {
	case CordonBroker, UncordonBroker, UnregisterBroker:
		return fmt.Sprintf("%s broker %d of %s", strings.Replace(string(a.Kind), "the cordon", "the cordon of", 1), a.Broker, a.Service)
	case MoveReplicas:
		if len(a.Moves) > 0 { // else none are left to move, or as many are under way as may be
			return fmt.Sprintf("%s of %s: %s", a.Kind, a.Service, movesText(a.Moves))
		}
	}
	var names []string
	for _, t := range a.Topics {
		names = append(names, t.Name)
	}
	for _, t := range a.Tables {
		names = append(names, t.Keyspace+"."+t.Name)
	}
	for _, t := range a.Streams {
		names = append(names, t.Name)
	}
	s := fmt.Sprintf("%s of %s", a.Kind, a.Service)
	if len(names) > 0 {
		s += ": " + strings.Join(names, ", ")
	}
	return s
}

func (w Wait) String() string { return "wait for " + w.For }
