package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/weir-project/weir/resources/shim"
)

const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 5 * time.Second
	// longLife is how long a command must live for its next restart to be quick again.
	longLife = 30 * time.Second
)

// supervise keeps the intent's command running. A command that a killed supervisor left behind is taken over, not started twice.
func supervise(dir string) error {
	runtime.LockOSThread()
	stop := signals()
	f, err := openFolder(dir, 2*time.Second)
	if err != nil {
		return err
	}
	wait := backoffMin
	for !f.exists(shim.StopFile) {
		began := time.Now()
		stopped, err := f.superviseOnce(stop)
		if stopped {
			return err
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "weir-shim: supervise:", err)
		}
		if time.Since(began) >= longLife {
			wait = backoffMin
		}
		if f.exists(shim.StopFile) {
			return nil
		}
		select {
		case <-stop:
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, backoffMax)
	}
	return nil
}

// superviseOnce is one life of the command. The intent is read anew each time, so that a new version takes effect at a restart.
func (f *folder) superviseOnce(stop <-chan os.Signal) (stopped bool, err error) {
	in, err := f.intent()
	if err != nil {
		return false, err
	}
	if id, alive := f.living(); alive {
		return f.adopt(id, in, stop)
	}
	for _, p := range in.Prepare {
		if err := prepare(in, p, stop); err != nil {
			return errors.Is(err, errStopped), err
		}
	}
	t, err := f.start(in)
	if err != nil {
		return false, err
	}
	exit, stopped := t.watch(in, stop)
	return stopped, f.write(shim.ExitFile, exit)
}

const sysPidfdOpen = 434 // the same number on every architecture

// adopt waits for a process that is no child of this one, and kills it when asked to.
func (f *folder) adopt(id shim.Identity, in shim.Intent, stop <-chan os.Signal) (stopped bool, err error) {
	fd, _, errno := syscall.RawSyscall(sysPidfdOpen, uintptr(id.PID), 0, 0)
	if errno == syscall.ESRCH {
		return false, nil
	}
	if errno != 0 {
		return false, fmt.Errorf("adopt process %d: pidfd_open: %w", id.PID, errno)
	}
	defer syscall.Close(int(fd))
	if _, alive := f.living(); !alive { // the id may have passed to another process before the pidfd was opened
		return false, nil
	}
	ended := make(chan error, 1)
	go func() { ended <- waitReadable(int(fd)) }()
	rotate := time.NewTicker(outputInterval)
	defer rotate.Stop()
	var kill <-chan time.Time
	for {
		select {
		case err := <-ended:
			signalGroup(id.PID, syscall.SIGKILL)
			return stopped, err
		case <-stop:
			if !stopped {
				stopped = true
				signalGroup(id.PID, syscall.SIGTERM)
				kill = time.After(in.KillGrace)
			}
		case <-kill:
			signalGroup(id.PID, syscall.SIGKILL)
		case <-rotate.C:
			rotateOutput(in)
		}
	}
}

// waitReadable blocks until a pidfd says that its process has ended.
func waitReadable(fd int) error {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch process: %w", err)
	}
	defer syscall.Close(epoll)
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	if err := syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("watch process: %w", err)
	}
	for {
		n, err := syscall.EpollWait(epoll, make([]syscall.EpollEvent, 1), -1)
		if n == 1 {
			return nil
		}
		if err != nil && err != syscall.EINTR {
			return fmt.Errorf("watch process: %w", err)
		}
	}
}
