package resourcetest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/resources"
)

// The claims on agents whose tasks are processes of this host.
var onProcesses = []struct {
	name string
	test func(testing.TB, ProcessRig)
}{
	{"what a task writes and how it exits is kept", outputs},
	{"files are in their places and places are filled in", filesInPlace},
	{"preparation runs once and its failure is told", preparation},
	{"a kill is SIGTERM, then SIGKILL after the grace", signals},
	{"a killed task takes its descendants along", descendants},
	{"a volume holds what was written", volumeData},
	{"an adopted task is the same process", adoptedProcess},
	{"a task that is handed back is the same process", handedBackProcess},
	{"a task whose supervisor was killed runs on, and its end is unknown", orphan},
	{"what a task did while the agent was away is told", endedWhileAway},
	{"a task id runs once", launchedOnce},
	{"a port that is in use is named", portInUse},
	{"a program that does not exist is named", noProgram},
}

func outputs(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "exits")
	f.Launch(Shell("good.1", "echo out; echo err >&2"), Shell("bad.1", "exit 7"))
	f.Wait("good.1", resources.Finished)
	if s := f.Wait("bad.1", resources.Failed); s.ExitCode != 7 || !strings.Contains(s.Message, "exit code 7") {
		t.Errorf("exit code %d, message %q; want 7 in both", s.ExitCode, s.Message)
	}
	if got := f.seen["good.1"]; len(got) < 2 || got[len(got)-2] != resources.Running {
		t.Errorf("states of good.1: %v; RUNNING is missing before the end", got)
	}
	for name, want := range map[string]string{"stdout": "out\n", "stderr": "err\n"} {
		if got, mode := rig.File(t, "good.1", name); got != want || mode != 0o600 {
			t.Errorf("%s is %q with mode %#o, want %q and 0600", name, got, mode, want)
		}
	}
}

func filesInPlace(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "files")
	task := Shell("files.1", `cat "$1"; cat etc/b; echo "$WHERE"; env | cut -d= -f1 | sort | tr '\n' ' '`)
	task.Command.Argv = append(task.Command.Argv, "sh", "{sandbox}/etc/a")
	task.Command.Env = map[string]string{"WHERE": "{sandbox}/x"}
	task.Files = []resources.File{
		{Path: "etc/a", Content: []byte("secret of {sandbox}\n")},
		{Path: "etc/b", Content: []byte("b\n"), Mode: 0o640},
	}
	f.Launch(task)
	f.Wait("files.1", resources.Finished)
	content, mode := rig.File(t, "files.1", "etc/a")
	place := strings.TrimSuffix(strings.TrimPrefix(content, "secret of "), "\n")
	if mode != 0o600 || !strings.HasPrefix(place, "/") {
		t.Errorf("etc/a is %q with mode %#o, want the sandbox's path and 0600", content, mode)
	}
	if _, mode := rig.File(t, "files.1", "etc/b"); mode != 0o640 {
		t.Errorf("etc/b has mode %#o, want the 0640 that was asked for", mode)
	}
	// PWD is made by the shell itself.
	want := "secret of " + place + "\nb\n" + place + "/x\nHOME PATH PWD TMPDIR WHERE "
	if out, _ := rig.File(t, "files.1", "stdout"); out != want {
		t.Errorf("stdout is %q, want %q", out, want)
	}
}

