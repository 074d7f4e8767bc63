package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/agent"
	"github.com/weir-project/weir/resources/shim"
)

// seen is what a watcher tells the loop.
type seen struct {
	task        resources.TaskID
	observation *agent.Observation
	shimDied    bool
	ended       bool // nothing more will be seen of this task
}

// watcher follows one task until it ends, or until the agent does: one goroutine that sleeps in poll(2) on the shim's folder
// (inotify), on the process that matters (pidfd) and on the agent's end (a pipe).
type watcher struct {
	task  resources.TaskID
	root  *os.Root // the shim's folder
	boot  string
	child int // the shim's process id where it is our child, to be reaped by us
	note  string
	log   *slog.Logger
	tell  func(seen)
	// outOfMemory reports whether the kernel killed something of the task for its memory limit.
	outOfMemory func() bool
	leave       func() // gives up what the task used beside its folder
	stopFD      int

	shim     shim.Identity
	pid      shim.Identity
	began    bool // the task was recorded
	orphaned bool // its shim has died
	held     bool // a pidfd of the task itself was open until now
	told     bool // the end was told
	inotify  int  // -1 for none
}

func (w *watcher) run() {
	err := w.follow()
	// A failure to watch is not an end of the task: what lives is looked at again.
	for err != nil && !w.told && (alive(w.shim, w.boot) || alive(w.pid, w.boot)) {
		w.log.Warn("a task cannot be watched for a moment", "task", w.task, "err", err)
		if stopped, serr := w.sleep(none); stopped || serr != nil {
			err = serr
			break
		}
		err = w.follow()
	}
	if w.told {
		w.settle()
		w.leave()
	}
	if cerr := w.root.Close(); err == nil {
		err = cerr
	}
	if err != nil && !w.told {
		w.end(agent.Observation{Event: agent.ExitUnknown, Reason: agent.ReasonUnknownExit, Message: fmt.Sprintf("exit status unknown: %v", err)})
	}
}

// follow returns nil when the end was told, or when the agent ends.
func (w *watcher) follow() error {
	if w.inotify = w.openInotify(); w.inotify >= 0 {
		defer func() {
			unix.Close(w.inotify)
			w.inotify = -1
		}()
	}
	for {
		ended, err := w.look()
		if ended || err != nil {
			return err
		}
		process, err := w.target()
		if err != nil {
			return err
		}
		if process == dead {
			ended, err := w.processDied()
			if ended || err != nil {
				return err
			}
			continue
		}
		stopped, err := w.sleep(process)
		if process >= 0 {
			err = errors.Join(err, unix.Close(process))
		}
		if stopped || err != nil {
			return err
		}
	}
}

// openInotify is -1 where the host gives no more of them (128 a user, by default): the folder is looked at from time to time then.
func (w *watcher) openInotify() int {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		w.log.Warn("a task's folder is looked at from time to time: no inotify", "task", w.task, "err", err)
		return -1
	}
	if _, err := unix.InotifyAddWatch(fd, w.root.Name(), unix.IN_MOVED_TO); err != nil {
		w.log.Warn("a task's folder is looked at from time to time: no inotify", "task", w.task, "err", errors.Join(err, unix.Close(fd)))
		return -1
	}
	return fd
}

// dead stands for a process that has ended, none for one that is not known yet.
const (
	dead = -2
	none = -1
)

// look reads the folder and tells what is new.
func (w *watcher) look() (ended bool, err error) {
	if !w.began {
		if w.began, err = readRecord(w.root, shim.PIDFile, &w.pid); err != nil {
			return false, err
		}
		if w.began {
			w.tell(seen{task: w.task, observation: &agent.Observation{Event: agent.ProcessStarted, PID: w.pid.PID, Message: w.note}})
		}
	}
	var exit shim.Exit
	ended, err = readRecord(w.root, shim.ExitFile, &exit)
	if ended {
		o := exitObservation(exit)
		if o.Event == agent.ExitedBad && w.outOfMemory() {
			o.Reason = agent.ReasonMemory
			o.Message += "; the kernel killed it, or a process of it, for using more than its mem: give it more"
		}
		w.end(o)
	}
	return ended, err
}

func exitObservation(e shim.Exit) agent.Observation {
	if e.Reason == "" && e.Signal == "" && e.Code == 0 {
		return agent.Observation{Event: agent.ExitedZero, Message: e.String()}
	}
	o := agent.Observation{Event: agent.ExitedBad, ExitCode: e.Code, Reason: agent.ReasonExited, Message: e.String()}
	if !e.Began {
		o.Reason = agent.ReasonLaunch
	}
	return o
}

