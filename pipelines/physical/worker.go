package physical

import "github.com/weir-project/weir/pipelines/checkpoint"

// The messages between the server and a worker (C5), framed JSON on one mTLS stream. Frame types: "register" and "report" from the
// worker, "assign" from the server.

// Register is a worker's first message, and says what it already runs, so that a server that was restarted adopts it.
type Register struct {
	Task    string        `json:"task"`
	Build   string        `json:"build"`
	Running []RunningSlot `json:"running,omitempty"`
}

// RunningSlot is a slot that a worker holds.
type RunningSlot struct {
	Slot checkpoint.Slot `json:"slot"`
	Term uint64          `json:"term"`
}

// Assign is the whole of what a worker shall run: slots that are not in it are given up after their next commit. It is level-triggered: the
// same message twice changes nothing.
type Assign struct {
	Revision    uint64                `json:"revision"`
	Pipelines   []PipelineRun         `json:"pipelines"`
	Slots       []SlotTask            `json:"slots"`
	Connections map[string]Connection `json:"connections"` // by service name
	Install     string                `json:"install"`     // first part of every transactional.id
}

// PipelineRun is a graph with the identity of this run of it.
type PipelineRun struct {
	UID   string `json:"uid"`
	Run   uint64 `json:"run"`
	Graph Graph  `json:"graph"`
}

// SlotTask is a slot to run under a term.
type SlotTask struct {
	Slot   checkpoint.Slot `json:"slot"`
	Term   uint64          `json:"term"`
	Splits []SplitOf       `json:"splits,omitempty"` // of bounded sources, listed once per run (C8)
}

// SplitOf is a split of the source at a node's path.
type SplitOf struct {
	Node string `json:"node"`
	ID   string `json:"id"`
	Data []byte `json:"data,omitempty"`
}

// Connection says how to reach a service. It travels only on the mTLS stream; nothing of it is logged.
type Connection struct {
	Operator string   `json:"operator"` // kafka, cassandra
	Servers  []string `json:"servers"`
	User     string   `json:"user,omitempty"`
	Password string   `json:"password,omitempty"`
	CA       []byte   `json:"ca,omitempty"`
	Cert     []byte   `json:"cert,omitempty"`
	Key      []byte   `json:"key,omitempty"`
	LocalDC  string   `json:"local_dc,omitempty"`
}

// Report tells where the slots of a worker stand: once a second, and at once when one ended. It repeats after a reconnection.
type Report struct {
	Task  string       `json:"task"`
	Slots []SlotReport `json:"slots"`
}

// SlotReport is one slot's state.
type SlotReport struct {
	Slot      checkpoint.Slot     `json:"slot"`
	Term      uint64              `json:"term"`
	State     string              `json:"state"` // starting, running, waiting, ended, failed
	Reason    string              `json:"reason,omitempty"`
	Epoch     uint64              `json:"epoch"`
	Watermark int64               `json:"watermark"`
	Counters  checkpoint.Counters `json:"counters"` // cumulative for the run (I2)
	BusyNanos int64               `json:"busy_nanos"`
	CommitP50 int64               `json:"commit_p50_nanos,omitempty"`
}
