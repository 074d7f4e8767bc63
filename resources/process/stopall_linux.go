package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/shim"
)

// StopAll ends every task of an agent's folder without its agent, which must not run: SIGTERM, and SIGKILL after each task's own
// grace, or at once when ctx ends. It returns the tasks that ran, after all of them have ended. It is how `weir down` works with
// a dead server (C12).
func StopAll(ctx context.Context, dir string) (stopped []resources.TaskID, err error) {
	root, lock, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("stop tasks: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close(), root.Close()) }()
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(dir, tasksDir))
	if err != nil {
		return nil, fmt.Errorf("stop tasks: %w", err)
	}
	type ending struct {
		id  resources.TaskID
		err error
	}
	ends := make(chan ending, len(entries))
	running := 0
	for _, e := range entries {
		if resources.CheckID(e.Name()) != nil {
			continue // not made by an agent
		}
		one, err := openTask(root, e.Name(), boot)
		if err != nil {
			return stopped, fmt.Errorf("stop task %s: %w", e.Name(), err)
		}
		if one == nil {
			continue
		}
		running++
		go func() { ends <- ending{resources.TaskID(e.Name()), one.stop(ctx)} }()
	}
	for range running {
		e := <-ends
		stopped = append(stopped, e.id)
		if e.err != nil {
			err = errors.Join(err, fmt.Errorf("stop task %s: %w", e.id, e.err))
		}
	}
	return stopped, err
}

// living is a task (or at least its shim) that runs.
type living struct {
	root      *os.Root
	boot      string
	shim, pid shim.Identity
	intent    shim.Intent
}

// openTask is nil for a task that has ended.
func openTask(root *os.Root, name, boot string) (*living, error) {
	folder, err := root.OpenRoot(path.Join(tasksDir, name, shimDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := &living{root: folder, boot: boot}
	_, err1 := readRecord(folder, shim.ShimFile, &l.shim)
	_, err2 := readRecord(folder, shim.PIDFile, &l.pid)
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	if !alive(l.shim, boot) && !alive(l.pid, boot) {
		return nil, folder.Close() // its intent may be torn, by an agent that was killed while it wrote it
	}
	if _, err := readRecord(folder, shim.IntentFile, &l.intent); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	if l.intent.KillGrace <= 0 {
		l.intent.KillGrace = shim.DefaultGrace
	}
	return l, nil
}

func (l *living) stop(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, l.root.Close()) }()
	if err := stopTask(l.root, l.shim, l.boot, false); err != nil {
		return err
	}
	graceful, cancel := context.WithTimeout(ctx, l.intent.KillGrace+time.Second)
	defer cancel()
	if l.ended(graceful) {
		return l.leaveGroups()
	}
	if err := stopTask(l.root, l.shim, l.boot, true); err != nil {
		return err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if !l.ended(last) {
		return fmt.Errorf("process %d (shim %d) survives SIGKILL", l.pid.PID, l.shim.PID)
	}
	return l.leaveGroups()
}

func (l *living) leaveGroups() (err error) {
	for _, procs := range l.intent.Cgroups {
		err = errors.Join(err, removeGroup(filepath.Dir(procs)))
	}
	return err
}

// ended waits for the task's process and for its shim.
func (l *living) ended(ctx context.Context) bool {
	for _, id := range []shim.Identity{l.pid, l.shim} {
		fd, err := openProcess(id, l.boot)
		if err != nil {
			continue // it has ended
		}
		for ctx.Err() == nil && alive(id, l.boot) {
			const slice = 100 // milliseconds between two looks at ctx
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, _ := unix.Poll(fds, slice); n > 0 {
				break
			}
		}
		unix.Close(fd)
	}
	return !alive(l.pid, l.boot) && !alive(l.shim, l.boot)
}
