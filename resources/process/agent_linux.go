package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/agent"
	"github.com/weir-project/weir/resources/shim"
)

// Agent runs tasks as processes of this host. All of its state belongs to the goroutine of Run.
type Agent struct {
	config Config
	log    *slog.Logger
	root   *os.Root
	lock   *os.File
	boot   string
	pure   *agent.Agent

	inbox       chan any // link up and down, commands, what watchers saw
	shims       map[resources.TaskID]shim.Identity
	session     *session // nil without a link
	warnCgroups sync.Once
	stopRead    *os.File // becomes readable when Run ends
	watchers    sync.WaitGroup
}

// New opens the agent's folder, which no other agent may have open, and reads what an earlier life left there.
func New(c Config) (*Agent, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("make process agent: %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = randomID
	}
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("make process agent: %w", err)
	}
	root, lock, err := openDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("make process agent %s: %w", c.ID, err)
	}
	a := &Agent{config: c, log: c.Log.With("agent", c.ID), root: root, lock: lock, boot: boot,
		inbox: make(chan any, 64), shims: map[resources.TaskID]shim.Identity{}}
	saved, err := a.load()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make process agent %s: %w", c.ID, err), a.close())
	}
	var reserved resources.Resources
	if saved != nil {
		reserved = saved.Reserved
	}
	c.Resources = withoutBusy(c.Resources, reserved)
	a.pure = agent.New(agent.Config{Info: resources.AgentInfo{ID: c.ID, Hostname: c.Hostname, Attributes: c.Attributes, Resources: c.Resources}, NewID: c.NewID}, saved)
	if short := a.pure.Shortage(); !short.Empty() {
		a.log.Warn("the host has less than is reserved on it", "missing", short.Summary())
	}
	return a, nil
}

func randomID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: the program ends when the system has no randomness
	return hex.EncodeToString(b[:])
}

// openDir takes the folder for this process alone.
func openDir(dir string) (*os.Root, *os.File, error) {
	root, err := security.OpenStateDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, sub := range []string{tasksDir, volumesDir} {
		if err := root.Mkdir(sub, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, nil, errors.Join(err, root.Close())
		}
	}
	lock, err := root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	if err := takeLock(lock); err != nil {
		err = fault.New("E-AGENT-LOCK", "open agent folder", dir, fault.Causef("another agent has it open: %w", err))
		return nil, nil, errors.Join(err, lock.Close(), root.Close())
	}
	return root, lock, nil
}

// takeLock waits a little: an agent that was killed while it started a shim has left the lock to a process that is about to become
// that shim, and gives it up by doing so.
func takeLock(lock *os.File) error {
	const step, patience = 10 * time.Millisecond, 2 * time.Second
	for waited := time.Duration(0); ; waited += step {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || waited >= patience {
			return err
		}
		time.Sleep(step)
	}
}

// maxState bounds agent.json, in bytes.
const maxState = 64 << 20

func (a *Agent) load() (*agent.Saved, error) {
	info, err := a.root.Stat(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxState {
		return nil, fmt.Errorf("read %s: %d bytes, more than %d", stateFile, info.Size(), maxState)
	}
	data, err := a.root.ReadFile(stateFile)
	if err != nil {
		return nil, err
	}
	var saved agent.Saved
	if err := json.Unmarshal(data, &saved); err != nil {
		return nil, fmt.Errorf("read %s: %w", stateFile, err)
	}
	if saved.Version != 1 || saved.ID != a.config.ID {
		return nil, fmt.Errorf("read %s: it is version %d of agent %q; this is agent %q, which knows version 1", stateFile, saved.Version, saved.ID, a.config.ID)
	}
	return &saved, nil
}

func (a *Agent) save() error {
	data, err := json.Marshal(a.pure.Saved())
	if err != nil {
		return err
	}
	return security.WriteFile(a.root, stateFile, data, 0o600)
}

func (a *Agent) close() error { return errors.Join(a.lock.Close(), a.root.Close()) }

// Run adopts the tasks that still run, holds the link, and does what the server asks until ctx ends; it may be called once. Tasks
// outlive it. Its error is a failure of the folder, after which nothing may be launched any more.
func (a *Agent) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopRead, stopWrite, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("run process agent: %w", err), a.close())
	}
	a.stopRead = stopRead
	linked := make(chan error, 1)
	defer func() {
		cancel(err)
		drained := make(chan struct{})
		go func() { // whoever still wants to tell something must not wait for a loop that has ended
			for {
				select {
				case <-a.inbox:
				case <-drained:
					return
				}
			}
		}()
		err = errors.Join(err, stopWrite.Close())
		a.watchers.Wait()
		<-linked //nolint:errcheck // its context was ended above: that is all it can say
		close(drained)
		err = errors.Join(err, stopRead.Close(), a.close())
	}()
	// What is known is known before the server is told of it.
	if err = a.adopt(); err == nil {
		err = a.perform(a.pure.Resume(a.config.Now()))
	}
	go func() { linked <- a.holdLink(ctx) }()
	if err != nil {
		return err
	}
	return a.loop(ctx)
}

// adopt follows the tasks of an earlier life.
func (a *Agent) adopt() error {
	for _, info := range a.pure.Tasks() {
		root, err := a.root.OpenRoot(path.Join(tasksDir, string(info.ID), shimDir))
		if err != nil {
			// The folder is made before the shim starts: without it nothing ran.
			err = a.perform(a.pure.Observe(a.config.Now(), info.ID, agent.Observation{Event: agent.StartFailed, Reason: agent.ReasonLaunch,
				Message: fmt.Sprintf("the agent ended before it made the sandbox: %v", err)}))
			if err != nil {
				return err
			}
			continue
		}
		var pid shim.Identity
		if known, err := readRecord(root, shim.PIDFile, &pid); err == nil && known && alive(pid, a.boot) {
			// No effects of this matter yet: the server hears it when this agent registers.
			a.pure.Observe(a.config.Now(), info.ID, agent.Observation{Event: agent.ProcessStarted, PID: pid.PID})
		}
		a.watch(&watcher{task: info.ID, root: root, boot: a.boot})
	}
	return nil
}

