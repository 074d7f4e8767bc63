// Package api holds what the server and the command line say to each other: the JSON of its HTTP API under /v1, which is also what
// `weir get -o json` prints. Fields are only ever added.
//
// It holds types and a client; it decides nothing.
package api

import (
	"regexp"
	"time"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/physical"
)

// Bundle is a stack with the files that it names, as a command sends it.
type Bundle struct {
	File   string            `json:"file"` // absolute path of the stack file
	Source []byte            `json:"source"`
	Files  map[string][]byte `json:"files"` // by the path written in the stack
	// Object is set by the server where the stack came from a Stack object of a Kubernetes cluster, which owns it.
	Object *Origin `json:"object,omitempty"`
}

// Origin is the object that a stack came from.
type Origin struct {
	Namespace  string `json:"namespace"`
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
	Ended      bool   `json:"ended,omitempty"` // it was deleted, and no task of its stack runs
}

var countdown = regexp.MustCompile(`; (again in [0-9a-z.µ]+)$`)

// Steady parts a reason from the countdown at its end, which would make every look at it another text.
func Steady(reason string) (text, note string) {
	if at := countdown.FindStringSubmatchIndex(reason); at != nil {
		return reason[:at[0]], reason[at[2]:at[3]]
	}
	return reason, ""
}

// Apply answers what became of a bundle.
type Apply struct {
	Stack   string   `json:"stack"`
	Changed bool     `json:"changed"`
	Notes   []string `json:"notes,omitempty"` // what a person should know
}

// Plan is the text of `weir plan`, and whether anything would change.
type Plan struct {
	Stack   string `json:"stack"`
	Changes int    `json:"changes"`
	Text    string `json:"text"`
}

// Stack is the state of one.
type Stack struct {
	Name      string     `json:"name"`
	State     string     `json:"state"` // preparing, starting, running, complete, stopped, failed
	Reason    string     `json:"reason,omitempty"`
	Exit      int        `json:"exit,omitempty"` // for a failure that only a person can mend
	Hint      string     `json:"hint,omitempty"`
	Steps     []Progress `json:"steps,omitempty"` // long work: downloads, service starts
	Services  []Service  `json:"services"`
	Pipelines []Pipeline `json:"pipelines,omitempty"`
	Tasks     []Task     `json:"tasks,omitempty"`
	Show      []Shown    `json:"show,omitempty"`
}

// Shown is a pipeline that reads results back.
type Shown struct {
	Path   string `json:"path"`
	Source []byte `json:"source"`
}

// Progress of long work, Total 0 where the end is unknown.
type Progress struct {
	Key   string `json:"key"`
	What  string `json:"what"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Unit  string `json:"unit,omitempty"`
	Ended bool   `json:"ended,omitempty"`
}

// Service is the state of one service.
type Service struct {
	Name     string        `json:"name"`
	Operator string        `json:"operator"`
	Version  string        `json:"version,omitempty"`
	Want     int           `json:"want"`
	Ready    int           `json:"ready"`
	Written  int           `json:"written,omitempty"` // the size in the stack file, where `weir scale` set another
	State    string        `json:"state"`             // waiting, deploying, scaling, updating, ready, recovering, stopped
	Reason   string        `json:"reason,omitempty"`
	Endpoint string        `json:"endpoint,omitempty"`
	Plan     string        `json:"plan,omitempty"`    // as `weir rollout` prints it
	Rollout  *Rollout      `json:"rollout,omitempty"` // the same for machines
	Took     time.Duration `json:"took,omitempty"`    // from its first launch to ready
	Elapsed  time.Duration `json:"elapsed,omitempty"` // since its first launch, while it is not ready
}

// Pipeline is the state of one run.
type Pipeline struct {
	Name    string    `json:"name"`
	UID     string    `json:"uid"`
	Run     uint64    `json:"run"`
	State   string    `json:"state"`   // waiting, running, complete
	Bounded bool      `json:"bounded"` // it comes to an end
	Reason  string    `json:"reason,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Stages  []Stage   `json:"stages"`
	// Records are the rows read by the stages that read from outside; RecordsPerSecond is end to end: over Started to Ended.
	Records          int64              `json:"records"`
	RecordsPerSecond float64            `json:"records_per_second"`
	CPUSeconds       map[string]float64 `json:"cpu_seconds,omitempty"` // by service, spent during the run
}

// Stage is the state of one stage.
type Stage struct {
	Name      string              `json:"name"`
	Mode      string              `json:"mode"`
	State     string              `json:"state"` // waiting, running, ended
	Reason    string              `json:"reason,omitempty"`
	Slots     int                 `json:"slots"`
	Running   int                 `json:"running"`
	EndedN    int                 `json:"ended"`
	Epochs    uint64              `json:"epochs"`
	Watermark int64               `json:"watermark"` // microseconds
	Counters  checkpoint.Counters `json:"counters"`
	Total     int64               `json:"total,omitempty"` // rows to come, where known
}

// Task is one task of a stack.
type Task struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Service string    `json:"service"`
	State   string    `json:"state"`
	Reason  string    `json:"reason,omitempty"`
	PID     int       `json:"pid,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Holds   string    `json:"holds,omitempty"` // resources
}

// Agents are what runs tasks, and what is in their way.
type Agents struct {
	Agents     []Agent     `json:"agents"`
	Conditions []Condition `json:"conditions"`
}

// Agent is a host, or a node of a cluster.
type Agent struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"` // process, kubernetes
	Host    string `json:"host"`
	State   string `json:"state"`            // connected; disconnected: its link is broken; unreachable: for so long that its tasks count as such; absent: it never came
	Reason  string `json:"reason,omitempty"` // why it is not connected, or offers nothing
	Tasks   int    `json:"tasks"`            // that have not ended
	Total   Amount `json:"total"`            // reservations and volumes included
	Used    Amount `json:"used"`             // by tasks
	Offered Amount `json:"offered"`          // to services that have not answered yet
}

// Amount is resources: the amounts that can be added up, and all of them as Mesos writes them.
type Amount struct {
	CPUs float64 `json:"cpus"`
	Mem  float64 `json:"mem_mib"`
	Disk float64 `json:"disk_mib"`
	All  string  `json:"all"`
}

// Condition is something that keeps agents from working.
type Condition struct {
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Hint    string `json:"hint,omitempty"` // what to type
}

// Channel is a deployed pipeline's channel with what is needed to read it.
type Channel struct {
	Channel    physical.Channel    `json:"channel"`
	Connection physical.Connection `json:"connection"`
}

// Log is a piece of a task's output.
type Log struct {
	Task string `json:"task"`
	File string `json:"file"`
	Text []byte `json:"text"`
	Next int64  `json:"next"` // offset to go on from
}

// Version of the server.
type Version struct {
	Build string `json:"build"`
	PID   int    `json:"pid"`
	Term  uint64 `json:"term"`
}
