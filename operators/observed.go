package operators

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weir-project/weir/resources"
)

// Fact is something that was observed at a time, or could not be read. A destructive step waits on what is unknown (D5).
type Fact[T any] struct {
	Value T
	At    time.Time
	Known bool
	Why   string // of an unknown fact: why it could not be read
}

// Know is a fact that was read.
func Know[T any](value T, at time.Time) Fact[T] { return Fact[T]{Value: value, At: at, Known: true} }

// Unknown is a fact that could not be read, and why.
func Unknown[T any](why string) Fact[T] { return Fact[T]{Why: why} }

// Reason is why the fact is unknown, in words.
func (f Fact[T]) Reason() string {
	switch {
	case f.Known:
		return ""
	case f.Why == "":
		return "not observed yet"
	}
	return f.Why
}

// Task is the latest that is known of a pod's latest task.
type Task struct {
	ID       resources.TaskID
	Agent    resources.AgentID
	State    resources.TaskState
	Revision string
	Attempt  int
	PID      int
	ExitCode int
	Message  string
	Since    time.Time // when it came into this state
}

// Live reports whether the task may be running: an unreachable one may.
func (t Task) Live() bool { return t.ID != "" && !t.State.Terminal() }

// TaskOf reads a status as the latest of its pod; false for a task that is not an operator's.
func TaskOf(s resources.TaskStatus) (pod string, t Task, ok bool) {
	pod = s.Labels[LabelPod]
	attempt, err := strconv.Atoi(s.Labels[LabelAttempt])
	if pod == "" || err != nil {
		return "", Task{}, false
	}
	return pod, Task{
		ID: s.Task, Agent: s.Agent, State: s.State, Revision: s.Labels[LabelRevision], Attempt: attempt,
		PID: s.PID, ExitCode: s.ExitCode, Message: s.Message, Since: s.At,
	}, true
}

// Attempt is what is stored of the doing of one step. The attempt with its task id is stored before the offer is accepted (C2).
type Attempt struct {
	Total     int              `json:"total"`              // all attempts; never goes back, so that task ids stay unique
	Failures  int              `json:"failures,omitempty"` // in a row
	At        time.Time        `json:"at,omitzero"`        // when the last began
	Task      resources.TaskID `json:"task,omitempty"`     // of the last launch
	Settled   resources.TaskID `json:"settled,omitempty"`  // the task whose end was counted
	LastError string           `json:"last_error,omitempty"`
	NotBefore time.Time        `json:"not_before,omitzero"`
}

// The back-off between attempts (0.5 s doubling to 30 s), and how long a task must have run for its failures to be forgotten.
const (
	FirstBackoff = 500 * time.Millisecond
	MaxBackoff   = 30 * time.Second
	Forget       = time.Minute
)

// Backoff is the pause after so many failures in a row.
func Backoff(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	d := FirstBackoff
	for i := 1; i < failures && d < MaxBackoff; i++ {
		d *= 2
	}
	return min(d, MaxBackoff)
}

// Begin is the attempt that is stored before something is done; task is empty for a step that launches nothing.
func (a Attempt) Begin(at time.Time, task resources.TaskID) Attempt {
	a.Total++
	a.At, a.Task = at, task
	return a
}

// Failed is the attempt after a failure at a time.
func (a Attempt) Failed(at time.Time, cause string) Attempt {
	a.Failures++
	a.LastError = cause
	a.NotBefore = at.Add(Backoff(a.Failures))
	return a
}

// Ended counts the end of the attempt's own task, once: asked again with the same task it changes nothing. A task that was killed by our
// hand did not fail; one that had run for Forget starts the count anew.
func (a Attempt) Ended(t Task) Attempt {
	if t.ID == "" || t.ID != a.Task || t.ID == a.Settled || !t.State.Terminal() {
		return a
	}
	a.Settled = t.ID
	if t.State == resources.Killed {
		return a.Succeeded()
	}
	if t.Since.Sub(a.At) >= Forget {
		a.Failures = 0
	}
	cause := t.Message
	if cause == "" {
		cause = "exit code " + strconv.Itoa(t.ExitCode)
	}
	return a.Failed(t.Since, string(t.State)+", "+cause)
}

// Unheard reports whether the attempt's task was launched and nothing is known of it: t is an older task of the pod, or none. A task whose
// end was counted is known to be over, also when its agent has forgotten it since.
func (a Attempt) Unheard(t Task) bool {
	return a.Task != "" && a.Task != t.ID && a.Task != a.Settled
}

// Succeeded forgets the failures.
func (a Attempt) Succeeded() Attempt {
	a.Failures, a.LastError, a.NotBefore = 0, "", time.Time{}
	return a
}

// Observed is one snapshot of what is so, the only way back from the world into a decision.
type Observed struct {
	Now      time.Time
	Tasks    map[string]Task        // by pod
	Reserved map[string]Placement   // by pod: found in offers or tasks
	Attempts map[string]Attempt     // by step id
	Specs    map[string]ServiceSpec // by pod revision: what earlier revisions were, for a recovery at the revision that the task had

	Kafka     KafkaFacts     // of a kafka service
	Cassandra CassandraFacts // of a cassandra service
	Nats      NatsFacts      // of a nats service
	Stream    StreamFacts    // of a stream service
}

// NatsFacts are what the admin calls read of a NATS.
type NatsFacts struct {
	Answers Fact[bool]                 // the login was taken and JetStream answered; false: it was refused
	Streams Fact[map[string]JetStream] // by name
}

// CassandraFacts are what the admin calls read of a Cassandra.
type CassandraFacts struct {
	Nodes         Fact[map[string]string] // address -> state: up, down, joining …
	Authenticated Fact[bool]              // our role can log in and is a superuser
	DefaultOff    Fact[bool]              // the default account was refused
	Keyspaces     Fact[map[string]Keyspace]
	Tables        Fact[map[string]Table] // by "keyspace.table"
}

// StreamFacts are what the workers' streams and the services' admin calls told.
type StreamFacts struct {
	Services map[string]ServiceFacts // the Kafkas and Cassandras that the pipelines use, by name
	Workers  Fact[map[string]Worker] // by pod
}

// ServiceFacts are what a stream service must know of a service beside it.
type ServiceFacts struct {
	Ready     Fact[bool]
	Topics    Fact[map[string]Topic]
	Keyspaces Fact[map[string]Keyspace]
	Tables    Fact[map[string]Table] // by "keyspace.table"
	Streams   Fact[map[string]JetStream]
}

// Worker is a stream worker as its stream shows it.
type Worker struct {
	Task       string
	Registered bool
	Assigned   int  // slots that the present assignment gives it
	Holding    int  // slots that it reported last and has not given up
	Awaited    bool // its link is broken and may come back: what it holds is unknown
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
