package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weir-project/weir/resources/shim"
)

// maxIntent bounds what is read, in bytes.
const maxIntent = 1 << 20

// folder is a shim's directory while this process holds its lock.
type folder struct {
	dir  string
	lock *os.File
	boot string
}

// openFolder takes the lock and records this process. Of two shims for one folder exactly one gets it (I3). patience is how long to
// wait for it: a shim that was killed while it started its task has left the lock for a moment to a process that is about to become
// that task.
func openFolder(dir string, patience time.Duration) (*folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, shim.LockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := takeLock(lock, patience); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: another shim holds it: %w", lock.Name(), err), lock.Close())
	}
	boot, err := bootID()
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	f := &folder{dir: dir, lock: lock, boot: boot}
	id, err := f.identity(os.Getpid())
	if err == nil {
		err = f.write(shim.ShimFile, id)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return f, nil
}

func takeLock(lock *os.File, patience time.Duration) error {
	const step = 10 * time.Millisecond
	for waited := time.Duration(0); ; waited += step {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || waited >= patience {
			return err
		}
		time.Sleep(step)
	}
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) exists(name string) bool {
	_, err := os.Lstat(f.path(name))
	return err == nil
}

// write replaces a file at once.
func (f *folder) write(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	temp := f.path("." + name)
	if err := os.WriteFile(temp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, f.path(name))
}

func (f *folder) intent() (shim.Intent, error) {
	var in shim.Intent
	info, err := os.Stat(f.path(shim.IntentFile))
	if err != nil {
		return in, err
	}
	if info.Size() > maxIntent {
		return in, fmt.Errorf("read %s: %d bytes, more than %d", f.path(shim.IntentFile), info.Size(), maxIntent)
	}
	data, err := os.ReadFile(f.path(shim.IntentFile))
	if err != nil {
		return in, err
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return in, fmt.Errorf("read %s: %w", f.path(shim.IntentFile), err)
	}
	if in.Version != 1 || len(in.Argv) == 0 || in.Cwd == "" || in.Stdout == "" || in.Stderr == "" {
		return in, fmt.Errorf("read %s: version %d (1 is known), %d arguments, cwd %q, stdout %q, stderr %q: none may be missing",
			f.path(shim.IntentFile), in.Version, len(in.Argv), in.Cwd, in.Stdout, in.Stderr)
	}
	if in.KillGrace <= 0 {
		in.KillGrace = shim.DefaultGrace
	}
	if in.MaxOutput <= 0 {
		in.MaxOutput = shim.MaxOutput
	}
	return in, nil
}

func (f *folder) identity(pid int) (shim.Identity, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return shim.Identity{}, err
	}
	_, start, err := shim.ParseStat(stat)
	return shim.Identity{PID: pid, Start: start, Boot: f.boot, At: time.Now()}, err
}

// living is the recorded task, if it still runs.
func (f *folder) living() (shim.Identity, bool) {
	var id shim.Identity
	data, err := os.ReadFile(f.path(shim.PIDFile))
	if err != nil || json.Unmarshal(data, &id) != nil {
		return id, false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(id.PID) + "/stat")
	return id, err == nil && id.Alive(stat, f.boot)
}
