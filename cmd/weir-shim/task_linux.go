package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"syscall"
	"time"

	"github.com/weir-project/weir/resources/shim"
)

// task is the running process, a child of this shim.
type task struct {
	process *os.Process
	ended   chan shim.Exit // one value
}

// start runs the intent's program in a session of its own, recorded before it begins.
func (f *folder) start(in shim.Intent) (*task, error) {
	out, err := openOutput(in)
	if err != nil {
		return nil, err
	}
	defer out.close()
	goReader, goWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	reportReader, reportWriter, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, goReader.Close(), goWriter.Close())
	}
	defer reportReader.Close()
	process, err := os.StartProcess("/proc/self/exe", []string{"weir-shim", stageCommand}, &os.ProcAttr{
		Dir: in.Cwd, Env: []string{}, Files: []*os.File{out.null, out.stdout, out.stderr, goReader, reportWriter}, Sys: childAttr(in),
	})
	err = errors.Join(err, goReader.Close(), reportWriter.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start stage in %s: %w", in.Cwd, err), goWriter.Close())
	}
	err = f.launch(process.Pid, in, goWriter)
	failure, rerr := io.ReadAll(reportReader) // ends when the program has begun
	if err == nil {
		err = rerr
	}
	if err == nil && len(failure) > 0 {
		err = errors.New(string(failure))
	}
	if err != nil {
		_, werr := process.Wait() // it ends by itself: it was never told to go, or could not
		return nil, errors.Join(err, werr)
	}
	t := &task{process: process, ended: make(chan shim.Exit, 1)}
	go t.wait()
	return t, nil
}

func childAttr(in shim.Intent) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if u := in.User; u != nil {
		attr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	return attr
}

// launch records the task and then tells it to go.
func (f *folder) launch(pid int, in shim.Intent, orders *os.File) (err error) {
	defer func() { err = errors.Join(err, orders.Close()) }()
	id, err := f.identity(pid)
	if err != nil {
		return err
	}
	if err := f.write(shim.PIDFile, id); err != nil {
		return err
	}
	for _, procs := range in.Cgroups {
		// A limit that cannot be set is no reason not to run (D2: a warning where there is none).
		if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o600); err != nil {
			fmt.Fprintf(os.Stderr, "weir-shim: enter cgroup: %v\n", err)
		}
	}
	data, err := json.Marshal(stage{Argv: in.Argv, Env: environment(in.Env), DropIPC: in.DropIPC})
	if err != nil {
		return err
	}
	_, err = orders.Write(data)
	return err
}

func environment(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return out
}

func (t *task) wait() {
	state, err := t.process.Wait()
	t.killGroup(syscall.SIGKILL) // what the task left behind in its group goes with it
	if err != nil {
		t.ended <- shim.Exit{Reason: fmt.Sprintf("wait for process %d: %v", t.process.Pid, err), Began: true, At: time.Now()}
		return
	}
	t.ended <- exitOf(state)
}

func exitOf(state *os.ProcessState) shim.Exit {
	e := shim.Exit{Began: true, At: time.Now()}
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		e.Signal, e.Code = status.Signal().String(), 128+int(status.Signal())
		return e
	}
	e.Code = state.ExitCode()
	return e
}

// killGroup signals the task's process group. A group that is gone already is no failure.
func (t *task) killGroup(sig syscall.Signal) { signalGroup(t.process.Pid, sig) }

func signalGroup(pid int, sig syscall.Signal) {
	if err := syscall.Kill(-pid, sig); err != nil && err != syscall.ESRCH {
		fmt.Fprintf(os.Stderr, "weir-shim: send %v to process group %d: %v\n", sig, pid, err)
	}
}

// watch waits for the task's end, looks after its output, and kills it when asked to.
func (t *task) watch(in shim.Intent, stop <-chan os.Signal) (exit shim.Exit, stopped bool) {
	rotate := time.NewTicker(outputInterval)
	defer rotate.Stop()
	var kill <-chan time.Time
	for {
		select {
		case exit := <-t.ended:
			return exit, stopped
		case <-stop:
			if !stopped {
				stopped = true
				t.killGroup(syscall.SIGTERM)
				kill = time.After(in.KillGrace)
			}
		case <-kill:
			t.killGroup(syscall.SIGKILL)
		case <-rotate.C:
			rotateOutput(in)
		}
	}
}
