package agent

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weir-project/weir/resources"
)

// Reasons are Mesos's where Mesos has one.
const (
	ReasonExited      = "REASON_COMMAND_EXECUTOR_FAILED"
	ReasonUnknownExit = "REASON_EXECUTOR_TERMINATED"
	ReasonLaunch      = "REASON_CONTAINER_LAUNCH_FAILED"
	ReasonInvalid     = "REASON_TASK_INVALID"
	ReasonMemory      = "REASON_CONTAINER_LIMITATION_MEMORY"
	ReasonPortInUse   = "REASON_PORT_IN_USE" // Weir's own: a port that the task asks for is taken by something else
	ReasonHostGone    = "REASON_AGENT_REMOVED"
)

const (
	retryMin = 2 * time.Second
	retryMax = time.Minute
	// backstop is how long after a shim should have killed its task the agent does it itself.
	backstop     = 2 * time.Second
	defaultGrace = 5 * time.Second
	// maxKept bounds the sandboxes of ended tasks over all names.
	maxKept = 200
)

// Config of an agent. Info.Resources is what the host has, with no reservations: those come from what was saved.
type Config struct {
	Info  resources.AgentInfo
	NewID func() string // of status reports
	Keep  int           // sandboxes kept of ended tasks of one name; 3 when zero
}

// Saved is what an agent must find again after a restart. States are not in it: they are seen anew in the shims' folders.
type Saved struct {
	Version  int                 `json:"version"` // 1
	ID       resources.AgentID   `json:"id"`
	Term     uint64              `json:"term"`     // the highest of a server seen
	Reserved resources.Resources `json:"reserved"` // reservations and volumes
	Tasks    []SavedTask         `json:"tasks"`
	Kept     []KeptTask          `json:"kept"`
}

// SavedTask is a task that has not ended, or whose end nobody has acknowledged. File contents are not in it: they may be secret,
// and stand in the sandbox already.
type SavedTask struct {
	Info    resources.TaskInfo `json:"info"`
	Killing bool               `json:"killing,omitempty"`
	// Refused holds the final status of a task that never ran, which no folder can tell.
	Refused *resources.TaskStatus `json:"refused,omitempty"`
}

// KeptTask is an ended task whose sandbox is still there, oldest first.
type KeptTask struct {
	ID   resources.TaskID `json:"id"`
	Name string           `json:"name"`
}

// Effect is something for the edge to do, in order.
type Effect interface{ effect() }

type (
	// Save asks that Saved() be on disk before the effects that follow.
	Save struct{}
	// MakeVolume makes the directory of a persistent volume; RemoveVolume deletes it with what is in it.
	MakeVolume   struct{ ID string }
	RemoveVolume struct{ ID string }
	// Start launches a task, Files included.
	Start struct{ Info resources.TaskInfo }
	// Stop ends a task: through its shim, or by SIGKILL to its process group when Hard.
	Stop struct {
		Task resources.TaskID
		Hard bool
	}
	// Report is for the master; it is dropped when there is no link, since registering says the same again.
	Report struct{ Report resources.AgentReport }
	// RemoveSandbox deletes what an ended task left behind.
	RemoveSandbox struct{ Task resources.TaskID }
	// Reject ends the link: the server on it is not the one that leads.
	Reject struct{ Err error }
)

func (Save) effect()          {}
func (MakeVolume) effect()    {}
func (RemoveVolume) effect()  {}
func (Start) effect()         {}
func (Stop) effect()          {}
func (Report) effect()        {}
func (RemoveSandbox) effect() {}
func (Reject) effect()        {}

type task struct {
	info     resources.TaskInfo
	status   resources.TaskStatus // the latest; UUID "" once acknowledged
	shimDead bool
	killAt   time.Time // when SIGKILL is due; zero for never
	retryAt  time.Time
	wait     time.Duration
}

// Agent is one agent's knowledge. It belongs to one goroutine.
type Agent struct {
	config   Config
	term     uint64
	seq      uint64              // of the last apply on this link
	total    resources.Resources // reservations and volumes included
	tasks    map[resources.TaskID]*task
	kept     []KeptTask
	shortage resources.Resources
	gone     bool // the host was removed for good
}

// New makes an agent, with what an earlier life of it saved (nil for none). The tasks in it are in state STAGING until the edge
// has looked at them and told Observe.
func New(config Config, saved *Saved) *Agent {
	if config.Keep == 0 {
		config.Keep = 3
	}
	a := &Agent{config: config, tasks: map[resources.TaskID]*task{}, total: config.Info.Resources.Normal()}
	if saved == nil {
		return a
	}
	a.term, a.kept = saved.Term, slices.Clone(saved.Kept)
	a.fit(saved.Reserved)
	for _, s := range saved.Tasks {
		t := &task{info: s.Info}
		t.status = a.blank(s.Info)
		if s.Killing {
			t.status.State = resources.Killing
		}
		if s.Refused != nil {
			t.status = *s.Refused
			t.wait = retryMin
		}
		a.tasks[s.Info.ID] = t
	}
	return a
}

