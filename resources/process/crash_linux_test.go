package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/process"
	"github.com/weir-project/weir/resources/resourcetest"
	"github.com/weir-project/weir/resources/shim"
)

// agentEnv makes this test binary an agent, so that one can be killed with SIGKILL: its value is the folder, and the url and the
// path of the shim stand in files of it.
const agentEnv = "WEIR_TEST_AGENT"

func agentMain(dir string) error {
	state, err := security.OpenStateDir(dir)
	if err != nil {
		return err
	}
	b, err := security.LoadBundle(state, "agent.pem")
	if err != nil {
		return err
	}
	tls, err := security.ClientTLS(b, "127.0.0.1")
	if err != nil {
		return err
	}
	url, err1 := os.ReadFile(filepath.Join(dir, "url"))
	path, err2 := os.ReadFile(filepath.Join(dir, "shim"))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	a, err := process.New(process.Config{Dir: dir, ID: "local", Hostname: "localhost", Shim: string(path), NoCgroups: true,
		Resources: resources.Resources{resources.Scalar(resources.CPUs, 1000), resources.Scalar(resources.Mem, resources.Whole(4096))},
		Dial: func(ctx context.Context) (*link.Conn, error) {
			return link.Dial(ctx, string(url), tls, nil, link.Options{})
		}})
	if err != nil {
		return err
	}
	return a.Run(context.Background())
}

func (r *rig) startAgentProcess(t *testing.T) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), agentEnv+"="+r.dir)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNoTaskRunsTwiceWhereverItsAgentIsKilled kills the agent with SIGKILL at random moments while tasks are launched. Whatever is
// said of a task, it ran at most once (I3), one that is said to have finished ran, and one that is said never to have run did not.
func TestNoTaskRunsTwiceWhereverItsAgentIsKilled(t *testing.T) {
	r := newRig(t)
	r.stopAgent()
	r.stopAgent = func() {} // the agent is a process of its own from here on
	state, err := security.OpenStateDir(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Bundle(t, "local", security.RoleAgent).Save(state, "agent.pem"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"url": r.URL(), "shim": r.shim} {
		if err := security.WriteFile(state, name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const rounds = 25
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	f := resourcetest.NewFramework(t, r, "crashes")
	agent := r.startAgentProcess(t)
	states := map[resources.TaskState]int{}
	for i := range rounds {
		id := fmt.Sprintf("crash.%d", i)
		f.LaunchSoon(resourcetest.Shell(id, "echo run >> ../../"+id+".ran"))
		time.Sleep(time.Duration(random.IntN(20_000)) * time.Microsecond) // the moment is what is tested
		if err := agent.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		agent.Wait() // "signal: killed" is what was asked for
		agent = r.startAgentProcess(t)
		s := f.WaitEnd(resources.TaskID(id))
		states[s.State]++
		ran := ""
		if data, err := os.ReadFile(filepath.Join(r.dir, id+".ran")); err == nil {
			ran = string(data)
		}
		switch {
		case strings.Count(ran, "run") > 1:
			t.Errorf("task %s ran %d times", id, strings.Count(ran, "run"))
		case s.State == resources.Finished && ran == "":
			t.Errorf("task %s is said to have finished, and never ran", id)
		case s.State == resources.Dropped && ran != "":
			t.Errorf("task %s is said never to have run, and did", id)
		}
	}
	t.Logf("ends: %v", states)
	if err := agent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	agent.Wait()
}

// TestALaunchThatACrashCutShortIsToldAndNeverMadeUp plays an agent that died after it had prepared a launch and before it started
// the shim: the task has failed, and a shim that comes late finds that it may not run.
func TestALaunchThatACrashCutShortIsToldAndNeverMadeUp(t *testing.T) {
	r := newRig(t)
	r.stopAgent()
	f := resourcetest.NewFramework(t, r, "cut")
	folder := filepath.Join(process.Sandbox(r.dir, "cut.1"), ".shim")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	intent, err := json.Marshal(shim.Intent{Version: 1, Argv: []string{"touch", "ran"}, Cwd: filepath.Dir(folder), Stdout: filepath.Join(folder, "out"), Stderr: filepath.Join(folder, "out"),
		Env: map[string]string{"PATH": os.Getenv("PATH")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, shim.IntentFile), intent, 0o600); err != nil {
		t.Fatal(err)
	}
	saved := `{"version":1,"id":"local","term":1,"tasks":[
		{"info":{"id":"cut.1","name":"cut","framework":"cut","resources":[{"name":"cpus","scalar":10}],"command":{"argv":["touch"]}}},
		{"info":{"id":"cut.2","name":"cut","framework":"cut","resources":[{"name":"cpus","scalar":10}],"command":{"argv":["touch"]}}}]}`
	if err := os.WriteFile(filepath.Join(r.dir, "agent.json"), []byte(saved), 0o600); err != nil {
		t.Fatal(err)
	}
	r.startAgent(t)
	for _, id := range []resources.TaskID{"cut.1", "cut.2"} { // the second one had not even a sandbox
		if s := f.WaitEnd(id); s.State != resources.Failed || !strings.Contains(s.Message, "the agent ended before it") {
			t.Errorf("task %s: %s, %q", id, s.State, s.Message)
		}
	}
	if out, err := exec.Command(r.shim, "run", folder).CombinedOutput(); err == nil || !strings.Contains(string(out), "an intent is run once") {
		t.Errorf("a late shim: %v, %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(folder), "ran")); err == nil {
		t.Error("the task ran after its end was told")
	}
}
