package process_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/process"
	"github.com/weir-project/weir/resources/resourcetest"
	"github.com/weir-project/weir/resources/server"
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
	resourcetest.Run(t, func(t *testing.T) resourcetest.Rig { return newRig(t) })
}

// rig is a process agent and a master on loopback with mutual TLS.
type rig struct {
	dir, shim             string
	ca                    *security.CA
	listener              string // address
	noCgroups             bool
	term                  uint64
	master                *server.Master
	stopMaster, stopAgent func()
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
	if r.ca, err = security.NewCA("weir", time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	r.startMaster(t)
	r.startAgent(t)
	t.Cleanup(func() {
		r.stopAgent()
		r.stopMaster()
		if _, err := process.StopAll(context.Background(), r.dir); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) bundle(t testing.TB, name string, role security.Role) security.Bundle {
	t.Helper()
	b, err := r.ca.Issue(security.Request{CN: name, Role: role, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		ClientAuth: role != security.RoleServer, ServerAuth: role == security.RoleServer})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *rig) startMaster(t testing.TB) {
	t.Helper()
	r.term++
	m := server.New(server.Config{Term: r.term, Expect: []resources.AgentID{"local"}})
	config, err := security.ServerTLS(r.bundle(t, "server", security.RoleServer))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /v1/agents", m.AgentHandler())
	srv, err := link.NewServer(link.ServerConfig{TLS: config, Handler: mux})
	if err != nil {
		t.Fatal(err)
	}
	address := r.listener
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if r.listener == "" {
		r.listener = l.Addr().String()
	}
	r.master = m
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("run master: %v", err)
		}
	})
	r.stopMaster = func() {
		cancel()
		srv.Close() // links break, as they do when a server is killed
		wg.Wait()
	}
}

func (r *rig) startAgent(t testing.TB) {
	t.Helper()
	tls, err := security.ClientTLS(r.bundle(t, "local", security.RoleAgent), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	have, err := process.Detect(process.HostOptions{Dir: r.dir, Ports: resources.Range{Begin: 31000, End: 31099}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := process.New(process.Config{
		Dir: r.dir, ID: "local", Hostname: "localhost", Resources: have, Shim: r.shim, NoCgroups: r.noCgroups,
		Dial: func(ctx context.Context) (*link.Conn, error) {
			return link.Dial(ctx, "https://"+r.listener+"/v1/agents", tls, nil, link.Options{})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	r.stopAgent = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run agent: %v", err)
		}
	}
}

func (r *rig) Subscribe(ctx context.Context, info resources.FrameworkInfo) (<-chan resources.Event, error) {
	return r.master.Subscribe(ctx, info)
}

func (r *rig) Call(ctx context.Context, c resources.Call) error { return r.master.Call(ctx, c) }

func (r *rig) RestartAgent(t testing.TB) {
	r.stopAgent()
	r.startAgent(t)
}

func (r *rig) RestartMaster(t testing.TB) {
	r.stopMaster()
	r.startMaster(t)
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
