package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/resources/shim"
)

// TestMain lets this test binary be weir-shim: it starts itself with the arguments of a shim.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "run" || os.Args[1] == "supervise" || os.Args[1] == stageCommand) {
		main()
		return
	}
	os.Exit(m.Run())
}

const patience = 20 * time.Second

// folderFor writes an intent that runs a shell script.
func folderFor(t *testing.T, script string, change func(*shim.Intent)) string {
	t.Helper()
	dir := t.TempDir()
	in := shim.Intent{Version: 1, Argv: []string{"sh", "-c", script}, Env: map[string]string{"PATH": os.Getenv("PATH")}, Cwd: dir,
		Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr")}
	if change != nil {
		change(&in)
	}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, shim.IntentFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, command, dir string) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe", command, dir)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // a race build waits a second at its end, unless told not to
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.ProcessState == nil {
			c.Process.Signal(syscall.SIGTERM)
			c.Wait()
		}
	})
	return c
}

func read[T any](t *testing.T, dir, name string) (v T, ok bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return v, false
	}
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v, true
}

func text(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// eventually polls, bounded: files and processes tell nobody when they change.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func runs(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	state, _, err := shim.ParseStat(data)
	return err == nil && state != 'Z' && state != 'X'
}

func runToEnd(t *testing.T, dir string) shim.Exit {
	t.Helper()
	if err := start(t, "run", dir).Wait(); err != nil {
		t.Fatal(err)
	}
	e, ok := read[shim.Exit](t, dir, shim.ExitFile)
	if !ok {
		t.Fatal("no exit record")
	}
	return e
}

func TestHowATaskEndedIsRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		change func(*shim.Intent)
		want   string
		began  bool
	}{
		"zero":         {script: "exit 0", want: "exit code 0", began: true},
		"code":         {script: "exit 42", want: "exit code 42", began: true},
		"signal":       {script: "kill -USR1 $$", want: "ended by signal: user defined signal 1", began: true},
		"no program":   {change: func(in *shim.Intent) { in.Argv = []string{"no-such-program"} }, want: `execute no-such-program: executable file not found in $PATH in PATH=`},
		"no directory": {change: func(in *shim.Intent) { in.Cwd = "/no/such/dir" }, want: "no such file or directory"},
		"preparation":  {change: func(in *shim.Intent) { in.Prepare = []shim.Prepare{{Argv: []string{"sh", "-c", "echo why; exit 9"}}} }, want: "prepare: sh: exit status 9: why"},
		"bad intent":   {change: func(in *shim.Intent) { in.Version = 2 }, want: "version 2 (1 is known)"},
	} {
		t.Run(name, func(t *testing.T) {
			e := runToEnd(t, folderFor(t, c.script, c.change))
			if !strings.Contains(e.String(), c.want) || e.Began != c.began {
				t.Errorf("%q, began %v; want %q, %v", e, e.Began, c.want, c.began)
			}
		})
	}
}

func TestATaskIsRecordedBeforeItsProgramRuns(t *testing.T) {
	dir := folderFor(t, `cat pid.json; echo $$`, nil)
	if e := runToEnd(t, dir); e.Code != 0 {
		t.Fatal(e)
	}
	line, pid, _ := strings.Cut(strings.TrimSpace(text(t, dir, "stdout")), "\n")
	var id shim.Identity
	if err := json.Unmarshal([]byte(line), &id); err != nil || strconv.Itoa(id.PID) != pid || id.Start == 0 || len(id.Boot) != 36 {
		t.Errorf("the task with process id %s read the record %s (%v)", pid, line, err)
	}
}