func preparation(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "prepares")
	good := Shell("prepared.1", "cat made")
	good.Command.Prepare = []resources.Prepare{
		{Argv: []string{"sh", "-c", "echo once >> made"}, Creates: "made"},
		{Argv: []string{"sh", "-c", "echo again >> made"}, Creates: "made"},
	}
	bad := Shell("prepared.2", "echo never")
	bad.Command.Prepare = []resources.Prepare{{Argv: []string{"sh", "-c", "echo first; echo the disk is upside down; exit 3"}}}
	quiet := Shell("prepared.3", "echo never")
	quiet.Command.Prepare = []resources.Prepare{{Argv: []string{"sh", "-c", "echo password; exit 4"}, Quiet: true}}
	f.Launch(good, bad, quiet)
	f.Wait("prepared.1", resources.Finished)
	if out, _ := rig.File(t, "prepared.1", "stdout"); out != "once\n" {
		t.Errorf("stdout is %q, want the line of the one preparation that was needed", out)
	}
	if s := f.Wait("prepared.2", resources.Failed); !strings.Contains(s.Message, "exit status 3") || !strings.Contains(s.Message, "the disk is upside down") {
		t.Errorf("message %q, want the status and the last line of the output", s.Message)
	}
	s := f.Wait("prepared.3", resources.Failed)
	out, _ := rig.File(t, "prepared.3", "stdout.absent")
	if strings.Contains(s.Message+out, "password") || !strings.Contains(s.Message, "exit status 4") {
		t.Errorf("message %q, want the status and nothing of the output", s.Message)
	}
}

func signals(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "kills")
	polite := Shell("polite.1", `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done`)
	stubborn := Shell("stubborn.1", `trap '' TERM; echo ready; while :; do sleep 0.05; done`)
	stubborn.KillGrace = 300 * time.Millisecond
	f.Launch(polite, stubborn)
	for _, id := range []resources.TaskID{"polite.1", "stubborn.1"} {
		f.Wait(id, resources.Running)
		f.Output(id, "ready\n")
		f.Call(resources.Call{Type: resources.CallKill, Task: id})
	}
	f.Wait("polite.1", resources.Killed)
	if out, _ := rig.File(t, "polite.1", "stdout"); out != "ready\nbye\n" {
		t.Errorf("stdout is %q: the task did not get to say bye", out)
	}
	s := f.Wait("stubborn.1", resources.Killed)
	if !strings.Contains(s.Message, "killed") || rig.Alive(s.PID) {
		t.Errorf("message %q, process %d alive: %v; want it killed by SIGKILL", s.Message, s.PID, rig.Alive(s.PID))
	}
}

// Output waits until a task has written text.
func (f *Framework) Output(id resources.TaskID, want string) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		if got, _ := f.rig.File(f.t, id, "stdout"); got == want {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("task %s has not written %q within %s", id, want, patience)
		}
		time.Sleep(5 * time.Millisecond) // a bounded poll: files tell nobody when they change
	}
}

func descendants(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "families")
	f.Launch(Shell("family.1", `sleep 600 & echo $! > child; echo ready; wait`))
	f.Wait("family.1", resources.Running)
	f.Output("family.1", "ready\n")
	text, _ := rig.File(t, "family.1", "child")
	child := number(t, text)
	if !rig.Alive(child) {
		t.Fatalf("child %d does not run", child)
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "family.1"})
	f.Wait("family.1", resources.Killed)
	f.gone(child)
}

func (f *Framework) alive(pid int) bool { return f.rig.(ProcessRig).Alive(pid) }

// gone waits for a process to end.
func (f *Framework) gone(pid int) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); f.alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("process %d still runs after %s", pid, patience)
		}
	}
}

func volumeData(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "keeps")
	labels := map[string]string{"pod": "keeps-0"}
	disk := resources.Scalar(resources.Disk, resources.Whole(16)).ReservedFor(f.Role, labels)
	held := resources.Resources{disk.WithVolume("keeps-0-data", "data"), resources.Scalar(resources.CPUs, 10).ReservedFor(f.Role, labels),
		resources.Scalar(resources.Mem, resources.Whole(32)).ReservedFor(f.Role, labels)}
	reserved := resources.Resources{disk, held[1], held[2]}
	task := Shell("keeper.1", `echo kept > "$1/file"`)
	task.Command.Argv = append(task.Command.Argv, "sh", "{volume:keeps-0-data}")
	task.Files = []resources.File{{Path: "{volume:keeps-0-data}/conf/a", Content: []byte("x")}}
	task.Resources = held
	f.Accept(f.Offer(),
		resources.Operation{Type: resources.Reserve, Resources: reserved},
		resources.Operation{Type: resources.Create, Resources: resources.Resources{held[0]}},
		resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{task}})
	f.Wait("keeper.1", resources.Finished)

	RestartAgent(t, rig)
	again := Shell("keeper.2", `cat "$1/file" "$1/conf/a"`)
	again.Command.Argv = append(again.Command.Argv, "sh", "{volume:keeps-0-data}")
	again.Resources = held
	f.acceptWith(held, resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{again}})
	f.Wait("keeper.2", resources.Finished)
	if out, _ := rig.File(t, "keeper.2", "stdout"); out != "kept\nx" {
		t.Errorf("the second task read %q from the volume, want what the first wrote", out)
	}

	f.acceptWith(held,
		resources.Operation{Type: resources.Destroy, Resources: resources.Resources{held[0]}},
		resources.Operation{Type: resources.Unreserve, Resources: reserved})
	o := f.offerWith(reserved.Plain())
	if len(o.Resources.Reservations()) > 0 {
		t.Errorf("after UNRESERVE the offer still has %s", o.Resources.Reservations())
	}
}

