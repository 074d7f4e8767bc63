package process_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/process"
	"github.com/weir-project/weir/resources/resourcetest"
)

func TestTheFolderBelongsToItsOwnerAlone(t *testing.T) {
	r := newRig(t)
	f := resourcetest.NewFramework(t, r, "private")
	task := resourcetest.Shell("private.1", "echo secret > made; sleep 600")
	task.Files = []resources.File{{Path: "etc/key", Content: []byte("s3cret-content")}}
	f.Launch(task)
	f.Wait("private.1", resources.Running)
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		// What the task itself makes follows its own umask; nobody else gets through the 0700 of its sandbox.
		if mode := info.Mode(); d.Name() != "made" && mode.Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, mode)
		}
		if d.IsDir() || strings.HasSuffix(path, "etc/key") {
			return nil
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "s3cret-content") {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOldSandboxesAreRemoved(t *testing.T) {
	r := newRig(t)
	f := resourcetest.NewFramework(t, r, "many")
	for i := 1; i <= 5; i++ {
		id := fmt.Sprintf("many.%d", i)
		f.Launch(resourcetest.Shell(id, "exit 0"))
		f.Wait(resources.TaskID(id), resources.Finished)
	}
	// The acknowledgement of the last end is behind that of the others on the same link.
	f.Launch(resourcetest.Shell("last.1", "ls .."))
	f.Wait("last.1", resources.Finished)
	out, _ := r.File(t, "last.1", "stdout")
	if got, want := strings.Fields(out), []string{"last.1", "many.3", "many.4", "many.5"}; !slices.Equal(got, want) {
		t.Errorf("sandboxes %v, want %v", got, want)
	}
}

func TestStopAllEndsTasksWithoutTheirAgent(t *testing.T) {
	r := newRig(t)
	f := resourcetest.NewFramework(t, r, "stops")
	stubborn := resourcetest.Shell("stops.2", `trap '' TERM; while :; do sleep 0.05; done`)
	stubborn.KillGrace = 100 * time.Millisecond
	f.Launch(resourcetest.Shell("stops.1", "sleep 600"), stubborn, resourcetest.Shell("stops.3", "echo ready; sleep 600"))
	var pids []int
	for _, id := range []resources.TaskID{"stops.1", "stops.2", "stops.3"} {
		pids = append(pids, f.Wait(id, resources.Running).PID)
	}
	f.Output("stops.3", "ready\n") // until its program runs, a task dies with its shim
	r.KillSupervisor(t, "stops.3")
	if _, err := process.StopAll(t.Context(), r.dir); err == nil {
		t.Fatal("tasks were stopped behind a living agent's back")
	}
	r.stopAgent()
	stopped, err := process.StopAll(t.Context(), r.dir)
	slices.Sort(stopped)
	if err != nil || !slices.Equal(stopped, []resources.TaskID{"stops.1", "stops.2", "stops.3"}) {
		t.Errorf("stopped %v, %v", stopped, err)
	}
	for _, pid := range pids {
		if r.Alive(pid) {
			t.Errorf("process %d runs on", pid)
		}
	}
	r.startAgent(t)
	f.Wait("stops.1", resources.Failed)
}

func TestAWrongSetUpIsRefused(t *testing.T) {
	have := resources.Resources{resources.Scalar("cpus", 1000)}
	dial := func(context.Context) (*link.Conn, error) { return nil, context.Canceled }
	good := process.Config{Dir: t.TempDir(), ID: "a", Shim: "/bin/true", Resources: have, Dial: dial}
	if err := os.Chmod(good.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a, err := process.New(good)
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*process.Config){
		"another agent has it open": func(*process.Config) {},
		"identifier":                func(c *process.Config) { c.ID = "../a" },
		"absolute":                  func(c *process.Config) { c.Dir = "relative" },
		"no resources":              func(c *process.Config) { c.Resources = nil },
		"no way to dial":            func(c *process.Config) { c.Dial = nil },
		"others can write it": func(c *process.Config) {
			c.Dir = t.TempDir()
			if err := os.Chmod(c.Dir, 0o777); err != nil {
				t.Fatal(err)
			}
		},
		`version 1 of agent "b"`: func(c *process.Config) { c.Dir = stateOf(t, `{"version":1,"id":"b"}`) },
		"version 2 of agent":     func(c *process.Config) { c.Dir = stateOf(t, `{"version":2,"id":"a"}`) },
	} {
		bad := good
		change(&bad)
		if _, err := process.New(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// A run that has ended gives the folder back.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if again, err := process.New(good); err != nil {
		t.Error(err)
	} else if err := again.Run(ctx); err != nil {
		t.Error(err)
	}
}

func stateOf(t *testing.T, state string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "agent.json"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOnlyAgentsMayRegister(t *testing.T) {
	r := newRig(t)
	for _, role := range []security.Role{security.RoleAdmin, security.RoleWorker, security.RoleKafka} {
		config, err := security.ClientTLS(r.Bundle(t, "local", role), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		c, err := link.Dial(t.Context(), r.URL(), config, nil, link.Options{})
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "only the role agent") {
			t.Errorf("role %s: %v, want it refused", role, err)
		}
	}
	// An agent is the one that its certificate names, whatever it says.
	config, err := security.ClientTLS(r.Bundle(t, "other", security.RoleAgent), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := link.Dial(t.Context(), r.URL(), config, nil, link.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	report := resources.AgentReport{Type: resources.AgentRegister, Info: &resources.AgentInfo{ID: "local"}}
	if err := c.SendBody(t.Context(), resources.AgentFrameReport, resources.AgentFrameVersion, report); err != nil {
		t.Fatal(err)
	}
	var frame link.Frame
	if err := c.Recv(t.Context(), &frame); err == nil {
		t.Errorf("it was answered %s, want the link closed", frame.Type)
	}
	snap, err := r.Master.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range snap.Agents {
		if a.Info.ID != "local" || !a.Connected {
			t.Errorf("agent %s connected=%v; want only the real one, undisturbed", a.Info.ID, a.Connected)
		}
	}
}

func TestMemoryIsLimitedWhereTheHostLetsUs(t *testing.T) {
	r := newRig(t)
	f := resourcetest.NewFramework(t, r, "eats")
	eater := resourcetest.Shell("eats.1", `x=$(head -c 300000000 /dev/zero | tr '\0' x); echo survived`) // 64 MiB are allowed
	f.Launch(resourcetest.Shell("eats.0", "exit 0"), eater)
	f.Wait("eats.0", resources.Finished)
	running := f.Wait("eats.1", resources.Running)
	if strings.Contains(running.Message, "memory is not limited") {
		f.Call(resources.Call{Type: resources.CallKill, Task: "eats.1"})
		f.Wait("eats.1", resources.Killed)
		t.Skip(running.Message)
	}
	s := f.Wait("eats.1", resources.Failed)
	if s.Reason != "REASON_CONTAINER_LIMITATION_MEMORY" || !strings.Contains(s.Message, "more than its mem") {
		t.Errorf("reason %s, message %q; want the limit named", s.Reason, s.Message)
	}
	if out, _ := r.File(t, "eats.1", "stdout"); strings.Contains(out, "survived") {
		t.Errorf("a task of 64 MiB took 300 MB: %+v", s)
	}
}

func TestDetectKnowsTheHost(t *testing.T) {
	r, err := process.Detect(process.HostOptions{Dir: t.TempDir(), CPUs: resources.Whole(1), Ports: resources.Range{Begin: 1, End: 2}, Addresses: "127.77.7"})
	if err != nil {
		t.Fatal(err)
	}
	addresses := r.Items(resources.Addresses)
	if r.Amount(resources.CPUs) != resources.Whole(1) || r.Amount(resources.Mem) < resources.Whole(16) || r.Amount(resources.Disk) == 0 ||
		len(addresses) != 253 || !slices.Contains(addresses, "127.77.7.2") || len(r.PortRanges(resources.Ports)) != 1 {
		t.Errorf("detected %s", r)
	}
	if _, err := process.Detect(process.HostOptions{Dir: "/no/such/dir"}); err == nil {
		t.Error("the disk of a folder that does not exist was measured")
	}
}

// BenchmarkLaunch is the time from ACCEPT to RUNNING of a task that starts at once.
func BenchmarkLaunch(b *testing.B) {
	for _, c := range []struct {
		name      string
		noCgroups bool
	}{{"memory limited", false}, {"not limited", true}} {
		b.Run(c.name, func(b *testing.B) { benchmarkLaunch(b, newRigWith(b, c.noCgroups)) })
	}
}

func benchmarkLaunch(b *testing.B, r *rig) {
	f := resourcetest.NewFramework(b, r, "bench")
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		o := f.Offer()
		id := fmt.Sprintf("bench.%d", i)
		task := resourcetest.Shell(id, "exec sleep 600")
		b.StartTimer()
		f.Accept(o, resources.Operation{Type: resources.Launch, Tasks: []resources.TaskInfo{task}})
		f.Wait(resources.TaskID(id), resources.Running)
		b.StopTimer()
		f.Call(resources.Call{Type: resources.CallKill, Task: resources.TaskID(id)})
		f.Wait(resources.TaskID(id), resources.Killed)
		b.StartTimer()
	}
}
