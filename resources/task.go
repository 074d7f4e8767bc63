package resources

import "time"

// TaskInfo is a process to be launched on an agent.
type TaskInfo struct {
	ID        TaskID            `json:"id"`   // unique for ever: service, pod, index, task and attempt
	Name      string            `json:"name"` // what people call it: "events-kafka-0"
	Agent     AgentID           `json:"agent"`
	Framework FrameworkID       `json:"framework"`
	Resources Resources         `json:"resources"`
	Command   Command           `json:"command"`
	Files     []File            `json:"files,omitempty"` // written into the sandbox before the launch (C1)
	Labels    map[string]string `json:"labels,omitempty"`
	KillGrace time.Duration     `json:"kill_grace,omitempty"` // SIGTERM, then SIGKILL after this; 0 means 5 s
}

// Command is what the shim executes. Argv[0] is an absolute path or a name to be found on PATH. In Argv, Env values and
// file contents "{sandbox}" stands for the sandbox's absolute path, and "{volume:ID}" for that of a persistent volume.
type Command struct {
	Argv    []string          `json:"argv"`
	Env     map[string]string `json:"env,omitempty"` // the whole environment beside PATH, HOME and TMPDIR; never a secret
	Prepare []Prepare         `json:"prepare,omitempty"`
	DropIPC bool              `json:"drop_ipc,omitempty"` // drop CAP_IPC_LOCK, so that a JVM does not lock its memory
	User    string            `json:"user,omitempty"`     // empty: the agent's own user
}

// Prepare is a command that runs to success before the main one, unless Creates exists already.
type Prepare struct {
	Argv    []string `json:"argv"`
	Creates string   `json:"creates,omitempty"` // a path; where it exists the command is skipped
	Quiet   bool     `json:"quiet,omitempty"`   // its output may hold secrets and is discarded
}

// File is written 0600 (or Mode) into the sandbox at launch. Secret content travels in the agent's mTLS stream only:
// it is never in a plan, an argument, the environment or a log.
type File struct {
	Path    string `json:"path"` // relative to the sandbox, or "{volume:ID}/name"
	Mode    uint32 `json:"mode,omitempty"`
	Content []byte `json:"content"`
}

// TaskState is Mesos's task state without its TASK_ prefix.
type TaskState string

const (
	Staging     TaskState = "STAGING"
	Starting    TaskState = "STARTING"
	Running     TaskState = "RUNNING"
	Killing     TaskState = "KILLING"
	Finished    TaskState = "FINISHED"
	Failed      TaskState = "FAILED"
	Killed      TaskState = "KILLED"
	Errored     TaskState = "ERROR"       // the task's description is invalid
	Dropped     TaskState = "DROPPED"     // never ran
	Lost        TaskState = "LOST"        // not partition aware: unknown
	Gone        TaskState = "GONE"        // its agent was removed for good
	Unreachable TaskState = "UNREACHABLE" // its agent does not answer; it may come back
)

// Terminal reports whether a task in this state will never run again.
func (s TaskState) Terminal() bool {
	switch s {
	case Finished, Failed, Killed, Errored, Dropped, Lost, Gone:
		return true
	}
	return false
}

// TaskStatus is a report about a task. UUID is acknowledged by the framework; a reconciliation's answer has none.
type TaskStatus struct {
	Task     TaskID            `json:"task"`
	Agent    AgentID           `json:"agent"`
	State    TaskState         `json:"state"`
	Reason   string            `json:"reason,omitempty"` // Mesos's REASON_..., or Weir's own
	Message  string            `json:"message,omitempty"`
	ExitCode int               `json:"exit_code,omitempty"`
	PID      int               `json:"pid,omitempty"`
	At       time.Time         `json:"at"`
	UUID     string            `json:"uuid,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"` // the task's labels, so that a framework adopts what it finds
	Name     string            `json:"name,omitempty"`
	Resource Resources         `json:"resources,omitempty"` // what the task holds
	// Framework is whose task it is, so that a master that remembers nothing gives it back to its owner.
	Framework FrameworkID `json:"framework,omitempty"`
}
