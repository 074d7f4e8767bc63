package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-project/weir/resources"
)

// cgroupRoot is where every distribution mounts them.
const cgroupRoot = "/sys/fs/cgroup"

// cgroups are the directories of the groups that this process is in; either may be empty.
type cgroups struct{ v1memory, v2 string }

func ownCgroups() (cgroups, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return cgroups{}, err
	}
	var g cgroups
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[0] == "0":
			g.v2 = controlled(filepath.Join(cgroupRoot, fields[2]), "cgroup.controllers")
		case fields[1] == "memory":
			g.v1memory = controlled(mountedGroup(filepath.Join(cgroupRoot, "memory"), fields[2]), "memory.limit_in_bytes")
		}
	}
	return g, nil
}

// controlled is dir where the kernel's own file in it says that it is a cgroup. Where version 1 is mounted, the place of version 2
// is an ordinary directory, in which ordinary files could be made.
func controlled(dir, file string) string {
	if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
		return ""
	}
	return dir
}

// mountedGroup is a v1 group's directory; in a container the path is often that of the host, and the mount is the group itself.
func mountedGroup(mount, path string) string {
	if dir := filepath.Join(mount, path); isDir(dir) {
		return dir
	}
	return mount
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// memoryGroup makes a cgroup that limits a task's memory and returns its directory and the file through which a process
// enters. Only the task's own group is ever made or changed.
func (a *Agent) memoryGroup(id resources.TaskID, mem resources.Milli) (dir, procs string, err error) {
	groups, err := ownCgroups()
	if err != nil {
		return "", "", err
	}
	name := a.groupName(id)
	limit := []byte(strconv.FormatInt(mem.Ceil()*mib, 10))
	var failures []error
	for _, at := range []struct{ parent, file string }{{groups.v1memory, "memory.limit_in_bytes"}, {groups.v2, "memory.max"}} {
		if at.parent == "" {
			continue
		}
		dir := filepath.Join(at.parent, name)
		err := os.Mkdir(dir, 0o755)
		if err == nil || errors.Is(err, fs.ErrExist) {
			if err = writeExisting(filepath.Join(dir, at.file), limit); err == nil {
				return dir, filepath.Join(dir, "cgroup.procs"), nil
			}
			err = errors.Join(err, os.Remove(dir))
		}
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		return "", "", errors.New("no cgroup with a memory controller is mounted")
	}
	return "", "", fmt.Errorf("make memory cgroup: %w", errors.Join(failures...))
}

// writeExisting writes a file of the kernel, and never makes one.
func writeExisting(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// groupName is unique on the host: agents of several folders may have tasks of one name.
func (a *Agent) groupName(id resources.TaskID) string {
	sum := sha256.Sum256([]byte(a.config.Dir))
	return "weir-" + hex.EncodeToString(sum[:6]) + "-" + string(id)
}

// outOfMemory reports whether the kernel killed a process of the task for its limit.
func (a *Agent) outOfMemory(id resources.TaskID) bool {
	groups, err := ownCgroups()
	if err != nil {
		return false
	}
	for _, at := range []struct{ parent, file string }{{groups.v1memory, "memory.oom_control"}, {groups.v2, "memory.events"}} {
		data, err := os.ReadFile(filepath.Join(at.parent, a.groupName(id), at.file))
		if at.parent == "" || err != nil {
			continue // that version of cgroups is not mounted, or has no group of the task
		}
		for _, line := range strings.Split(string(data), "\n") {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok && strings.TrimSpace(n) != "0" {
				return true
			}
		}
	}
	return false
}

// leaveGroup removes a task's cgroup. It waits a little for the last of its processes to leave the process table.
func (a *Agent) leaveGroup(id resources.TaskID) {
	groups, err := ownCgroups()
	if err != nil {
		return // there is none to leave
	}
	for _, parent := range []string{groups.v1memory, groups.v2} {
		if parent == "" {
			continue
		}
		if err := removeGroup(filepath.Join(parent, a.groupName(id))); err != nil {
			a.log.Warn("memory cgroup of an ended task stays behind", "task", id, "err", err)
		}
	}
}

// removeGroup removes a cgroup that may be gone already. One whose last processes are being reaped is busy for a moment, which
// nothing announces.
func removeGroup(dir string) error {
	wait := time.Millisecond
	for {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || wait > time.Second {
			return err
		}
		time.Sleep(wait)
		wait *= 2
	}
}