func (w *watcher) end(o agent.Observation) {
	w.told = true
	w.tell(seen{task: w.task, observation: &o, ended: true})
}

// target is the process whose end matters now: the shim, or the task when the shim is dead.
func (w *watcher) target() (int, error) {
	id := w.pid
	if !w.orphaned {
		if w.shim.PID == 0 {
			known, err := readRecord(w.root, shim.ShimFile, &w.shim)
			if err != nil {
				return none, err
			}
			if !known {
				return w.unstarted()
			}
		}
		id = w.shim
	}
	fd, err := openProcess(id, w.boot)
	if errors.Is(err, errDead) {
		return dead, nil
	}
	w.held = w.orphaned && err == nil
	return fd, err
}

// unstarted is a launch that an earlier life of the agent may or may not have begun. The lock decides: who holds it may run the
// intent. With the lock held here the end is written, and a shim that comes late refuses to run.
func (w *watcher) unstarted() (int, error) {
	lock, err := w.root.OpenFile(shim.LockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return none, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return none, nil // a shim is starting: its record will be moved into the folder, or it dies and gives up the lock
	}
	data, err := json.Marshal(shim.Exit{Code: 1, Reason: "the agent ended before it started the task", At: time.Now()})
	if err != nil {
		return none, err
	}
	return none, security.WriteFile(w.root, shim.ExitFile, data, 0o600)
}

// processDied decides what the end of the awaited process means.
func (w *watcher) processDied() (ended bool, err error) {
	w.reap()
	// The shim writes how the task ended before it ends itself.
	if ended, err := w.look(); ended || err != nil {
		return ended, err
	}
	if !w.orphaned && w.began && alive(w.pid, w.boot) {
		w.orphaned = true
		w.tell(seen{task: w.task, shimDied: true})
		return false, nil
	}
	message := "exit status unknown: its shim died before the task began"
	if w.began {
		if err := w.endGroup(); err != nil {
			return false, err
		}
		message = "exit status unknown: its shim died before the task ended"
	}
	w.end(agent.Observation{Event: agent.ExitUnknown, Reason: agent.ReasonUnknownExit, Message: message})
	return true, nil
}

// endGroup ends what an orphan left behind in its process group, as its shim would have seen to. Only a leader that was watched to
// its end is followed: its number cannot have become another group's in that moment, as it may since long ago.
func (w *watcher) endGroup() error {
	if !w.held {
		return nil
	}
	if err := unix.Kill(-w.pid.PID, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return fmt.Errorf("end process group %d: %w", w.pid.PID, err)
	}
	return nil
}

// reap takes a shim that is our child out of the process table, if it has ended.
func (w *watcher) reap() {
	if w.child == 0 {
		return
	}
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(w.child, &status, syscall.WNOHANG, nil); pid == w.child || err == syscall.ECHILD {
		w.child = 0
	}
}

// settle waits for the end of a shim that has written its last record, so that no zombie stays.
func (w *watcher) settle() {
	w.reap()
	if w.child == 0 {
		return
	}
	fd, err := openProcess(w.shim, w.boot)
	if err == nil {
		const patience = 5000 // milliseconds; it has nothing left to do
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(w.stopFD), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(fds, patience); err != unix.EINTR {
				break
			}
		}
		unix.Close(fd)
	}
	w.reap()
}

// sleep waits until the folder or the process has news, or the agent ends.
func (w *watcher) sleep(process int) (stopped bool, err error) {
	fds := []unix.PollFd{{Fd: int32(w.stopFD), Events: unix.POLLIN}, {Fd: int32(w.inotify), Events: unix.POLLIN}, {Fd: int32(process), Events: unix.POLLIN}}
	patience := -1
	if process == none || w.inotify < 0 {
		patience = 1000 // milliseconds: there is nothing by which what is waited for would make itself known
	}
	for {
		_, err := unix.Poll(fds, patience) // a negative descriptor is ignored
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("watch task: poll: %w", err)
		}
		break
	}
	if fds[0].Revents != 0 {
		return true, nil
	}
	if fds[1].Revents != 0 {
		// Which file it was does not matter: the folder is looked at again.
		buffer := make([]byte, 4096)
		if _, err := unix.Read(w.inotify, buffer); err != nil && err != unix.EAGAIN {
			return false, fmt.Errorf("watch folder: %w", err)
		}
	}
	return false, nil
}
