package mainjob

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/security"
)

// install is a built Weir with a state directory of its own and a copy of the demo's documents.
type install struct {
	t     *testing.T
	bin   string
	state string
	stack string // path of stack.yaml
}

func newInstall(t *testing.T) *install {
	t.Helper()
	dir := t.TempDir()
	w := &install{t: t, bin: filepath.Join(dir, "bin"), state: filepath.Join(dir, "state"), stack: filepath.Join(dir, "flights", "stack.yaml")}
	for _, name := range []string{"weir", "weir-shim"} {
		build := exec.Command("go", "build", "-o", filepath.Join(w.bin, name), "github.com/weir-project/weir/cmd/"+name)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	if err := os.CopyFS(filepath.Dir(w.stack), os.DirFS("../../stacks/catalog/flights")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(w.stack), "out")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := w.weir("down", "--purge", "--yes"); err != nil {
			t.Errorf("weir down: %v\n%s", err, out)
		}
		if t.Failed() {
			w.keepLogs()
		}
	})
	return w
}

// weir runs one command to its end and returns its output, stdout before stderr.
func (w *install) weir(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	c := exec.CommandContext(ctx, filepath.Join(w.bin, "weir"), append([]string{"--state", w.state}, args...)...)
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	return out.String() + errs.String(), err
}

// rerun starts the next run of the demo's pipeline and tells when the command has ended.
func (w *install) rerun() <-chan error {
	done := make(chan error, 1)
	go func() {
		out, err := w.weir("rerun", "flights")
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		done <- err
	}()
	return done
}

// must is weir for commands that have to succeed.
func (w *install) must(args ...string) string {
	w.t.Helper()
	out, err := w.weir(args...)
	if err != nil {
		w.t.Fatalf("weir %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// client calls the server's API with the administrator's certificate, as the CLI does.
func (w *install) client() *api.Client {
	w.t.Helper()
	root, err := os.OpenRoot(w.state)
	if err != nil {
		w.t.Fatal(err)
	}
	defer root.Close()
	b, err := security.LoadBundle(root, "admin.pem")
	if err != nil {
		w.t.Fatal(err)
	}
	config, err := security.ClientTLS(b, "weir-server")
	if err != nil {
		w.t.Fatal(err)
	}
	data, err := root.ReadFile("server.json")
	if err != nil {
		w.t.Fatal(err)
	}
	var at struct{ URL string }
	if err := json.Unmarshal(data, &at); err != nil {
		w.t.Fatal(err)
	}
	return api.NewClient(at.URL, config)
}

func (w *install) status() (api.Stack, error) { return w.stackStatus("flights") }

func (w *install) stackStatus(name string) (api.Stack, error) {
	var s api.Stack
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return s, w.client().Do(ctx, "GET", "/v1/stacks/"+name, nil, &s)
}

func (w *install) channel(name string) api.Channel {
	w.t.Helper()
	var c api.Channel
	if err := w.client().Do(context.Background(), "GET", "/v1/channels/flights/"+name, nil, &c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// serverPID is the pid of the server that answers.
func (w *install) serverPID() int {
	w.t.Helper()
	var v api.Version
	if err := w.client().Do(context.Background(), "GET", "/v1/version", nil, &v); err != nil {
		w.t.Fatal(err)
	}
	return v.PID
}

// processes are those of this installation: their command line names its state directory. Zombies do not count.
func (w *install) processes() map[int]string {
	out := map[int]string{}
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || len(line) == 0 || !bytes.Contains(line, []byte(w.state)) {
			continue
		}
		out[pid] = string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
	}
	return out
}

// shimOf finds the shim that supervises a task: its parent.
func (w *install) shimOf(pid int) int {
	w.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		w.t.Fatal(err)
	}
	ppid, err := strconv.Atoi(strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))[1])
	if err != nil {
		w.t.Fatal(err)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", ppid))
	if err != nil || !strings.Contains(string(line), "weir-shim") {
		w.t.Fatalf("the parent of process %d is %d (%s), not a weir-shim: %v", pid, ppid, line, err)
	}
	return ppid
}

// keepLogs prints the ends of the logs of a failed run, since its directory goes away.
func (w *install) keepLogs() {
	err := filepath.WalkDir(w.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !(strings.HasSuffix(path, "stdout") || strings.HasSuffix(path, "stderr") || strings.HasSuffix(path, ".log")) {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && len(data) > 0 {
			w.t.Logf("%s (last 3000 bytes):\n%s", strings.TrimPrefix(path, w.state), data[max(0, len(data)-3000):])
		}
		return err
	})
	if err != nil {
		w.t.Logf("logs: %v", err)
	}
}