func TestATaskHasASessionNoNewPrivilegesAndOnlyItsEnvironment(t *testing.T) {
	dir := folderFor(t, `ps -o pid=,pgid=,sid= -p $$ | tr -s ' '; grep NoNewPrivs /proc/$$/status; grep CapBnd /proc/$$/status; env | grep -v -e PWD -e PATH -e '^_'`, func(in *shim.Intent) {
		in.DropIPC = true
		in.Env["A"] = "b"
	})
	runToEnd(t, dir)
	lines := strings.Split(strings.TrimSpace(text(t, dir, "stdout")), "\n")
	if len(lines) < 4 {
		t.Fatalf("%q, stderr %q", lines, text(t, dir, "stderr"))
	}
	if ids := strings.Fields(lines[0]); len(ids) != 3 || ids[0] != ids[1] || ids[0] != ids[2] {
		t.Errorf("process, group and session are %v, want one number", ids)
	}
	if strings.Fields(lines[1])[1] != "1" {
		t.Errorf("%s, want 1", lines[1])
	}
	bounding, err := strconv.ParseUint(strings.Fields(lines[2])[1], 16, 64)
	if err != nil || bounding&(1<<capIPCLock) != 0 && os.Geteuid() == 0 {
		t.Errorf("%s still has CAP_IPC_LOCK (%v)", lines[2], err)
	}
	if lines[3] != "A=b" || len(lines) != 4 {
		t.Errorf("environment %q, want A=b alone", lines[3:])
	}
}

func TestSIGTERMEndsTheGroupAndSIGKILLFollowsAfterTheGrace(t *testing.T) {
	dir := folderFor(t, `trap '' TERM; sh -c 'trap "" TERM; echo $$ > child; while :; do sleep 0.02; done' & while [ ! -s child ]; do sleep 0.01; done; echo ready; while :; do sleep 0.02; done`,
		func(in *shim.Intent) { in.KillGrace = 200 * time.Millisecond })
	c := start(t, "run", dir)
	eventually(t, "the task is ready", func() bool { return text(t, dir, "stdout") == "ready\n" })
	// SIGHUP is ignored.
	if err := errors.Join(c.Process.Signal(syscall.SIGHUP), c.Process.Signal(syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("it was killed after %s, before its grace", took)
	}
	e, _ := read[shim.Exit](t, dir, shim.ExitFile)
	if e.Signal != "killed" || e.Code != 137 {
		t.Errorf("recorded %+v", e)
	}
	child, err := strconv.Atoi(strings.TrimSpace(text(t, dir, "child")))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the task's child has ended", func() bool { return !runs(child) })
}

func TestAnIntentIsRunOnceAndByOneShim(t *testing.T) {
	dir := folderFor(t, `echo run; while [ ! -e end ]; do sleep 0.01; done`, nil)
	first := start(t, "run", dir)
	eventually(t, "the task runs", func() bool { return text(t, dir, "stdout") == "run\n" })
	if err := start(t, "run", dir).Wait(); err == nil {
		t.Error("a second shim ran beside the first")
	}
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := start(t, "run", dir).Wait(); err == nil {
		t.Error("an intent was run again")
	}
	if got := text(t, dir, "stdout"); got != "run\n" {
		t.Errorf("output %q, want that of one run", got)
	}
}

// TestAShimThatIsKilledLeavesNoUnrecordedTask kills the shim at the moments around the recording of its task: afterwards either
// nothing runs, or what runs is recorded. The moment is looked for as it goes, since machines differ.
func TestAShimThatIsKilledLeavesNoUnrecordedTask(t *testing.T) {
	const times, each = 200, 15
	moment := 2 * time.Millisecond
	recorded, unrecorded := 0, 0
	for i := 0; i < times && min(recorded, unrecorded) < each; i++ {
		marker := fmt.Sprintf("weir-shim-orphan-%d-%d", os.Getpid(), i)
		dir := folderFor(t, "", func(in *shim.Intent) { in.Argv = []string{"sh", "-c", "while :; do sleep 0.05; done", marker} })
		c := start(t, "run", dir)
		time.Sleep(moment * time.Duration(80+i*7%40) / 100) // the moment is what is tested
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.Wait() // "signal: killed" is what was asked for
		id, known := read[shim.Identity](t, dir, shim.PIDFile)
		if known {
			recorded++
			moment = moment * 9 / 10
		} else {
			unrecorded++
			moment = moment*11/10 + 50*time.Microsecond
		}
		if known && runs(id.PID) {
			eventually(t, "the stage has become the task or died", func() bool { return !runs(id.PID) || strings.Contains(cmdline(id.PID), marker) })
			if err := syscall.Kill(-id.PID, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
				t.Fatal(err)
			}
		}
		eventually(t, "nothing of it runs without a record", func() bool { return find(t, marker, dir) == 0 })
	}
	if min(recorded, unrecorded) < each {
		t.Errorf("%d starts were recorded and %d were not: the moments do not cover the start", recorded, unrecorded)
	}
}

func cmdline(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return "" // it has ended
	}
	return string(data)
}

