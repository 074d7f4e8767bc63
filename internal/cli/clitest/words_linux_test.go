package clitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// limit bounds every wait of a script; a machine that is busy with other tests needs most of it.
const limit = 20 * time.Second

// until polls, since what is waited for happens in other processes, whose end nobody here is told of.
func until(ok func() bool) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// exits CODE COMMAND ARG... runs a command and compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := code(ts, ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("%s exits with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func code(ts *testscript.TestScript, err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

// await PATTERN COMMAND ARG... runs a command until its stdout matches.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await PATTERN COMMAND ARG...")
	}
	re, err := regexp.Compile(`(?m)` + args[0])
	ts.Check(err)
	matches := func() bool {
		return ts.Exec(args[1], args[2:]...) == nil && re.MatchString(ts.ReadFile("stdout"))
	}
	if !until(matches) {
		ts.Fatalf("%s printed nothing like %q in %v", strings.Join(args[1:], " "), args[0], limit)
	}
}

// interrupt PATTERN COMMAND ARG... starts a command, sends SIGINT as Ctrl-C does once its stderr or stdout matches, and wants exit code 130.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: interrupt PATTERN COMMAND ARG...")
	}
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	said, err := os.CreateTemp(ts.MkAbs("."), "said-*")
	ts.Check(err)
	defer said.Close() //nolint:errcheck // it is read by its name
	weir := exec.Command(filepath.Join(bin, args[1]), args[2:]...)
	weir.Dir, weir.Stdout, weir.Stderr = ts.MkAbs("."), said, said
	weir.Env = append(os.Environ(), "XDG_STATE_HOME="+ts.Getenv("XDG_STATE_HOME"))
	ts.Check(weir.Start())
	if !until(func() bool { return re.MatchString(ts.ReadFile(said.Name())) }) {
		weir.Process.Kill() //nolint:errcheck // the failure is told below
		ts.Fatalf("%s said nothing like %q", strings.Join(args[1:], " "), args[0])
	}
	ts.Check(weir.Process.Signal(os.Interrupt))
	if got := code(ts, weir.Wait()); got != 130 {
		ts.Fatalf("interrupted, %s exits with %d, want 130:\n%s", strings.Join(args[1:], " "), got, ts.ReadFile(said.Name()))
	}
}

// kill9 server|supervisor|TASK... sends SIGKILL to all of them at once and waits until they have ended.
func kill9(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: kill9 server|supervisor|TASK...")
	}
	var pids []int
	for _, who := range args {
		pids = append(pids, pidOf(ts, who))
	}
	for _, pid := range pids {
		ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	}
	for i, pid := range pids {
		if !until(func() bool { return dead(pid) }) {
			ts.Fatalf("%s (pid %d) lives on", args[i], pid)
		}
	}
}

// dead counts a zombie, whose parent has not come to read its status.
func dead(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// pid NAME server|supervisor|TASK puts a process's number into $NAME.
func pid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pid NAME server|supervisor|TASK")
	}
	ts.Setenv(args[0], strconv.Itoa(pidOf(ts, args[1])))
}

// pidOf waits for a live one: a server answers a moment before it has written down who it is.
func pidOf(ts *testscript.TestScript, who string) int {
	var id struct{ PID int }
	live := func() bool {
		file := ""
		switch who {
		case "server":
			file = ts.Getenv("STATE") + "/server.json"
		case "supervisor":
			file = ts.Getenv("STATE") + "/supervisor/shim.json"
		default:
			ts.Check(ts.Exec("weir", "get", "tasks", who, "-o", "json"))
			file = "stdout"
		}
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(file)), &id))
		return id.PID > 1 && !dead(id.PID)
	}
	if !until(live) {
		ts.Fatalf("%s does not run: its last pid is %d", who, id.PID)
	}
	return id.PID
}

// occupy NAME listens on a port among those that the agent offers and leaves its number in $NAME.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: occupy NAME")
	}
	for port := 29000; port < 30000; port++ {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue // somebody else has it
		}
		ts.Defer(func() { l.Close() }) //nolint:errcheck // nothing was written
		ts.Setenv(args[0], strconv.Itoa(port))
		return
	}
	ts.Fatalf("no port from 29000 to 29999 is free")
}

// quiet checks that no process of the script's folder is left and that nobody listens where the server did.
func quiet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: quiet")
	}
	var left []string
	if !until(func() bool { left = processes(ts.Getenv("STATE")); return len(left) == 0 }) {
		ts.Fatalf("these run still:\n%s", strings.Join(left, "\n"))
	}
	var at struct{ Port int }
	data, err := os.ReadFile(ts.Getenv("STATE") + "/server.json")
	if errors.Is(err, os.ErrNotExist) {
		return // purged, or never started
	}
	ts.Check(err)
	ts.Check(json.Unmarshal(data, &at))
	if c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(at.Port)); err == nil {
		c.Close() //nolint:errcheck // nothing was written
		ts.Fatalf("somebody listens on port %d still", at.Port)
	}
}

// processes lists those whose command line or working directory names dir.
func processes(dir string) []string {
	var out []string
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return []string{err.Error()}
	}
	for _, p := range found {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil || pid == os.Getpid() || dead(pid) {
			continue
		}
		line, err := os.ReadFile(p + "/cmdline")
		if err != nil {
			continue // it ended meanwhile
		}
		cwd, err := os.Readlink(p + "/cwd")
		if err == nil && strings.HasPrefix(cwd, dir) || bytes.Contains(line, []byte(dir)) {
			out = append(out, strconv.Itoa(pid)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return out
}
