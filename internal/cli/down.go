package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/cli/daemon"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources/process"
	"github.com/weir-project/weir/resources/shim"
)

func (a *app) downCommand() *cobra.Command {
	var purge, yes bool
	c := &cobra.Command{
		Use: "down", Short: "Stop everything and keep the data", Args: args(0, 0),
		Long: `Stops the workers, the services and the server, in this order. The data stays: "weir up" finds it again. It works with a dead
server too. With --purge it says what it will delete, asks, and deletes the state directory.`,
		RunE: func(c *cobra.Command, _ []string) error { return a.down(c.Context(), purge, yes) },
	}
	c.Flags().BoolVar(&purge, "purge", false, "delete the data too, after saying what")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) down(ctx context.Context, purge, yes bool) error {
	l, err := a.existing()
	if errors.Is(err, errNoServer) {
		dir, err := a.stateDir()
		if err == nil {
			fmt.Fprintf(a.err, "nothing runs, and nothing is kept: there is no %s\n", dir)
		}
		return err
	}
	if err != nil {
		return err
	}
	defer l.root.Close()
	if purge {
		if err := l.recognise(); err != nil {
			return err
		}
		if ok, err := a.confirm(l.dir, yes); !ok {
			return err
		}
	}
	return a.stop(ctx, l, purge)
}

// stop ends what runs, and deletes the state directory where that was confirmed.
func (a *app) stop(ctx context.Context, l *local, purge bool) error {
	ran, err := l.processes()
	if err != nil {
		return err
	}
	did := "all is stopped"
	if !alive(l.serverPID()) && len(ran) == 0 {
		did = "nothing was running"
	}
	// The supervisor must not bring back what ends now.
	if _, err := l.root.Stat(supervisorDir); err == nil {
		if err := security.WriteFile(l.root, filepath.Join(supervisorDir, shim.StopFile), nil, 0o600); err != nil {
			return err
		}
	}
	if err := a.shutdown(ctx, l); err != nil {
		fmt.Fprintf(a.err, "the server did not stop its tasks (%v); stopping them by their folders\n", err)
	}
	if err := l.sweep(ctx); err != nil {
		return err
	}
	if !purge {
		fmt.Fprintf(a.err, "%s; the data is kept in %s. `weir up STACK.yaml` finds it, `weir down --purge` deletes it\n", did, l.dir)
		return nil
	}
	if err := l.purge(); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "%s; %s is deleted\n", did, l.dir)
	return nil
}

// shutdown asks the server to stop all in order. No server is no error.
func (a *app) shutdown(ctx context.Context, l *local) error {
	c, err := l.client()
	if errors.Is(err, errNoServer) {
		return nil
	}
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	c.NoTimeout()
	err = c.Do(limited, "POST", "/v1/shutdown", map[string]bool{}, nil)
	// It is asked, and not looked for by its pid: one that has just come back answers before it has written down who it is.
	if errors.Is(err, api.ErrUnreachable) {
		return nil
	}
	return err
}

// serverPID is the pid of the last server that announced itself, 0 where none did.
func (l *local) serverPID() int {
	data, err := l.root.ReadFile(addressFile)
	var at address
	if err != nil || json.Unmarshal(data, &at) != nil {
		return 0
	}
	return at.PID
}

func alive(pid int) bool { return pid > 0 && syscall.Kill(pid, 0) == nil }

// confirm says what will be deleted and asks on a terminal; elsewhere --yes is needed.
func (a *app) confirm(dir string, yes bool) (bool, error) {
	fmt.Fprintf(a.err, "this deletes %s: the volumes of every service (topics, tables, streams), runs, certificates and logs\n", dir)
	if yes {
		return true, nil
	}
	if f, ok := a.in.(*os.File); !ok || !isTerminal(f) {
		return false, fault.Usage("E-CONFIRM", "delete", dir, fault.Causef("nobody is there to ask"), fault.Hint("weir down --purge --yes"))
	}
	fmt.Fprint(a.err, "type yes to go on: ")
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != "yes" {
		fmt.Fprintln(a.err, "nothing was deleted")
		return false, nil
	}
	return true, nil
}

// processes are those of the supervisor, its server, and every task, by what the shims recorded.
func (l *local) processes() ([]shim.Identity, error) {
	// Listed, and not globbed: the directory's own name may hold a [.
	tasks, err := os.ReadDir(l.path("agent/tasks"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	folders := []string{l.path(supervisorDir)}
	for _, task := range tasks {
		folders = append(folders, l.path(filepath.Join("agent/tasks", task.Name(), ".shim")))
	}
	var ids []shim.Identity
	for _, dir := range folders {
		for _, name := range []string{shim.ShimFile, shim.PIDFile} {
			if id, ok := identity(filepath.Join(dir, name)); ok {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

// sweep ends what still runs by what the shims recorded: the supervisor and its server first, so that nothing is started again, then every
// task. It is all that is needed when the server is dead.
//
// It goes on when the command is interrupted: half stopped is what nobody wants. Its own limits end it.
func (l *local) sweep(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var ids []shim.Identity
	for _, name := range []string{shim.ShimFile, shim.PIDFile} {
		if id, ok := identity(filepath.Join(l.path(supervisorDir), name)); ok {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		syscall.Kill(id.PID, syscall.SIGTERM) //nolint:errcheck // it ended meanwhile
	}
	if !waitGone(ctx, ids, 10*time.Second) {
		for _, id := range ids {
			if running(id) {
				syscall.Kill(id.PID, syscall.SIGKILL) //nolint:errcheck // it ended meanwhile
			}
		}
		if !waitGone(ctx, ids, 5*time.Second) {
			return fault.New("E-DOWN", "stop", l.dir, fault.Causef("the server does not end, not even by SIGKILL"), fault.Hint("ps aux | grep weir"))
		}
	}
	if _, err := l.root.Stat(daemon.AgentDir + "/tasks"); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := process.StopAll(ctx, l.path(daemon.AgentDir)); err != nil {
		return fmt.Errorf("stop the tasks: %w", err)
	}
	return nil
}

func identity(path string) (shim.Identity, bool) {
	var id shim.Identity
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &id) != nil || id.PID <= 1 {
		return id, false
	}
	return id, running(id)
}

// running compares start time and boot id, so that a process that was given the same number later is left alone.
func running(id shim.Identity) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id.PID))
	if err != nil {
		return false
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return err == nil && id.Alive(stat, strings.TrimSpace(string(boot)))
}

func waitGone(ctx context.Context, ids []shim.Identity, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		left := 0
		for _, id := range ids {
			if running(id) {
				left++
			}
		}
		if left == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}
