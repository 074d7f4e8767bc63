package harness

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func sh(script string) Command { return Command{Path: "/bin/sh", Args: []string{"-c", script}} }

// burn takes about a tenth of a second of CPU in a shell.
const burn = `i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done`

func TestTheCPUOfGrandchildrenCounts(t *testing.T) {
	alone, err := Run(t.Context(), sh(burn))
	if err != nil {
		t.Fatal(err)
	}
	nested, err := Run(t.Context(), sh(`sh -c 'sh -c "`+strings.ReplaceAll(burn, "$", `\$`)+`"; exit 0'; exit 0`))
	if err != nil {
		t.Fatal(err)
	}
	idle, err := Run(t.Context(), sh("sleep 0.05; exit 0"))
	if err != nil {
		t.Fatal(err)
	}
	if nested.CPU < alone.CPU/3 || idle.CPU > alone.CPU/2 {
		t.Errorf("CPU %s alone, %s as a grandchild, %s asleep", alone.CPU, nested.CPU, idle.CPU)
	}
	if idle.Wall < 50*time.Millisecond || idle.PeakRSS == 0 {
		t.Errorf("asleep it took %s and %d bytes", idle.Wall, idle.PeakRSS)
	}
}

func TestAFailureTellsTheEndOfTheOutput(t *testing.T) {
	_, err := Run(t.Context(), sh("echo it broke >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "it broke") {
		t.Errorf("error is %v", err)
	}
}

func TestAProcessLeftBehindIsKilledAndTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	_, err := Run(t.Context(), Command{Path: "/bin/sh", Args: []string{"-c", `sleep 60 >/dev/null 2>&1 & echo $! >"$0"`, file}})
	if !errors.Is(err, ErrLeft) {
		t.Errorf("error is %v", err)
	}
	pid, rerr := os.ReadFile(file)
	if rerr != nil {
		t.Fatal(rerr)
	}
	for range 200 {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %s lives on", pid)
}

func TestTheEndOfTheContextKillsTheTree(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := Run(ctx, sh("sleep 30; true")); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// TestWrongOutputIsVoid runs systems one of which is right, one wrong, one fails and one is right each second time.
func TestWrongOutputIsVoid(t *testing.T) {
	var order []string
	system := func(name, script string, hash func(run int) string) System {
		run := 0
		return System{Name: name, Guarantee: "exactly once", Prepare: func(context.Context) (Command, error) {
			run++
			order = append(order, name)
			return sh(script), nil
		}, Check: func(context.Context) (string, error) { return hash(run), nil }}
	}
	right := func(int) string { return "truth" }
	b := Bench{Workload: "w", Events: 1_000_000, Truth: "truth", Rounds: 4, Systems: []System{
		system("weir", "exit 0", right), system("weir", "exit 0", right), system("liar", "exit 0", func(int) string { return "other" }), system("broken", "exit 1", right),
		system("moody", "exit 0", func(run int) string { return []string{"truth", "other"}[run%2] })}}
	r, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	runs := map[string]int{"weir": r.Runs, "again": r.Again.Runs}
	for _, p := range r.Peers {
		runs[p.Name] = p.Runs
	}
	if runs["weir"] != 4 || runs["again"] != 4 || runs["liar"] != 0 || runs["broken"] != 0 || runs["moody"] != 2 || len(r.VoidRuns()) != 10 {
		t.Errorf("runs that count: %v; %d void", runs, len(r.VoidRuns()))
	}
	if r.OutputHash != "truth" || r.Peers[0].OutputHash != "" || r.CPUSeconds <= 0 || r.EventsPerCoreSecond <= 0 || r.WallSeconds <= 0 {
		t.Errorf("result is %+v", r)
	}
	if got := strings.Join(order[:10], " "); got != "weir weir liar broken moody weir liar broken moody weir" {
		t.Errorf("the order of two rounds is %s", got)
	}
	text := Report{Machine: Machine{Cores: 2}, Load: [2]float64{3, 3}, Results: []Result{r}}.Markdown()
	for _, want := range []string{"| liar · exactly once | void |", "the machine was not quiet", "weir (A/A) · exactly once", "noise (A/A)", "hash other, the truth is truth"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestMedians(t *testing.T) {
	of := func(v ...float64) Spread {
		var runs []run
		for _, x := range v {
			runs = append(runs, run{Usage: Usage{CPU: time.Duration(x * float64(time.Second))}})
		}
		return spread(runs, func(r run) float64 { return r.CPU.Seconds() })
	}
	if got := of(3, 1, 2); got != (Spread{2, 1, 3}) {
		t.Errorf("got %+v", got)
	}
	if got := of(4, 1, 2, 3); got != (Spread{2.5, 1, 4}) {
		t.Errorf("got %+v", got)
	}
}
