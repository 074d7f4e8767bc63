package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Command is a process to run.
type Command struct {
	Path string
	Args []string
	Dir  string
	// Measure, where it is set, does the work in a process that runs already, such as a service's, and says what that took (see Watch).
	Measure func(ctx context.Context) (Usage, error)
}

// Usage is what a process and all that it started took.
type Usage struct {
	CPU     time.Duration // user and system, of the process and of every descendant that it waited for
	Wall    time.Duration
	PeakRSS int64 // bytes: the highest sum of the tree that was sampled
	// Aside is what Bench.Aside would have said, where only Measure knows when the work began.
	Aside *time.Duration
}

// ErrLeft refuses a run that left processes behind: their CPU would be missing.
var ErrLeft = errors.New("it left processes behind, whose CPU was not counted; they were killed")

const (
	sampleEvery = 5 * time.Millisecond
	tailSize    = 4 << 10
)

// Run runs a command to its end. The error is of the command, with the end of its output; Usage is right only without one.
func Run(ctx context.Context, c Command) (Usage, error) {
	if c.Measure != nil {
		return c.Measure(ctx)
	}
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Dir = c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var output tail
	cmd.Stdout, cmd.Stderr = &output, &output
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return Usage{}, fmt.Errorf("start %s: %w", c.Path, err)
	}
	stop, peak := make(chan struct{}), make(chan int64)
	seen := map[int]string{}
	go func() { peak <- sample(cmd.Process.Pid, seen, stop) }()
	err := cmd.Wait()
	u := Usage{Wall: time.Since(began)}
	close(stop)
	u.PeakRSS = <-peak
	if kill := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); killed(seen) || kill == nil {
		err = errors.Join(err, ErrLeft)
	}
	if ctx.Err() != nil {
		return u, context.Cause(ctx)
	}
	if err != nil {
		return u, fmt.Errorf("run %s: %w\n%s", c.Path, err, output.String())
	}
	u.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return u, nil
}

// sample looks at the tree's memory until stop, and returns the most that it took; seen is of whom, and when they were born. The kernel keeps each
// process's own peak, so only one that lives for less than the interval is missed.
func sample(pid int, seen map[int]string, stop <-chan struct{}) int64 {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	most := int64(0)
	for {
		sum := int64(0)
		for _, p := range Tree(pid) {
			if seen[p] == "" {
				seen[p] = born(p)
			}
			sum += memory(p, "VmHWM:") // the most that it has ever taken
		}
		most = max(most, sum)
		select {
		case <-tick.C:
		case <-stop:
			return most
		}
	}
}

// killed ends those of the processes that live still, such as a daemon that left the process group, and reports whether there were any.
func killed(seen map[int]string) (any bool) {
	for pid, at := range seen {
		if at != "" && born(pid) == at && syscall.Kill(pid, syscall.SIGKILL) == nil {
			any = true
		}
	}
	return any
}

// born is when a living process started, in the kernel's words, which tell it from a later one of its number; empty of one that has ended.
func born(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// Tree lists a process and its descendants that live; nothing where there is no /proc.
func Tree(pid int) []int {
	out := []int{pid}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	for _, t := range threads {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if err != nil {
			continue // the thread has ended
		}
		for _, f := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(f); err == nil {
				out = append(out, Tree(child)...)
			}
		}
	}
	return out
}

// ticks is what the kernel counts CPU in for /proc, on every Linux there is (USER_HZ).
const ticks = 100

// CPU is what a living process tree has taken so far; ok is false where /proc cannot say.
func CPU(pid int) (d time.Duration, ok bool) {
	for _, p := range Tree(pid) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		// The name in parentheses may hold anything; user, system, and those of reaped children are the 12th to 15th word behind it.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		for _, i := range []int{11, 12, 13, 14} {
			if i < len(fields) {
				n, err := strconv.ParseInt(fields[i], 10, 64)
				if err == nil {
					d += time.Duration(n) * time.Second / ticks
					ok = true
				}
			}
		}
	}
	return d, ok
}

// tail keeps the end of what is written.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if more := len(t.b) - tailSize; more > tailSize {
		t.b = append(t.b[:0], t.b[more:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b[max(0, len(t.b)-tailSize):])) }