func adoptedProcess(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "adopts")
	f.Launch(Shell("adopted.1", `echo ready; while [ ! -e stop ]; do sleep 0.05; done; exit 5`), Shell("adopted.2", "sleep 600"))
	first := f.Wait("adopted.1", resources.Running)
	f.Wait("adopted.2", resources.Running)
	RestartAgent(t, rig)
	f.Offer() // it has registered again
	f.Call(resources.Call{Type: resources.CallReconcile})
	if s := f.Wait("adopted.1", resources.Running); s.PID != first.PID || !rig.Alive(s.PID) {
		t.Fatalf("adopted as process %d, it was %d", s.PID, first.PID)
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "adopted.1"})
	f.Call(resources.Call{Type: resources.CallKill, Task: "adopted.2"})
	f.Wait("adopted.1", resources.Killed)
	f.Wait("adopted.2", resources.Killed)
	f.gone(first.PID)
}

func handedBackProcess(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "returns")
	task := Shell("returned.1", "sleep 600")
	task.Labels = map[string]string{"pod": "returns-0"}
	f.Launch(task)
	first := f.Wait("returned.1", resources.Running)
	rig.RestartMaster(t)
	f.last = map[resources.TaskID]resources.TaskStatus{}
	f.Subscribe()
	f.Offer() // the agent has registered
	f.Call(resources.Call{Type: resources.CallReconcile})
	s := f.Wait("returned.1", resources.Running)
	if s.PID != first.PID || s.Labels["pod"] != "returns-0" || s.Name != "task" || !s.Resource.Equal(task.Resources) {
		t.Errorf("handed back as %+v, want process %d with its labels, name and resources", s, first.PID)
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "returned.1"})
	f.Wait("returned.1", resources.Killed)
}

func orphan(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "orphans")
	f.Launch(Shell("orphan.1", `echo ready; while [ ! -e stop ]; do sleep 0.05; done`), Shell("orphan.2", `trap '' TERM; echo ready; while :; do sleep 0.05; done`))
	for _, id := range []resources.TaskID{"orphan.1", "orphan.2"} {
		f.Wait(id, resources.Running)
		f.Output(id, "ready\n")
		rig.KillSupervisor(t, id)
		if !rig.Alive(f.last[id].PID) {
			t.Fatalf("task %s died with its supervisor", id)
		}
	}
	end := Shell("ender.1", `touch "$1/stop"`)
	end.Command.Argv = append(end.Command.Argv, "sh", f.sandbox("orphan.1"))
	f.Launch(end)
	s := f.Wait("orphan.1", resources.Failed)
	if s.Reason != "REASON_EXECUTOR_TERMINATED" || !strings.Contains(s.Message, "exit status unknown") {
		t.Errorf("reason %s, message %q; want REASON_EXECUTOR_TERMINATED and an unknown status", s.Reason, s.Message)
	}
	pid := f.last["orphan.2"].PID
	f.Call(resources.Call{Type: resources.CallKill, Task: "orphan.2"})
	f.Wait("orphan.2", resources.Killed) // SIGTERM is ignored: the agent's own SIGKILL ends it
	f.gone(pid)
}

