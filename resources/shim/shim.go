// Package shim holds the words that an agent and weir-shim exchange: the files of a shim's folder (C3). The folder is the
// whole protocol, so that either side may die and be started again.
//
//	DIR/intent.json   written by the agent before it starts weir-shim: what to run
//	DIR/lock          locked by the living shim; whoever holds it is the only one that may run the intent
//	DIR/shim.json     the shim's own identity
//	DIR/pid.json      the task's identity, recorded before its program begins
//	DIR/exit.json     how it ended; written once, by rename, and never changed
//	DIR/stop          (supervise) stay down
//
// It touches no file and no process; the reading and writing is in cmd/weir-shim and resources/process. Standard library only,
// because weir-shim starts in a millisecond.
package shim

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The files of a shim's folder. Each JSON file is written to a name of its own and renamed, so a reader sees all or nothing.
const (
	IntentFile = "intent.json"
	LockFile   = "lock"
	ShimFile   = "shim.json"
	PIDFile    = "pid.json"
	ExitFile   = "exit.json"
	StopFile   = "stop"
)

// DefaultGrace is the time between SIGTERM and SIGKILL where the intent names none.
const DefaultGrace = 5 * time.Second

// MaxOutput is the size at which an output file is copied to NAME.1 and truncated, where the intent names none. Bytes.
const MaxOutput = 64 << 20

// Intent is what a shim runs. Paths are absolute.
type Intent struct {
	Version   int               `json:"version"` // 1
	Argv      []string          `json:"argv"`
	Env       map[string]string `json:"env"` // the whole environment
	Prepare   []Prepare         `json:"prepare,omitempty"`
	Cwd       string            `json:"cwd"`
	Stdout    string            `json:"stdout"` // appended to
	Stderr    string            `json:"stderr"` // appended to; may be the same file
	DropIPC   bool              `json:"drop_ipc,omitempty"`
	User      *User             `json:"user,omitempty"`       // nil: the shim's own
	KillGrace time.Duration     `json:"kill_grace,omitempty"` // 0: DefaultGrace
	MaxOutput int64             `json:"max_output,omitempty"` // bytes; 0: MaxOutput
	Cgroups   []string          `json:"cgroups,omitempty"`    // cgroup.procs files that the task enters before it begins
}

// User is whom the task runs as.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Prepare is a command that runs to success before the main one, unless Creates exists.
type Prepare struct {
	Argv    []string `json:"argv"`
	Creates string   `json:"creates,omitempty"`
	Quiet   bool     `json:"quiet,omitempty"` // its output may hold secrets: discarded
}

// Identity names one process for ever: a process id is used again, but not with the same start time in the same boot.
type Identity struct {
	PID   int       `json:"pid"`
	Start uint64    `json:"start"` // clock ticks since boot, field 22 of /proc/PID/stat
	Boot  string    `json:"boot"`  // /proc/sys/kernel/random/boot_id
	At    time.Time `json:"at"`
}

// Exit is how the run ended. Exactly one of Code, Signal and Reason says why: a code when it ended by itself, a signal when one
// killed it, a reason when it never began.
type Exit struct {
	Code   int       `json:"code"`
	Signal string    `json:"signal,omitempty"` // "killed", "terminated", …
	Reason string    `json:"reason,omitempty"` // why the task never began
	Began  bool      `json:"began"`            // the task's own program was executed
	At     time.Time `json:"at"`
}

// String says it for people: "exit code 1", "killed by signal: terminated".
func (e Exit) String() string {
	switch {
	case e.Reason != "":
		return e.Reason
	case e.Signal != "":
		return "ended by signal: " + e.Signal
	}
	return "exit code " + strconv.Itoa(e.Code)
}

// ParseStat reads the state letter and the start time (clock ticks since boot) from the text of /proc/PID/stat. The command's
// name may hold blanks and parentheses, so fields are counted from its last parenthesis.
func ParseStat(stat []byte) (state byte, start uint64, err error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("read process stat: no command name in %.60q", stat)
	}
	fields := strings.Fields(string(stat[end+1:]))
	const startField = 19 // field 22, of which 3 is the first after the name
	if len(fields) <= startField {
		return 0, 0, fmt.Errorf("read process stat: %d fields after the command name, at least %d expected", len(fields), startField+1)
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("read process stat: start time: %w", err)
	}
	return fields[0][0], start, nil
}

// Alive reports whether the process whose stat text this is, is the one named by id and still runs. A zombie runs no more.
func (id Identity) Alive(stat []byte, boot string) bool {
	state, start, err := ParseStat(stat)
	return err == nil && start == id.Start && boot == id.Boot && state != 'Z' && state != 'X'
}
