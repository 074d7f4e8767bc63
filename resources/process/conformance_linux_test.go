package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/master"
	"github.com/weir-project/weir/resources/process"
	"github.com/weir-project/weir/resources/resourcetest"
	"github.com/weir-project/weir/resources/shim"
)

var buildShim = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weir-shim-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "weir-shim")
	c := exec.Command("go", "build", "-o", path, "github.com/weir-project/weir/cmd/weir-shim")
	c.Stderr = os.Stderr
	return path, c.Run()
})

func TestMain(m *testing.M) {
	if dir := os.Getenv(agentEnv); dir != "" {
		fmt.Fprintln(os.Stderr, "agent:", agentMain(dir))
		os.Exit(1)
	}
	code := m.Run()
	if path, err := buildShim(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func TestConformance(t *testing.T) {
	resourcetest.Run(t, func(t testing.TB) resourcetest.Rig { return newRig(t) })
}

// rig is a process agent and a master on loopback with mutual TLS.
type rig struct {
	*resourcetest.Server
	dir, shim string
	noCgroups bool
	stopAgent func()
}

func newRig(t testing.TB) *rig { return newRigWith(t, false) }

func newRigWith(t testing.TB, noCgroups bool) *rig {
	t.Helper()
	path, err := buildShim()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: t.TempDir(), shim: path, noCgroups: noCgroups}
	if err := os.Chmod(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.Server = resourcetest.NewServer(t, master.Options{}, "local")
	r.startAgent(t)
	t.Cleanup(func() {
		r.stopAgent()
		if _, err := process.StopAll(context.Background(), r.dir); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) startAgent(t testing.TB) {
	t.Helper()
	have, err := process.Detect(process.HostOptions{Dir: r.dir, Ports: resources.Range{Begin: 31000, End: 31099}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := process.New(process.Config{
		Dir: r.dir, ID: "local", Hostname: "localhost", Resources: have, Shim: r.shim, NoCgroups: r.noCgroups,
		Dial: func(ctx context.Context) (*link.Conn, error) { return r.Dial(ctx, "local") },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	var once sync.Once
	r.stopAgent = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("run agent: %v", err)
			}
		})
	}
}

func (r *rig) Features() resourcetest.Features { return resourcetest.Features{Processes: true} }

func (r *rig) StopAgent(testing.TB)    { r.stopAgent() }
func (r *rig) StartAgent(t testing.TB) { r.startAgent(t) }

// End leaves the file that the task looks for; it appears whole.
func (r *rig) End(t testing.TB, id resources.TaskID, code int) {
	t.Helper()
	at := filepath.Join(process.Sandbox(r.dir, id), "end")
	err := os.WriteFile(at+".new", []byte(strconv.Itoa(code)), 0o600)
	if err = errors.Join(err, os.Rename(at+".new", at)); err != nil {
		t.Fatal(err)
	}
}

// Launches counts the lines that the task itself has written.
func (r *rig) Launches(t testing.TB, id resources.TaskID) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, string(id)+".ran"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "run\n")
}

// Exposed is the agent's record, what the shim was told, and what the kernel shows of the process.
func (r *rig) Exposed(t testing.TB, id resources.TaskID) string {
	t.Helper()
	var all strings.Builder
	var pid shim.Identity
	at := filepath.Join(process.Sandbox(r.dir, id), ".shim")
	data, err := os.ReadFile(filepath.Join(at, shim.PIDFile))
	if err = errors.Join(err, json.Unmarshal(data, &pid)); err != nil {
		t.Fatal(err)
	}
	proc := "/proc/" + strconv.Itoa(pid.PID)
	for _, f := range []string{filepath.Join(r.dir, "agent.json"), filepath.Join(at, shim.IntentFile), proc + "/cmdline", proc + "/environ"} {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	return all.String()
}

func (r *rig) Volume(t testing.TB, id string) bool {
	t.Helper()
	_, err := os.Stat(process.VolumePath(r.dir, id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func (r *rig) KillSupervisor(t testing.TB, id resources.TaskID) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(process.Sandbox(r.dir, id), ".shim", shim.ShimFile))
	if err != nil {
		t.Fatal(err)
	}
	var who shim.Identity
	if err := json.Unmarshal(data, &who); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(who.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); r.Alive(who.PID); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("shim %d survives SIGKILL", who.PID)
		}
	}
}

func (r *rig) File(t testing.TB, id resources.TaskID, name string) (string, uint32) {
	t.Helper()
	path := filepath.Join(process.Sandbox(r.dir, id), name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0
	}
	data, rerr := os.ReadFile(path)
	if err := errors.Join(err, rerr); err != nil {
		t.Fatal(err)
	}
	return string(data), uint32(info.Mode().Perm())
}

func (r *rig) Alive(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	state, _, err := shim.ParseStat(data)
	return err == nil && state != 'Z' && state != 'X'
}