// sandbox asks a task where another one's sandbox is: they are neighbours.
func (f *Framework) sandbox(id resources.TaskID) string {
	f.t.Helper()
	f.Launch(Shell("where.1", "pwd"))
	f.Wait("where.1", resources.Finished)
	out, _ := f.rig.File(f.t, "where.1", "stdout")
	return strings.TrimSuffix(strings.TrimSpace(out), "where.1") + string(id)
}

func endedWhileAway(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "aways")
	f.Launch(Shell("away.1", `echo ready; sleep 0.3; exit 9`))
	f.Wait("away.1", resources.Running)
	f.Output("away.1", "ready\n")
	RestartAgent(t, rig)
	if s := f.Wait("away.1", resources.Failed); s.ExitCode != 9 {
		t.Errorf("exit code %d, want the 9 that the supervisor recorded", s.ExitCode)
	}
}

func launchedOnce(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "onces")
	f.Launch(Shell("once.1", "echo run >> ../../ran; echo ready; sleep 600"))
	f.Wait("once.1", resources.Running)
	f.Output("once.1", "ready\n")
	o := f.Offer()
	err := f.Try(resources.Call{Type: resources.CallAccept, Offers: []resources.OfferID{o.ID},
		Operations: []resources.Operation{{Type: resources.Launch, Tasks: []resources.TaskInfo{Shell("once.1", "echo run >> ../../ran")}}}})
	if err == nil || !strings.Contains(err.Error(), "an id is used once") {
		t.Fatalf("second launch of one id: %v; want it refused", err)
	}
	// A refused call leaves the offer valid (I7).
	f.Accept(o, resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{Shell("once.2", "cat ../../ran")}})
	f.Wait("once.2", resources.Finished)
	if out, _ := rig.File(t, "once.2", "stdout"); out != "run\n" {
		t.Errorf("the task ran %q, want once", out)
	}
	f.Call(resources.Call{Type: resources.CallKill, Task: "once.1"})
	f.Wait("once.1", resources.Killed)
	// After a restart of the master it is the agent that remembers the id.
	rig.RestartMaster(t)
	f.Subscribe()
	o = f.Offer()
	err = f.Try(resources.Call{Type: resources.CallAccept, Offers: []resources.OfferID{o.ID}, Operations: []resources.Operation{{Type: resources.Launch,
		Tasks: []resources.TaskInfo{Shell("once.1", "echo run >> ../../ran"), Shell("once.3", "exit 0")}}}})
	refusal := ""
	if err != nil { // the acknowledgement of the end was lost with the old master, so that the new one knows the task too
		refusal = err.Error()
	} else {
		refusal = f.Wait("once.3", resources.Dropped).Message
	}
	if !strings.Contains(refusal, "used once") {
		t.Errorf("refusal %q; the whole call is refused for the id that was used", refusal)
	}
}

func portInUse(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "ports")
	o := f.Offer()
	port := Occupy(t, o.Resources.PortRanges(resources.Ports))
	task := Shell("port.1", "exit 0")
	task.Resources = task.Resources.Add(resources.Resources{resources.RangesOf(resources.Ports, resources.Range{Begin: port, End: port})})
	f.Accept(o, resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{task}})
	s := f.Wait("port.1", resources.Dropped)
	if s.Reason != "REASON_PORT_IN_USE" || !strings.Contains(s.Message, fmt.Sprintf("127.0.0.1:%d is in use by process %d (", port, os.Getpid())) {
		t.Errorf("reason %s, message %q; want the port and who has it", s.Reason, s.Message)
	}
}

func noProgram(t testing.TB, rig ProcessRig) {
	f := NewFramework(t, rig, "missing")
	task := Shell("missing.1", "")
	task.Command.Argv = []string{"/no/such/program"}
	f.Launch(task)
	if s := f.Wait("missing.1", resources.Failed); !strings.Contains(s.Message, "/no/such/program") {
		t.Errorf("message %q does not name the program", s.Message)
	}
}
