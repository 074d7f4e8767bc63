package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/weir-project/weir/resources/shim"
)

// run executes the intent once. An error is a folder that cannot be used; whatever becomes of the task is in exit.json.
func run(dir string) error {
	// A child's death signal is tied to the thread that started it, and the main thread ends with the process only.
	runtime.LockOSThread()
	stop := signals()
	f, err := openFolder(dir, 0)
	if err != nil {
		return err
	}
	if f.exists(shim.ExitFile) || f.exists(shim.PIDFile) {
		return fmt.Errorf("run %s: it was run before; an intent is run once", f.dir)
	}
	exit := f.once(stop)
	return f.write(shim.ExitFile, exit)
}

func signals() <-chan os.Signal {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	return stop
}

func (f *folder) once(stop <-chan os.Signal) shim.Exit {
	never := func(err error) shim.Exit { return shim.Exit{Reason: err.Error(), Code: 1, At: time.Now()} }
	in, err := f.intent()
	if err != nil {
		return never(err)
	}
	for _, p := range in.Prepare {
		if err := prepare(in, p, stop); err != nil {
			return never(err)
		}
	}
	t, err := f.start(in)
	if err != nil {
		return never(err)
	}
	exit, _ := t.watch(in, stop)
	return exit
}

// errStopped is the end of a preparation that was asked to stop.
var errStopped = errors.New("stopped before the task began")

// prepare runs one command to its end. It dies with the shim: nothing has been recorded yet by which it could be adopted.
func prepare(in shim.Intent, p shim.Prepare, stop <-chan os.Signal) error {
	if p.Creates != "" {
		if _, err := os.Lstat(p.Creates); err == nil {
			return nil
		}
	}
	tail := &tail{}
	program, err := lookup(p.Argv[0], environment(in.Env))
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	c := &exec.Cmd{Path: program, Args: p.Argv, Dir: in.Cwd, Env: environment(in.Env), SysProcAttr: childAttr(in)}
	if !p.Quiet {
		log, err := openAppend(in.Stdout)
		if err != nil {
			return err
		}
		defer log.Close()
		both := io.MultiWriter(log, tail)
		c.Stdout, c.Stderr = both, both
	}
	c.WaitDelay = time.Second // a descendant that keeps the output open does not hold up the end
	if err := c.Start(); err != nil {
		return fmt.Errorf("prepare: start %s: %w", p.Argv[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err = <-ended:
	case <-stop:
		signalGroup(c.Process.Pid, syscall.SIGKILL)
		<-ended //nolint:errcheck // it was killed here: how it ended says nothing
		return errStopped
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("prepare: %s: %w", p.Argv[0], err)
	if last := tail.last(); last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return err
}

// tail keeps the end of an output.
type tail struct{ end []byte }

const maxTail = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.end = append(t.end, p...)
	if n := len(t.end) - maxTail; n > 0 {
		t.end = append([]byte(nil), t.end[n:]...)
	}
	return len(p), nil
}

// last is the last line with anything on it.
func (t *tail) last() string {
	text := strings.TrimSpace(string(bytes.ToValidUTF8(t.end, []byte("?"))))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
