package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weir-project/weir/resources/shim"
)

// maxRecord bounds what is read of a shim's files, in bytes; an intent is the largest of them.
const maxRecord = 1 << 20

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// identify names a running process.
func identify(pid int, boot string) (shim.Identity, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return shim.Identity{}, err
	}
	_, start, err := shim.ParseStat(stat)
	return shim.Identity{PID: pid, Start: start, Boot: boot}, err
}

func alive(id shim.Identity, boot string) bool {
	if id.PID <= 1 {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(id.PID) + "/stat")
	return err == nil && id.Alive(stat, boot)
}

// errDead says that a process has ended.
var errDead = errors.New("the process has ended")

// openProcess is a pidfd of exactly the process that id names, or errDead.
func openProcess(id shim.Identity, boot string) (int, error) {
	if !alive(id, boot) {
		return -1, errDead
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err == unix.ESRCH {
		return -1, errDead
	}
	if err != nil {
		return -1, fmt.Errorf("watch process %d: pidfd_open: %w", id.PID, err)
	}
	if !alive(id, boot) { // the number may have passed on before the pidfd was opened
		return -1, errors.Join(errDead, unix.Close(fd))
	}
	return fd, nil
}

// signalProcess signals exactly the process that id names. One that has ended is no failure.
func signalProcess(id shim.Identity, boot string, sig unix.Signal) error {
	fd, err := openProcess(id, boot)
	if errors.Is(err, errDead) {
		return nil
	}
	if err != nil {
		return err
	}
	err = unix.PidfdSendSignal(fd, sig, nil, 0)
	if err == unix.ESRCH {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("send %v to process %d: %w", sig, id.PID, err)
	}
	return errors.Join(err, unix.Close(fd))
}

// signalGroup signals the process group that a task leads. The leader must live: its number is the group's.
func signalGroup(id shim.Identity, boot string, sig unix.Signal) error {
	if !alive(id, boot) {
		return nil
	}
	if err := unix.Kill(-id.PID, sig); err != nil && err != unix.ESRCH {
		return fmt.Errorf("send %v to process group %d: %w", sig, id.PID, err)
	}
	return nil
}

// readRecord reads one of a shim's JSON files; false when it does not exist.
func readRecord(root *os.Root, name string, into any) (bool, error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err = errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return true, nil
}
