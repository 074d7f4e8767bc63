package harness

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script starts a shell that is watched.
func script(t *testing.T, text string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", text)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// A service works before, works in a child of its own while it is measured, and is idle behind.
func TestAWatchCountsWhatIsBetweenTwoTimes(t *testing.T) {
	alone, err := Run(t.Context(), sh(burn))
	if err != nil {
		t.Fatal(err)
	}
	cmd := script(t, burn+`; `+burn+`; sleep 0.3; `+`(`+burn+`); sleep 0.3; exit 0`)
	w := NewWatch(cmd.Process.Pid)
	for i := 0; ; i++ { // until both of the first have been done and it sleeps
		before, ok := CPU(cmd.Process.Pid)
		time.Sleep(60 * time.Millisecond)
		if after, _ := CPU(cmd.Process.Pid); ok && after == before && after >= alone.CPU {
			break
		}
		if i > 500 {
			t.Fatal("the service never sleeps")
		}
	}
	from := time.Now()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	w.Stop()
	last := w.seen[0].at // that at which it lived
	for _, s := range w.seen {
		if s.ok {
			last = s.at
		}
	}
	u, err := w.Between(from, last.Add(-150*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if u.CPU < alone.CPU/3 || u.CPU > alone.CPU*8/5 || u.PeakRSS == 0 || u.Wall <= 0 {
		t.Errorf("%+v; the same alone took %s, and it was done twice before", u, alone.CPU)
	}
}

func TestAWatchRefusesWhatItDidNotSee(t *testing.T) {
	cmd := script(t, "exec sleep 30")
	begun := time.Now()
	w := NewWatch(cmd.Process.Pid)
	time.Sleep(30 * time.Millisecond)
	alive := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it was killed, and ended well")
	}
	time.Sleep(30 * time.Millisecond)
	dead := time.Now()
	time.Sleep(30 * time.Millisecond)
	w.Stop()
	if _, err := w.Between(alive, dead); !errors.Is(err, ErrGone) {
		t.Errorf("of a process that ended it says %v", err)
	}
	for what, at := range map[string][2]time.Time{"before the first look": {begun.Add(-time.Second), alive}, "behind the last": {alive, time.Now().Add(time.Second)}, "backwards": {dead, alive}} {
		if u, err := w.Between(at[0], at[1]); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("%s: %+v, %v", what, u, err)
		}
	}
}

// What runs already is measured by whoever knows it, and checked like all.
func TestAServiceIsMeasuredByItsOwner(t *testing.T) {
	aside := 7 * time.Second
	s := System{Name: "worker", Prepare: func(context.Context) (Command, error) {
		return Command{Measure: func(context.Context) (Usage, error) {
			return Usage{CPU: 2 * time.Second, Wall: time.Second, PeakRSS: 5, Aside: &aside}, nil
		}}, nil
	}, Check: func(context.Context) (string, error) { return "truth", nil }}
	b := Bench{Events: 1_000_000, Truth: "truth", Rounds: 1, Systems: []System{s}, Aside: func() (time.Duration, bool) { return 99 * time.Second, true }}
	r, err := b.Run(t.Context())
	if err != nil || r.Runs != 1 || r.CPUPerMillion.Median != 2 || r.PeakRSS != 5 || r.ServiceCPU == nil || *r.ServiceCPU != 7 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Work too small for the clock: CPU is counted in steps of 10 ms. A report of it is written all the same, and a start that took nothing is the least.
func TestNothingIsNoInfinity(t *testing.T) {
	took := []time.Duration{0, 20 * time.Millisecond, 10 * time.Millisecond}
	i := 0
	s := System{Name: "worker", Start: func(context.Context) (Command, error) {
		return Command{Measure: func(context.Context) (Usage, error) { i++; return Usage{CPU: took[i-1]}, nil }}, nil
	}, Prepare: func(context.Context) (Command, error) {
		return Command{Measure: func(context.Context) (Usage, error) { return Usage{}, nil }}, nil
	}, Check: func(context.Context) (string, error) { return "truth", nil }}
	r, err := (Bench{Events: 10, Truth: "truth", Rounds: 1, Systems: []System{s, s}, Starts: 1}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i != 2 || r.StartCPU != 0 {
		t.Errorf("%d starts, the least took %v s", i, r.StartCPU)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	if noise, ok := r.Noise(); ok {
		t.Errorf("the noise of nothing is %v", noise)
	}
	i = 0
	if r, err = (Bench{Events: 10, Truth: "truth", Rounds: 1, Systems: []System{s}}).Run(t.Context()); err != nil || i != 3 || r.StartCPU != 0 {
		t.Errorf("%d starts, the least took %v s (%v)", i, r.StartCPU, err)
	}
}

// A daemon leaves the process group, and is found all the same.
func TestADaemonLeftBehindIsKilledAndTold(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("there is no setsid here")
	}
	file := filepath.Join(t.TempDir(), "pid")
	_, err := Run(t.Context(), Command{Path: "/bin/sh", Args: []string{"-c", `setsid sleep 60 >/dev/null 2>&1 & echo $! >"$0"; sleep 0.2`, file}})
	data, rerr := os.ReadFile(file)
	if rerr != nil {
		t.Fatal(rerr)
	}
	pid, aerr := strconv.Atoi(strings.TrimSpace(string(data)))
	if aerr != nil {
		t.Fatal(aerr)
	}
	if !errors.Is(err, ErrLeft) {
		t.Errorf("error is %v", err)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	for range 200 {
		if born(pid) == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d lives on", pid)
}
