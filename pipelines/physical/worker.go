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
	Operator string   `json:"operator"` // kafka, cassandra, nats
	Servers  []string `json:"servers"`
	User     string   `json:"user,omitempty"`
	Password string   `json:"password,omitempty"`
	CA       []byte   `json:"ca,omitempty"`
	Cert     []byte   `json:"cert,omitempty"`
	Key      []byte   `json:"key,omitempty"`
	LocalDC  string   `json:"local_dc,omitempty"`

	Credentials []byte `json:"credentials,omitempty"` // nats: what stands in a .creds file
}

// Report tells where the slots of a worker stand: once a second, and at once when one ended. It repeats after a reconnection.
type Report struct {
	Task  string       `json:"task"`
	Slots []SlotReport `json:"slots"`
	Usage *Usage       `json:"usage,omitempty"` // of the process; nil where the platform does not tell
}

// Usage is what a worker's process took, and what its machine has left. CPU and HostIdle only grow.
type Usage struct {
	At       int64   `json:"at_nanos"`                  // since the process began
	CPU      int64   `json:"cpu_nanos"`                 // user and system, all threads
	Cores    float64 `json:"cores"`                     // that the process may use at once
	Host     string  `json:"host,omitempty"`            // the machine, until it boots again; empty: HostIdle is unknown
	HostIdle int64   `json:"host_idle_nanos,omitempty"` // core time of the machine that nobody used, since it booted
}

// SlotReport is one slot's state.
type SlotReport struct {
	Slot      checkpoint.Slot     `json:"slot"`
	Term      uint64              `json:"term"`
	State     string              `json:"state"` // starting, running, waiting, ended, failed
	Reason    string              `json:"reason,omitempty"`
	Epoch     uint64              `json:"epoch"`
	Watermark int64               `json:"watermark"`
	Counters  checkpoint.Counters `json:"counters"`   // cumulative for the run (I2)
	BusyNanos int64               `json:"busy_nanos"` // Work.Busy, for readers that do not know Work
	CommitP50 int64               `json:"commit_p50_nanos,omitempty"`
	Work      *Work               `json:"work,omitempty"` // nil before the slot runs
}

// Work is what a slot measured of itself since it began under its term. Its loop is one thread, so that Busy, Commit, Sink and the time for which it waits
// for input add up to At. All but Lag and Offered only grow; a slot that recovers from an error goes on counting.
type Work struct {
	At      int64   `json:"at_nanos"`
	Rows    int64   `json:"rows"`              // that were read, committed or not
	Busy    int64   `json:"busy_nanos"`        // in its transforms and in making commits; no waiting
	Commit  int64   `json:"commit_nanos"`      // waiting for its log to commit
	Sink    int64   `json:"sink_nanos"`        // waiting for sinks to apply what was committed
	Lag     int64   `json:"lag"`               // rows that stand behind its positions, in sources whose end is known
	Offered float64 `json:"offered,omitempty"` // rows a second that its paced sources offer
	Greedy  bool    `json:"greedy,omitempty"`  // a source is read as fast as it goes: there is no rate to compare with

	// Unmeasured says why what stands before the slot is not known; empty: it is.
	Unmeasured string `json:"unmeasured,omitempty"`
}