func (a *Agent) watch(w *watcher) {
	w.stopFD, w.log, w.inotify = int(a.stopRead.Fd()), a.log, -1
	w.tell = func(s seen) { a.inbox <- s }
	w.outOfMemory = func() bool { return a.outOfMemory(w.task) }
	w.leave = func() { a.leaveGroup(w.task) }
	if w.shim.PID != 0 {
		a.shims[w.task] = w.shim
	}
	a.watchers.Go(w.run)
}

func (a *Agent) loop(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(a.untilNext())
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			err = a.perform(a.pure.Tick(a.config.Now()))
		case m := <-a.inbox:
			err = a.handle(m)
		}
		if err != nil {
			return fmt.Errorf("run process agent %s: %w", a.config.ID, err)
		}
	}
}

func (a *Agent) untilNext() time.Duration {
	next := a.pure.Next()
	if next.IsZero() {
		return time.Hour
	}
	return max(0, next.Sub(a.config.Now()))
}

func (a *Agent) handle(m any) error {
	now := a.config.Now()
	switch m := m.(type) {
	case *session: // a new link
		a.session = m
		m.send(a.pure.Register(now))
	case sessionEnded:
		if a.session == m.session {
			a.session = nil
		}
	case command:
		if m.session == a.session {
			return a.perform(a.pure.Command(now, m.command))
		}
	case seen:
		return a.see(now, m)
	}
	return nil
}

func (a *Agent) see(now time.Time, s seen) error {
	var effects []agent.Effect
	if s.shimDied {
		a.log.Warn("a task's shim died; the task runs on", "task", s.task)
		effects = append(effects, a.pure.ShimDied(now, s.task)...)
	}
	if s.observation != nil {
		effects = append(effects, a.pure.Observe(now, s.task, *s.observation)...)
	}
	if s.ended {
		delete(a.shims, s.task)
	}
	return a.perform(effects)
}

// perform carries effects out in order. The folder's failures end the agent: without a record nothing may run (I3).
func (a *Agent) perform(effects []agent.Effect) error {
	for _, e := range effects {
		switch e := e.(type) {
		case agent.Save:
			if err := a.save(); err != nil {
				return err
			}
		case agent.MakeVolume:
			if err := a.root.Mkdir(path.Join(volumesDir, e.ID), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make volume %s: %w", e.ID, err)
			}
		case agent.RemoveVolume:
			a.remove(path.Join(volumesDir, e.ID))
		case agent.RemoveSandbox:
			a.remove(path.Join(tasksDir, string(e.Task)))
		case agent.Start:
			if err := a.start(e.Info); err != nil {
				return err
			}
		case agent.Stop:
			a.stop(e)
		case agent.Report:
			if a.session != nil {
				a.session.send(e.Report)
			}
		case agent.Reject:
			a.reject(e.Err)
		}
	}
	return nil
}

func (a *Agent) remove(name string) {
	if err := a.root.RemoveAll(name); err != nil {
		a.log.Warn("what is no longer needed stays behind", "path", name, "err", err)
	}
}

func (a *Agent) start(info resources.TaskInfo) error {
	w, err := a.launch(info)
	observation := agent.Observation{Event: agent.ShimStarted}
	if err != nil {
		a.log.Warn("a task was not launched", "task", info.ID, "err", err)
		observation = launchFailure(err)
		a.leaveGroup(info.ID)
	} else {
		a.watch(w)
	}
	return a.perform(a.pure.Observe(a.config.Now(), info.ID, observation))
}

func (a *Agent) stop(e agent.Stop) {
	root, err := a.root.OpenRoot(path.Join(tasksDir, string(e.Task), shimDir))
	if err != nil {
		a.log.Warn("a task cannot be stopped", "task", e.Task, "err", err)
		return
	}
	err = stopTask(root, a.shims[e.Task], a.boot, e.Hard)
	if err = errors.Join(err, root.Close()); err != nil {
		a.log.Warn("a task cannot be stopped", "task", e.Task, "err", err)
	}
}

// stopTask signals a task through its shim; without one, or hard, its process group. known is the shim's identity where the
// caller has it: a shim that has only just been started has not recorded its own.
func stopTask(root *os.Root, known shim.Identity, boot string, hard bool) error {
	var pid shim.Identity
	began, err := readRecord(root, shim.PIDFile, &pid)
	if err != nil {
		return err
	}
	if known.PID == 0 {
		if _, err := readRecord(root, shim.ShimFile, &known); err != nil {
			return err
		}
	}
	signal := unix.SIGTERM
	if hard {
		signal = unix.SIGKILL
	}
	switch {
	case alive(known, boot) && (!hard || !began):
		return signalProcess(known, boot, signal)
	case began:
		return signalGroup(pid, boot, signal)
	}
	return nil
}

func (a *Agent) reject(err error) {
	a.log.Error("the server is refused", "err", err)
	if a.session != nil {
		a.session.end(err)
	}
}

// holdLink dials, and dials again, until ctx ends.
func (a *Agent) holdLink(ctx context.Context) error {
	l := link.Loop{
		Dial: a.config.Dial, Session: a.serve,
		Failed: func(attempt int, err error, wait time.Duration) {
			if attempt == 1 { // the rest would say the same
				a.log.Info("no link to the server", "err", err, "wait", wait)
			}
		},
	}
	return l.Run(ctx)
}