// find is a process that has the marker in its arguments or runs in the folder.
func find(t *testing.T, marker, dir string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !runs(pid) {
			continue
		}
		cwd, err := os.Readlink("/proc/" + e.Name() + "/cwd")
		if strings.Contains(cmdline(pid), marker) || err == nil && cwd == dir {
			return pid
		}
	}
	return 0
}

func TestOutputDoesNotFillTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, step := range []struct{ write, now, old string }{
		{"0123456789", "0123456789", ""}, // at the limit
		{"abc", "", "3456789abc"},        // beyond: the last ten bytes are kept
		{"next", "next", "3456789abc"},
	} {
		if _, err := f.WriteString(step.write); err != nil {
			t.Fatal(err)
		}
		if err := rotate(path, 10); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(path)
		if now, old := text(t, dir, "stdout"), text(t, dir, "stdout.1"); now != step.now || old != step.old {
			t.Errorf("after %q: %q and %q, want %q and %q", step.write, now, old, step.now, step.old)
		}
	}
}

func TestASupervisedCommandIsStartedAgain(t *testing.T) {
	dir := folderFor(t, `echo life; exit 1`, nil)
	c := start(t, "supervise", dir)
	eventually(t, "it lived three times", func() bool { return strings.Count(text(t, dir, "stdout"), "life\n") >= 3 })
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

func TestStopKeepsASupervisedCommandDown(t *testing.T) {
	dir := folderFor(t, `echo life; while [ ! -e end ]; do sleep 0.01; done`, nil)
	c := start(t, "supervise", dir)
	eventually(t, "it lives", func() bool { return text(t, dir, "stdout") == "life\n" })
	for _, name := range []string{shim.StopFile, "end"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	if err := start(t, "supervise", dir).Wait(); err != nil {
		t.Error(err)
	}
	if got := text(t, dir, "stdout"); got != "life\n" {
		t.Errorf("output %q, want one life", got)
	}
}

func TestANewSupervisorTakesOverWhatAKilledOneLeft(t *testing.T) {
	dir := folderFor(t, `echo life; trap 'echo end; exit 0' TERM; while :; do sleep 0.01; done`, nil)
	first := start(t, "supervise", dir)
	eventually(t, "it lives", func() bool { return text(t, dir, "stdout") == "life\n" })
	id, _ := read[shim.Identity](t, dir, shim.PIDFile)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Wait() // "signal: killed" is what was asked for
	second := start(t, "supervise", dir)
	eventually(t, "the new supervisor has recorded itself", func() bool {
		who, _ := read[shim.Identity](t, dir, shim.ShimFile)
		return who.PID == second.Process.Pid
	})
	if !runs(id.PID) || text(t, dir, "stdout") != "life\n" {
		t.Fatalf("process %d runs: %v; output %q, want one life that goes on", id.PID, runs(id.PID), text(t, dir, "stdout"))
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Error(err)
	}
	if runs(id.PID) || text(t, dir, "stdout") != "life\nend\n" {
		t.Errorf("process %d runs: %v; output %q, want it ended by SIGTERM", id.PID, runs(id.PID), text(t, dir, "stdout"))
	}
}

func TestAWrongCommandLineIsRefused(t *testing.T) {
	for _, args := range [][]string{{}, {"run"}, {"fly", "x"}} {
		var usage usageError
		if err := dispatch(args); !errors.As(err, &usage) {
			t.Errorf("%q: %v, want how to use it", args, err)
		}
	}
}

func TestParseStat(t *testing.T) {
	line := "42 (a) b ) c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0"
	if state, start, err := shim.ParseStat([]byte(line)); state != 'S' || start != 987654 || err != nil {
		t.Errorf("%c %d %v", state, start, err)
	}
	for _, bad := range []string{"", "42 (sh) S 1 2", "42 (sh S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654"} {
		if _, _, err := shim.ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
