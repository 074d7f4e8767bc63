package mainjob

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBeam is the demo with its batch stages on Beam: daily in a worker, worst by weir run. weir-beam and its worker are killed in the middle of a run each.
func TestBeam(t *testing.T) {
	verifying(t)
	want := truth(t)
	w := newInstall(t)
	w.onBeam()

	out, err := w.weir("up", w.stack)
	if err == nil || !strings.Contains(out, "make beam") {
		t.Fatalf("without weir-beam up says (%v):\n%s", err, out)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(w.bin, "weir-beam"), "github.com/weir-project/weir/cmd/weir-beam")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build weir-beam: %v\n%s", err, out)
	}
	out = w.must("up", w.stack)
	w.verify(want, nil)
	checkTable(t, out, want.Worst(10))
	if got := w.dailyIn(); got != int64(len(want.Hourly)) {
		t.Errorf("daily says that it read %d rows, want %d", got, len(want.Hourly))
	}

	t.Run("weir run reads the table on Beam", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "worst.yaml")
		if err := os.WriteFile(file, []byte(worstOnBeam), 0o600); err != nil {
			t.Fatal(err)
		}
		checkTable(t, w.must("run", file), want.Worst(10))
	})

	for _, victim := range []struct {
		name string
		of   func(child int) int
	}{
		{"weir-beam", func(child int) int { return child }},
		{"its worker", parent},
	} {
		t.Run("kill -9 of "+victim.name, func(t *testing.T) {
			w.t = t
			late, done := w.lateCounts(), w.rerun()
			child := w.awaitBeam(done)
			if err := syscall.Kill(victim.of(child), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatalf("weir rerun: %v", err)
			}
			w.verify(want, late)
			if left := w.beams(); len(left) > 0 {
				t.Errorf("weir-beam still runs: %v", left)
			}
			drafts, err := filepath.Glob(filepath.Join(filepath.Dir(w.stack), "out", ".*.temp"))
			if err != nil || len(drafts) > 0 {
				t.Errorf("beside daily.csv there is %v, %v", drafts, err)
			}
		})
	}
	w.t = t
}

// onBeam puts the stage daily on Beam.
func (w *install) onBeam() {
	w.t.Helper()
	path := filepath.Join(filepath.Dir(w.stack), "flights.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	was := "    daily:\n      mode: batch\n"
	if strings.Count(string(text), was) != 1 {
		w.t.Fatalf("%s has no stage daily as this test knows it", path)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), was, was+"      engine: beam\n      runner: prism\n", 1)), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

const worstOnBeam = `
apiVersion: weir.dev/v1
kind: Pipeline
metadata: {name: worst}
spec:
  stages:
    worst:
      engine: beam
      runner: prism
      pipeline:
        type: chain
        transforms:
          - {type: ReadFromChannel, config: {channel: flights/delays}}
          - type: Combine
            config:
              group_by: origin
              combine: {flights: {value: flights, fn: sum}, delay_sum: {value: delay_sum, fn: sum}}
          - type: MapToFields
            config: {language: python, fields: {airport: origin, flights: flights, mean_delay: delay_sum / flights}}
          - type: LogForTesting
      weir:
        LogForTesting: {table: true, sort: [-mean_delay, airport], limit: 10}
`

// dailyIn is what the stage daily counted as read in the latest run.
func (w *install) dailyIn() int64 {
	w.t.Helper()
	s, err := w.status()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range s.Pipelines {
		for _, st := range p.Stages {
			if st.Name == "daily" {
				return st.Counters.In
			}
		}
	}
	w.t.Fatalf("there is no stage daily in %+v", s.Pipelines)
	return 0
}

// beams are the pids of this installation's weir-beam.
func (w *install) beams() []int {
	w.t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		w.t.Fatal(err)
	}
	var pids []int
	for _, link := range found {
		if exe, err := os.Readlink(link); err == nil && exe == filepath.Join(w.bin, "weir-beam") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			if err != nil {
				w.t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// awaitBeam returns when weir-beam runs.
func (w *install) awaitBeam(done <-chan error) int {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if pids := w.beams(); len(pids) > 0 {
			return pids[0]
		}
		select {
		case err := <-done:
			w.t.Fatalf("the run ended without weir-beam: %v", err)
		default:
		}
	}
	w.t.Fatal("weir-beam was not started for two minutes")
	return 0
}

// parent is the pid of a process's parent.
func parent(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return ppid
}
