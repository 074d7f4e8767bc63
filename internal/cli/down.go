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

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
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
	l, err := a.openLocal()
	if err != nil {
		return err
	}
	defer l.root.Close()
	if purge {
		if ok, err := a.confirm(l.dir, yes); !ok {
			return err
		}
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
		fmt.Fprintln(a.err, "all is stopped; the data is kept. `weir up STACK.yaml` finds it, `weir down --purge` deletes it")
		return nil
	}
	if err := purgeState(l.dir); err != nil {
		return err
	}
	fmt.Fprintln(a.err, "all is stopped and deleted")
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
	var pid int
	if data, err := l.root.ReadFile(addressFile); err == nil {
		var at address
		if json.Unmarshal(data, &at) == nil {
			pid = at.PID
		}
	}
	if !alive(pid) {
		return nil
	}
	c.NoTimeout()
	return c.Do(limited, "POST", "/v1/shutdown", map[string]bool{}, nil)
}

func alive(pid int) bool { return pid > 0 && syscall.Kill(pid, 0) == nil }

// confirm says what will be deleted and asks on a terminal; elsewhere --yes is needed.
func (a *app) confirm(dir string, yes bool) (bool, error) {
	fmt.Fprintf(a.err, "this deletes %s: the volumes of every service (Kafka's topics, Cassandra's tables), runs, certificates and logs\n", dir)
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

// purgeState deletes the state directory, unless it is not one of ours.
func purgeState(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, adminBundle)); err != nil {
		if empty, rerr := os.ReadDir(dir); rerr == nil && len(empty) == 0 {
			return os.Remove(dir)
		}
		return fault.New("E-PURGE", "delete", dir, fault.Causef("it does not look like a state directory of Weir: it has no %s", adminBundle), fault.Hint("delete it by hand if it is one"))
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("delete %s: %w", dir, err)
	}
	return nil
}

// sweep ends what still runs by what the shims recorded: the supervisor and its server first, so that nothing is started again, then every
// task. It is all that is needed when the server is dead.
func (l *local) sweep(ctx context.Context) error {
	folders := []string{l.path(supervisorDir)}
	found, err := filepath.Glob(l.path("agent/tasks/*/.shim"))
	if err != nil {
		return fmt.Errorf("list tasks: %w", err)
	}
	var ids []shim.Identity
	for _, dir := range append(folders, found...) {
		for _, name := range []string{shim.ShimFile, shim.PIDFile} {
			if id, ok := identity(filepath.Join(dir, name)); ok {
				ids = append(ids, id)
			}
		}
	}
	// SIGTERM to a shim ends its task; where the shim is dead the task's own group gets it.
	for _, id := range ids {
		syscall.Kill(id.PID, syscall.SIGTERM) //nolint:errcheck // it ended meanwhile
	}
	if waitGone(ctx, ids, 20*time.Second) {
		return nil
	}
	for _, id := range ids {
		if running(id) {
			syscall.Kill(-id.PID, syscall.SIGKILL) //nolint:errcheck // it ended meanwhile
			syscall.Kill(id.PID, syscall.SIGKILL)  //nolint:errcheck // it ended meanwhile
		}
	}
	if !waitGone(ctx, ids, 5*time.Second) {
		return fault.New("E-DOWN", "stop", l.dir, fault.Causef("processes are left that not even SIGKILL ended"), fault.Hint("ps aux | grep weir"))
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