// fit lays reservations over what the host has. One that shrank keeps them all the same: the volumes behind them hold data.
func (a *Agent) fit(reserved resources.Resources) {
	have, plain := a.config.Info.Resources.Normal(), reserved.Plain()
	a.shortage = nil
	if !have.Contains(plain) {
		a.shortage = plain.Sub(have)
	}
	a.total = have.Sub(plain).Add(reserved)
}

// Resize takes note that the host has more or less than before. What tasks hold stays theirs.
func (a *Agent) Resize(have resources.Resources) []Effect {
	if have.Equal(a.config.Info.Resources) {
		return nil
	}
	a.config.Info.Resources = have
	a.fit(a.total.Reservations())
	info := a.Info()
	return []Effect{Report{resources.AgentReport{Type: resources.AgentChanged, Info: &info, Seq: a.seq}}}
}

// Adopt takes in a task that runs here and that nothing saved speaks of, as after a loss of what was saved. It is in state STAGING
// until the edge tells Observe. A task that is known, or was, is not taken in again.
func (a *Agent) Adopt(info resources.TaskInfo) bool {
	if a.knows(info.ID) {
		return false
	}
	info.Files = nil
	a.tasks[info.ID] = &task{info: info, status: a.blank(info)}
	return true
}

// Resume goes on with the kills of an earlier life, which may have ended between noting a kill and carrying it out.
func (a *Agent) Resume(now time.Time) []Effect {
	var effects []Effect
	for _, t := range a.sorted() {
		if t.status.State == resources.Killing {
			t.killAt = a.hardKill(now, t)
			effects = append(effects, Stop{Task: t.info.ID})
		}
	}
	return effects
}

// Shortage is what the reservations of an earlier life hold beyond what the host has now; empty is the rule.
func (a *Agent) Shortage() resources.Resources { return a.shortage }

// Saved is what must be on disk.
func (a *Agent) Saved() Saved {
	s := Saved{Version: 1, ID: a.config.Info.ID, Term: a.term, Reserved: a.total.Reservations(), Kept: slices.Clone(a.kept)}
	for _, t := range a.sorted() {
		info := t.info
		info.Files = nil
		saved := SavedTask{Info: info, Killing: t.status.State == resources.Killing}
		if t.status.State == resources.Dropped {
			status := t.status
			saved.Refused = &status
		}
		s.Tasks = append(s.Tasks, saved)
	}
	return s
}

// Tasks are the tasks that have not ended, for the edge to look at after a restart.
func (a *Agent) Tasks() []resources.TaskInfo {
	var out []resources.TaskInfo
	for _, t := range a.sorted() {
		if !t.status.State.Terminal() {
			out = append(out, t.info)
		}
	}
	return out
}

// Info is what it registers with.
func (a *Agent) Info() resources.AgentInfo {
	info := a.config.Info
	info.Resources = a.total
	if a.gone {
		info.Resources = nil // what was reserved stays saved, for a host that comes back under this name
	}
	return info
}

// State is a task's, "" for one whose end was acknowledged; known is false for a task that was never here.
func (a *Agent) State(id resources.TaskID) (state resources.TaskState, known bool) {
	if t, ok := a.tasks[id]; ok {
		return t.status.State, true
	}
	return "", a.knows(id)
}

// HostGone ends all tasks, since their host was removed for good, and offers nothing any more.
func (a *Agent) HostGone(now time.Time, message string) []Effect {
	if a.gone {
		return nil
	}
	a.gone = true
	info := a.Info() // told first, or what the tasks held would be offered once more
	effects := []Effect{Report{resources.AgentReport{Type: resources.AgentChanged, Info: &info, Seq: a.seq}}}
	for _, t := range a.sorted() {
		effects = append(effects, a.step(now, t, Observation{Event: HostGone, Reason: ReasonHostGone, Message: message})...)
	}
	return effects
}

// Idle reports that no task is here whose end is still to be told.
func (a *Agent) Idle() bool { return len(a.tasks) == 0 }

// Register is the first message on a new link, and makes every unacknowledged status due again.
func (a *Agent) Register(now time.Time) resources.AgentReport {
	a.seq = 0 // counts within one link
	info := a.Info()
	report := resources.AgentReport{Type: resources.AgentRegister, Info: &info}
	for _, t := range a.sorted() {
		report.Tasks = append(report.Tasks, t.status)
		if t.status.UUID != "" {
			t.retryAt, t.wait = now, retryMin
		}
	}
	return report
}

// free is what no living task holds.
func (a *Agent) free() resources.Resources {
	free := a.Info().Resources
	for _, t := range a.tasks {
		if !t.status.State.Terminal() {
			free = free.Sub(t.info.Resources)
		}
	}
	return free
}

func (a *Agent) sorted() []*task {
	return slices.SortedFunc(maps.Values(a.tasks), func(x, y *task) int { return cmp.Compare(x.info.ID, y.info.ID) })
}

// blank is the status of a task that nothing is known of yet.
func (a *Agent) blank(info resources.TaskInfo) resources.TaskStatus {
	return resources.TaskStatus{
		Task: info.ID, Agent: a.config.Info.ID, Framework: info.Framework, State: resources.Staging,
		Labels: info.Labels, Name: info.Name, Resource: info.Resources,
	}
}
