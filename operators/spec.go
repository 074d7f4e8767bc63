package operators

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weir-project/weir/resources"
)

// The names of the operators.
const (
	Kafka     = "kafka"
	Cassandra = "cassandra"
	Nats      = "nats"
	Stream    = "stream"
)

// ServiceSpec is what one managed installation shall be. Zero amounts mean the operator's default.
type ServiceSpec struct {
	Stack      string            `json:"stack"`
	Name       string            `json:"name"`
	Operator   string            `json:"operator"`
	Version    string            `json:"version,omitempty"`
	Size       int               `json:"size"`                  // brokers, nodes or workers
	StorageMiB int64             `json:"storage_mib,omitempty"` // of each pod
	MemoryMiB  int64             `json:"memory_mib,omitempty"`  // of each pod
	CPUs       resources.Milli   `json:"cpus,omitempty"`        // of each pod, thousandths; shares, not a quota (C4)
	Port       int               `json:"port,omitempty"`        // fixed client port; 0: a free one
	Profile    string            `json:"profile,omitempty"`     // dev or production
	Settings   map[string]string `json:"settings,omitempty"`
}

// Role is the role that the service's framework has and its reservations belong to: "stack/service".
func (s ServiceSpec) Role() string { return s.Stack + "/" + s.Name }

// KafkaReplication is how many replicas a partition has that is made in a Kafka of this size: 3 from three brokers on, else 1. Two would
// protect nothing: with min ISR 1 the second may lag when the first dies, with 2 nothing can be written when either does. And what has
// two replicas could not go back to one broker.
func (s ServiceSpec) KafkaReplication() int {
	if s.Size >= 3 {
		return 3
	}
	return 1
}

// PodName is "<service>-<index>".
func (s ServiceSpec) PodName(index int) string { return s.Name + "-" + strconv.Itoa(index) }

// Revision identifies all of the spec: a plan is made for one revision.
func (s ServiceSpec) Revision() string { return hash(s.canonical() + fmt.Sprintf("size=%d\n", s.Size)) }

// PodRevision identifies what a pod of the service runs: all of the spec but its size, so that a change of size restarts nobody.
func (s ServiceSpec) PodRevision() string { return hash(s.canonical()) }

// canonical names every field, so that a field that is added later and is zero changes no revision.
func (s ServiceSpec) canonical() string {
	var b strings.Builder
	put := func(name, value string) {
		if value != "" && value != "0" {
			fmt.Fprintf(&b, "%s=%q\n", name, value)
		}
	}
	put("stack", s.Stack)
	put("name", s.Name)
	put("operator", s.Operator)
	put("version", s.Version)
	put("storage", strconv.FormatInt(s.StorageMiB, 10))
	put("memory", strconv.FormatInt(s.MemoryMiB, 10))
	put("cpus", strconv.FormatInt(int64(s.CPUs), 10))
	put("port", strconv.Itoa(s.Port))
	put("profile", s.Profile)
	for _, k := range sortedKeys(s.Settings) {
		put("settings."+k, s.Settings[k])
	}
	return b.String()
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

// Port is a TCP port that a pod listens on. Number 0 is "a free one of the agent's". OnAddress ports stand on the pod's own
// address, where nobody else listens, and so need no share of the agent's ports; they are always fixed.
type Port struct {
	Name      string `json:"name"`
	Number    int    `json:"number,omitempty"`
	OnAddress bool   `json:"on_address,omitempty"`
}

// PodSpec is what one pod wants from an agent. A pod with a Volume or an Address is stateful: its resources are reserved for it, so
// that a restart finds the same directory, address and ports (C4).
type PodSpec struct {
	Stack    string          `json:"stack"`
	Service  string          `json:"service"`
	Type     string          `json:"type"` // broker, node, worker
	Index    int             `json:"index"`
	Task     string          `json:"task"` // name of its task: kafka, cassandra, worker
	Revision string          `json:"revision"`
	CPUs     resources.Milli `json:"cpus"`
	MemMiB   int64           `json:"mem_mib"`
	DiskMiB  int64           `json:"disk_mib,omitempty"`
	Volume   string          `json:"volume,omitempty"` // path of its persistent volume in the sandbox; empty: none
	Address  bool            `json:"address,omitempty"`
	Ports    []Port          `json:"ports,omitempty"`
	Grace    time.Duration   `json:"grace,omitempty"` // between SIGTERM and SIGKILL
}

// Name is "<service>-<index>".
func (p PodSpec) Name() string { return p.Service + "-" + strconv.Itoa(p.Index) }

// Role is "stack/service".
func (p PodSpec) Role() string { return p.Stack + "/" + p.Service }

// Stateful reports whether the pod's resources are reserved for it.
func (p PodSpec) Stateful() bool { return p.Volume != "" || p.Address }

// VolumeID names the pod's persistent volume, for ever.
func (p PodSpec) VolumeID() string {
	if p.Volume == "" {
		return ""
	}
	return p.Stack + "." + p.Name() + "." + p.Volume
}

// The labels of tasks and reservations. A task carries the first five; a reservation LabelPod, and a port's also LabelPort.
const (
	LabelStack    = "stack"
	LabelService  = "service"
	LabelPod      = "pod"
	LabelRevision = "revision"
	LabelAttempt  = "attempt"
	LabelPort     = "port"
)

// Labels are what a task of the pod carries, so that it can be adopted by what it says of itself.
func (p PodSpec) Labels(attempt int) map[string]string {
	return map[string]string{
		LabelStack: p.Stack, LabelService: p.Service, LabelPod: p.Name(),
		LabelRevision: p.Revision, LabelAttempt: strconv.Itoa(attempt),
	}
}

// TaskID is unique for ever: stack, pod, task, attempt, and a nonce that the caller draws once for the installation of the service.
func (p PodSpec) TaskID(attempt int, nonce string) resources.TaskID {
	return resources.TaskID(fmt.Sprintf("%s.%s.%s.%s.%d", p.Stack, p.Name(), p.Task, nonce, attempt))
}

// Placement is where a pod is: what its reservation, or the offer it is launched from, gives it.
type Placement struct {
	Agent   resources.AgentID `json:"agent"`
	Address string            `json:"address"` // its own, else 127.0.0.1
	Ports   map[string]int    `json:"ports,omitempty"`
	Volume  string            `json:"volume,omitempty"` // id of its persistent volume
}

// Endpoint is "address:port" of a named port.
func (p Placement) Endpoint(port string) string {
	return p.Address + ":" + strconv.Itoa(p.Ports[port])
}

// TaskSpec is what a command builder makes of a launch: all of a resources.TaskInfo that the operator decides.
type TaskSpec struct {
	Command resources.Command
	Files   []resources.File
}

// Info is the task that a launch puts into an offer.
func (t TaskSpec) Info(pod PodSpec, at Placement, attempt int, nonce string, take resources.Resources) resources.TaskInfo {
	return resources.TaskInfo{
		ID: pod.TaskID(attempt, nonce), Name: pod.Name(), Agent: at.Agent, Resources: take, Command: t.Command, Files: t.Files,
		Labels: pod.Labels(attempt), KillGrace: pod.Grace,
	}
}
