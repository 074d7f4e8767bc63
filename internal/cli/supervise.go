package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources/shim"
)

// supervisorDir is the folder of the shim that keeps the server running (C3).
const supervisorDir = "supervisor"

// ensureServer returns a client of a running server, started under its supervisor where there is none.
func (l *local) ensureServer(ctx context.Context) (*api.Client, error) {
	if c, err := l.client(); err == nil {
		if version(ctx, c) == nil {
			// It answers; its supervisor may have been killed all the same (C3). Two cannot run, the folder is locked.
			return c, l.superviseAgain()
		}
	} else if !errors.Is(err, errNoServer) {
		return nil, err
	}
	if _, err := l.credentials(); err != nil {
		return nil, err
	}
	if err := l.supervise(); err != nil {
		return nil, err
	}
	return l.awaitServer(ctx)
}

// superviseAgain starts the supervisor of a server that has lost its own; it adopts what runs.
func (l *local) superviseAgain() error {
	if _, living := identity(filepath.Join(l.path(supervisorDir), shim.ShimFile)); living || !l.wanted() {
		return nil
	}
	return l.supervise()
}

// version asks the server for its version, with little patience: whatever else took its port may accept and stay silent.
func version(caller context.Context, c *api.Client) error {
	ctx, cancel := context.WithTimeout(caller, 3*time.Second)
	defer cancel()
	var v api.Version
	err := c.Do(ctx, "GET", "/v1/version", nil, &v)
	if errors.Is(err, context.DeadlineExceeded) && caller.Err() == nil {
		return fmt.Errorf("%w at %s within 3 s", api.ErrUnreachable, c.URL)
	}
	return err
}

// lastLog is the last line that the server wrote.
func (l *local) lastLog() string {
	data, err := l.root.ReadFile("server.log")
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}

// awaitServer waits for the server that its supervisor is starting; the address may be written only now.
func (l *local) awaitServer(caller context.Context) (*api.Client, error) {
	ctx, cancel := context.WithTimeout(caller, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := l.client()
		if err == nil {
			if err = version(ctx, c); err == nil {
				return c, nil
			}
		}
		select {
		case <-ctx.Done():
			if caller.Err() != nil {
				return nil, context.Cause(caller) // interrupted, or the caller's own limit
			}
			return nil, fault.New("E-SERVER", "start the server", "in "+l.dir, fault.Causef("%w; the last line of its log: %s", err, l.lastLog()), fault.Hintf("read %s", l.path("server.log")))
		case <-tick.C:
		}
	}
}

// wanted reports whether the server of this state directory shall run: it was started and not stopped.
func (l *local) wanted() bool {
	_, err := l.root.Stat(filepath.Join(supervisorDir, shim.IntentFile))
	return err == nil && !l.stopped()
}

// stopped reports whether `weir down` was the last that was asked for.
func (l *local) stopped() bool {
	_, err := l.root.Stat(filepath.Join(supervisorDir, shim.StopFile))
	return err == nil
}

// supervise starts the supervisor, unless one lives: two of the same folder cannot both run, the folder is locked.
func (l *local) supervise() error {
	if runtime.GOOS != "linux" {
		return fault.New("E-PLATFORM", "start a server", "on "+runtime.GOOS, fault.Causef("process agents are Linux's"), fault.Hint("weir run, validate, graph and plan work here"))
	}
	self, shimPath, err := binaries()
	if err != nil {
		return err
	}
	if err := l.root.Mkdir(supervisorDir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the supervisor's folder: %w", err)
	}
	log := l.path("server.log")
	intent, err := json.Marshal(shim.Intent{
		Version: 1, Argv: []string{self, "--state", l.dir, "server"}, Env: serverEnv(), Cwd: l.dir, Stdout: log, Stderr: log, KillGrace: 30 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("write the supervisor's intent: %w", err)
	}
	if err := security.WriteFile(l.root, filepath.Join(supervisorDir, shim.IntentFile), intent, 0o600); err != nil {
		return err
	}
	if err := l.root.Remove(filepath.Join(supervisorDir, shim.StopFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("let the supervisor start: %w", err)
	}
	return detach(shimPath, "supervise", l.path(supervisorDir))
}

// serverEnv is the server's environment: nothing but what finding Java, Maven and caches needs.
func serverEnv() map[string]string {
	env := map[string]string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "JAVA_HOME", "MAVEN_OPTS", "XDG_CACHE_HOME", "XDG_STATE_HOME", "LANG"} {
		if v := os.Getenv(name); v != "" {
			env[name] = v
		}
	}
	return env
}

// binaries finds weir itself and the weir-shim that stands beside it.
func binaries() (self, shimPath string, err error) {
	if self, err = os.Executable(); err != nil {
		return "", "", fmt.Errorf("find the weir binary: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", "", fmt.Errorf("find the weir binary: %w", err)
	}
	shimPath = filepath.Join(filepath.Dir(self), "weir-shim")
	if _, err := os.Stat(shimPath); err != nil {
		return "", "", fault.New("E-SHIM", "find weir-shim", "beside "+self, fault.Cause(err), fault.Hint("make build leaves both in bin/"))
	}
	return self, shimPath, nil
}

// detach starts a process in a session of its own, which outlives this one.
func detach(argv ...string) error {
	c := exec.Command(argv[0], argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.Dir = "/"
	if err := c.Start(); err != nil {
		return fmt.Errorf("start %s: %w", argv[0], err)
	}
	// Not waited for on purpose; where this process lives on, it reaps it when it ends.
	go c.Wait() //nolint:errcheck // how it ends is in its folder
	return nil
}
