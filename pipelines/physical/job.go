package physical

import "github.com/weir-project/weir/pipelines/checkpoint"

// The engines and runners that a stage may name. The native engine has no runner.
const (
	EngineNative = "native"
	EngineBeam   = "beam"
	RunnerPrism  = "prism"
)

// JobVersion is that of Job and JobResult (docs/formats/beam-job.md).
const JobVersion = 1

// Job is a bounded fragment that another engine runs as a whole, in a process of its own. It travels to that process's standard input, since it holds
// credentials.
type Job struct {
	Version     int                   `json:"version"`
	Runner      string                `json:"runner"`
	Slot        checkpoint.Slot       `json:"slot"`
	Fragment    Fragment              `json:"fragment"`
	Channels    map[string]Channel    `json:"channels,omitempty"`
	Splits      []SplitOf             `json:"splits,omitempty"` // as SlotTask's
	Connections map[string]Connection `json:"connections,omitempty"`
}

// JobResult is what a job did. Nothing of it is visible yet: whoever asked for it commits the outbox and applies it.
type JobResult struct {
	Version  int                 `json:"version"`
	Counters checkpoint.Counters `json:"counters"`
	Outbox   []JobEntry          `json:"outbox,omitempty"`
	Printed  string              `json:"printed,omitempty"`  // by log nodes
	Asserted *JobAssertion       `json:"asserted,omitempty"` // an assertion that does not hold; then the rest is empty
	Error    string              `json:"error,omitempty"`    // why it failed; then the rest is empty
}

// JobEntry is an outbox entry of the sink at a node's path.
type JobEntry struct {
	Node  string `json:"node"`
	Entry []byte `json:"entry"`
}

// JobAssertion is an assertion that does not hold.
type JobAssertion struct {
	Node       string   `json:"node"`
	Missing    []string `json:"missing,omitempty"`
	Unexpected []string `json:"unexpected,omitempty"`
}
