package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

// stageCommand is the hidden form in which the shim starts itself as the task-to-be: `weir-shim exec`. The stage exists for one
// reason: the task's identity must be on disk before its program runs, else a shim that is killed in between leaves a task
// that nobody knows. Until it is told to go it dies with the shim.
const stageCommand = "exec"

const (
	goFD    = 3 // closed by the shim without a byte: give up
	errorFD = 4 // closed on exec: the program runs; text: it does not
)

const (
	prSetPDeathSig  = 1
	prCapBSetDrop   = 24
	prSetNoNewPrivs = 38
	capIPCLock      = 14
	capVersion3     = 0x20080522
)

// stage is what the task-to-be needs to know; it arrives on goFD.
type stage struct {
	Argv    []string
	Env     []string
	DropIPC bool
}

// enter becomes the task. It returns only when it cannot.
func enter([]string) error {
	runtime.LockOSThread() // the settings below are the thread's, and exec keeps those of the calling one
	report := os.NewFile(errorFD, "report")
	syscall.CloseOnExec(errorFD)
	err := become(os.NewFile(goFD, "go"))
	if _, werr := io.WriteString(report, err.Error()); werr != nil {
		return errors.Join(err, werr)
	}
	return err
}

func become(orders *os.File) error {
	data, err := io.ReadAll(orders)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return errors.New("the shim died before it recorded the task")
	}
	var s stage
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if err := orders.Close(); err != nil {
		return err
	}
	if s.DropIPC {
		if err := dropIPC(); err != nil {
			return err
		}
	}
	if err := prctl(prSetNoNewPrivs, 1); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	program, err := lookup(s.Argv[0], s.Env)
	if err != nil {
		return err
	}
	if err := prctl(prSetPDeathSig, 0); err != nil {
		return fmt.Errorf("outlive the shim: %w", err)
	}
	return fmt.Errorf("execute %s: %w", program, syscall.Exec(program, s.Argv, s.Env))
}

// lookup finds the program on the task's own PATH.
func lookup(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var path string
	for _, e := range env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			path = p
		}
	}
	for _, dir := range filepath.SplitList(path) {
		candidate := filepath.Join(dir, name)
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("execute %s: %w in PATH=%s", name, exec.ErrNotFound, path)
}

func prctl(option, arg uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

type capHeader struct {
	version uint32
	pid     int32
}

type capData struct{ effective, permitted, inheritable uint32 } //nolint:unused // the kernel's layout

// dropIPC takes CAP_IPC_LOCK out of the bounding and inheritable sets, so that no program gets it: a JVM that may lock its
// memory locks all of it. A process without the right to change its bounding set is no root, and has nothing to drop.
func dropIPC() error {
	if err := prctl(prCapBSetDrop, capIPCLock); err != nil && err != syscall.EPERM {
		return fmt.Errorf("drop CAP_IPC_LOCK from the bounding set: %w", err)
	}
	header := capHeader{version: capVersion3}
	var data [2]capData
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); errno != 0 {
		return fmt.Errorf("read capabilities: %w", errno)
	}
	data[0].inheritable &^= 1 << capIPCLock
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); errno != 0 {
		return fmt.Errorf("drop CAP_IPC_LOCK from the inheritable set: %w", errno)
	}
	return nil
}
