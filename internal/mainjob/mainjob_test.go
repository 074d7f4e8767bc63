package mainjob

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/flightstruth"
)

// TestMainJob does what `make run` does and then kills, in the middle of a run each, a worker, the server, a shim and the broker.
func TestMainJob(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real Kafka and a real Cassandra")
	}
	want := truth(t)
	w := newInstall(t)

	began := time.Now()
	out := w.must("up", w.stack)
	t.Logf("weir up took %.1fs:\n%s", time.Since(began).Seconds(), out)
	w.verify(want, nil)
	checkTable(t, out, want.Worst(10))

	t.Run("no listener answers a stranger", func(t *testing.T) {
		w.t = t
		w.verifyListeners()
	})
	w.t = t

	t.Run("weir run reads the stack's Kafka", func(t *testing.T) {
		w.t = t
		file := filepath.Join(t.TempDir(), "count.yaml")
		if err := os.WriteFile(file, []byte(countDepartures), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := w.must("run", file); !strings.Contains(out, fmt.Sprintf(`{"n": %d}`, want.Rows)) {
			t.Errorf("it does not count %d rows:\n%s", want.Rows, out)
		}
	})
	w.t = t

	t.Run("a second up changes nothing", func(t *testing.T) {
		before := w.pids()
		out := w.must("up", w.stack)
		if !strings.Contains(out, "is complete (run 1)") {
			t.Errorf("up on a running stack says:\n%s", out)
		}
		same(t, before, w.pids())
	})

	for i, victim := range []struct {
		name string
		kill func() int             // returns the killed pid
		may  func(task string) bool // tasks that may restart
	}{
		{"a worker", func() int { return w.task("workers-0").PID }, func(task string) bool { return task == "workers-0" }},
		{"the server", w.serverPID, func(string) bool { return false }},
		{"the shim of a worker", func() int { return w.shimOf(w.task("workers-1").PID) }, func(string) bool { return false }},
		{"the broker", func() int { return w.task("events-0").PID }, func(task string) bool { return task == "events-0" }},
	} {
		t.Run("kill -9 of "+victim.name, func(t *testing.T) {
			w.t = t
			late, before := w.lateCounts(), w.pids()
			began, done := time.Now(), w.rerun()
			w.awaitMiddle(uint64(i+2), int64(want.Rows/2))
			pid := victim.kill()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatalf("kill %d: %v", pid, err)
			}
			if err := <-done; err != nil {
				t.Fatalf("weir rerun: %v", err)
			}
			t.Logf("the run with %s (pid %d) killed took %.1fs", victim.name, pid, time.Since(began).Seconds())
			w.verify(want, late)
			after := w.pids()
			for task, was := range before {
				if now := after[task]; now != was && !victim.may(task) {
					t.Errorf("task %s restarted (pid %d -> %d), although %s was killed", task, was, now, victim.name)
				}
			}
		})
	}
	w.t = t

	t.Run("workers 2 to 1 to 2 in the middle of a run", func(t *testing.T) {
		w.t = t
		late, stays := w.lateCounts(), w.task("workers-0").PID
		done := w.rerun()
		w.awaitMiddle(6, int64(want.Rows/5))
		w.scale("flights/workers=1")
		w.awaitMiddle(6, int64(want.Rows/2))
		if err := syscall.Kill(w.serverPID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.scale("flights/workers=2")
		if err := <-done; err != nil {
			t.Fatalf("weir rerun: %v", err)
		}
		w.verify(want, late)
		if now := w.task("workers-0").PID; now != stays {
			t.Errorf("the worker that stayed was restarted: pid %d -> %d", stays, now)
		}
	})
	w.t = t

	t.Run("down leaves no process, up finds the data", func(t *testing.T) {
		w.must("down")
		if left := w.processes(); len(left) > 0 {
			t.Errorf("after down there are still: %v", left)
		}
		out := w.must("up", w.stack)
		if !strings.Contains(out, "is complete (run 6)") || !strings.Contains(out, "weir rerun flights") {
			t.Errorf("up after down says:\n%s", out)
		}
		checkTable(t, out, want.Worst(10))
		w.verifyCassandra(want)
	})
}

// countDepartures reads a channel's topic as any other topic, up to the end that it has.
const countDepartures = `
pipeline:
  type: chain
  transforms:
    - type: ReadFromKafka
      config: {topic: flights.departures, bootstrap_servers: flights/events, format: JSON, auto_offset_reset_config: earliest,
        schema: {type: object, properties: {origin: {type: string}}, required: [origin]}}
    - {type: Combine, config: {group_by: [], combine: {n: {value: origin, fn: count}}}}
    - {type: LogForTesting}
weir: {ReadFromKafka: {until: end}}
`

func (w *install) task(name string) api.Task {
	w.t.Helper()
	s, err := w.status()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, v := range s.Tasks {
		if v.Name == name && v.State == "RUNNING" {
			return v
		}
	}
	w.t.Fatalf("no running task %s among %+v", name, s.Tasks)
	return api.Task{}
}

// pids are those of the running tasks by name.
func (w *install) pids() map[string]int {
	w.t.Helper()
	s, err := w.status()
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]int{}
	for _, v := range s.Tasks {
		if v.State == "RUNNING" {
			out[v.Name] = v.PID
		}
	}
	return out
}

func same(t *testing.T, before, after map[string]int) {
	t.Helper()
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("tasks changed: %v -> %v", before, after)
	}
}

// awaitMiddle returns when the ingest stage of the run says that it has read half of the rows.
func (w *install) awaitMiddle(run uint64, half int64) {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		s, err := w.status()
		if err != nil {
			continue
		}
		for _, p := range s.Pipelines {
			if p.Run == run && len(p.Stages) > 0 && p.Stages[0].Counters.In >= half {
				return
			}
		}
	}
	s, err := w.status()
	text, _ := json.Marshal(s.Pipelines) //nolint:errcheck // for the message only
	w.t.Fatalf("run %d did not reach its middle: %v\n%s", run, err, text)
}

// checkTable looks for the ten airports in the printed table, in order, with their means to two decimals.
func checkTable(t *testing.T, out string, worst []flightstruth.Airport) {
	t.Helper()
	at := 0
	for _, a := range worst {
		row := fmt.Sprintf("%s %d %.2f", a.Origin, a.Flights, a.Mean)
		found := false
		lines := strings.Split(out, "\n")
		for i := at; i < len(lines); i++ {
			f := strings.Fields(lines[i])
			if len(f) != 3 || f[0] != a.Origin {
				continue
			}
			mean, err := strconv.ParseFloat(f[2], 64)
			if err == nil && f[1] == fmt.Sprint(a.Flights) && math.Abs(mean-a.Mean) < 0.006 {
				at, found = i+1, true
				break
			}
		}
		if !found {
			t.Errorf("the table lacks the row %q in its place:\n%s", row, out)
		}
	}
}
