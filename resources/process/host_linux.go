package process

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weir-project/weir/resources"
)

const mib = 1 << 20

// Detect is what this host has to offer: processors, memory (of the host or of the cgroup this process is in, whichever is
// less), free disk, ports and loopback addresses. What is already in use by others on the host is not subtracted.
func Detect(o HostOptions) (resources.Resources, error) {
	if o.Ports == (resources.Range{}) {
		o.Ports = resources.Range{Begin: 20000, End: 29999}
	}
	if o.Addresses == "" {
		o.Addresses = "127.20.0"
	}
	mem, err := memory()
	if err != nil {
		return nil, fmt.Errorf("detect resources: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(o.Dir, &fs); err != nil {
		return nil, fmt.Errorf("detect resources: disk of %s: %w", o.Dir, err)
	}
	free := int64(fs.Bavail) * int64(fs.Bsize) / mib //nolint:unconvert // Bsize has 32 bits on some architectures
	var addresses []string
	for last := 2; last <= 254; last++ {
		addresses = append(addresses, o.Addresses+"."+strconv.Itoa(last))
	}
	return resources.Resources{
		resources.Scalar(resources.CPUs, limit(resources.Whole(int64(runtime.NumCPU())), o.CPUs)),
		resources.Scalar(resources.Mem, limit(resources.Whole(mem/mib), o.Mem)),
		resources.Scalar(resources.Disk, limit(resources.Whole(free), o.Disk)),
		resources.RangesOf(resources.Ports, o.Ports),
		resources.SetOf(resources.Addresses, addresses...),
	}.Normal(), nil
}

func limit(have, most resources.Milli) resources.Milli {
	if most > 0 {
		return min(have, most)
	}
	return have
}

// memory is the host's, or the limit of this process's own cgroup where that is less. Bytes.
func memory() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	total, err := meminfoTotal(data)
	if err != nil {
		return 0, err
	}
	groups, err := ownCgroups()
	if err != nil {
		return total, nil //nolint:nilerr // no cgroups: the host's memory is all there is to know
	}
	for _, at := range []struct{ dir, file string }{{groups.v1memory, "memory.limit_in_bytes"}, {groups.v2, "memory.max"}} {
		data, err := os.ReadFile(filepath.Join(at.dir, at.file))
		if at.dir == "" || err != nil {
			continue // that version of cgroups is not mounted, or this is its root, which has no limit
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil {
			total = min(total, n)
		}
	}
	return total, nil
}

func meminfoTotal(data []byte) (int64, error) {
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) >= 2 && f[0] == "MemTotal:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("read /proc/meminfo: no MemTotal in its %d bytes", len(data))
}
