package engine

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weir-project/weir/pipelines/physical"
)

// idleTick is the unit of /proc/stat: USER_HZ is 100 on every Linux that Go runs on.
const idleTick = int64(time.Second) / 100

// usage is what this process took of its machine since began, and what the machine has left. Of a container with a quota it tells what the whole machine has left.
func usage(began time.Time) *physical.Usage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return nil // a platform that does not tell; the server says that it is unknown
	}
	u := &physical.Usage{At: int64(time.Since(began)), CPU: r.Utime.Nano() + r.Stime.Nano(), Cores: float64(runtime.GOMAXPROCS(0))}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return u // no Linux
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u
	}
	if idle, ok := idleTicks(stat); ok {
		u.Host, u.HostIdle = strings.TrimSpace(string(boot)), idle*idleTick
	}
	return u
}

// idleTicks reads the first line of /proc/stat: "cpu user nice system idle iowait …". A core that waits for a disk is free.
func idleTicks(stat []byte) (int64, bool) {
	line, _, _ := bytes.Cut(stat, []byte{'\n'})
	f := strings.Fields(string(line))
	if len(f) < 6 || f[0] != "cpu" {
		return 0, false
	}
	idle, err := strconv.ParseInt(f[4], 10, 64)
	if err != nil {
		return 0, false
	}
	wait, err := strconv.ParseInt(f[5], 10, 64)
	return idle + wait, err == nil
}
