package mainjob

import (
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// verifying skips the long proofs unless WEIR_VERIFY says how many rounds (`make verify-faults`, `make verify-start`).
func verifying(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("WEIR_VERIFY"))
	if err != nil || n < 1 {
		t.Skip("a long proof: set WEIR_VERIFY to the number of rounds")
	}
	return n
}

// TestRandomKills kills one to three random processes of the installation (shims, the supervisor and the Cassandra node included) at random
// moments of each run, and compares the numbers every time. WEIR_SEED repeats a failure.
func TestRandomKills(t *testing.T) {
	rounds := verifying(t)
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("WEIR_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("WEIR_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	want := truth(t)
	w := newInstall(t)
	w.must("up", w.stack)
	for round := range rounds {
		late := w.lateCounts()
		began, done := time.Now(), w.rerun()
		w.awaitMiddle(uint64(round+2), int64(random.IntN(want.Rows)))
		killed := w.killSome(random, 1+random.IntN(3))
		if err := <-done; err != nil {
			// Whoever sees the CLI give up starts it again.
			t.Logf("round %d: rerun ended with %v", round, err)
		}
		w.must("up", w.stack) // the last kill may have come when the run had ended: all shall be ready again
		w.verify(want, late)
		if t.Failed() {
			t.Fatalf("round %d of seed %d went wrong after kill -9 of %s", round, seed, strings.Join(killed, ", "))
		}
		t.Logf("round %d: exact in %.1fs after kill -9 of %s", round, time.Since(began).Seconds(), strings.Join(killed, ", "))
	}
}

// killSome kills n random processes of the installation and says which. Commands that a person typed are left alone.
func (w *install) killSome(random *rand.Rand, n int) []string {
	var out []string
	for range n {
		all := w.processes()
		var pids []int
		for pid, line := range all {
			if !strings.Contains(line, " rerun ") && !strings.Contains(line, " up ") {
				pids = append(pids, pid)
			}
		}
		sort.Ints(pids)
		if len(pids) == 0 {
			w.t.Fatal("nothing to kill")
		}
		pid := pids[random.IntN(len(pids))]
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			w.t.Logf("kill %d: %v", pid, err)
			continue
		}
		out = append(out, what(all[pid]))
		time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond) // the moment is part of the fault
	}
	return out
}

// what names a process by its command line.
func what(line string) string {
	for _, known := range []struct{ part, name string }{
		{"weir-shim supervise", "the supervisor"}, {"weir-shim run", "a shim"}, {"kafka.Kafka", "the broker"}, {"cassandra.args", "the node"},
		{" worker ", "a worker"}, {" server", "the server"},
	} {
		if strings.Contains(line, known.part) {
			return known.name
		}
	}
	return line
}

// TestStart measures how long the demo's services take until everything is ready, tables, topics and slots too, against the same Cassandra
// alone: side by side they shall take at most 1.3 times as long (median).
func TestStart(t *testing.T) {
	rounds := verifying(t)
	alone, all := make([]float64, rounds), make([]float64, rounds)
	for i := range rounds {
		w := newInstall(t)
		only := strings.TrimSuffix(w.stack, "stack.yaml") + "only.yaml"
		doc := "apiVersion: weir.dev/v1\nkind: Stack\nmetadata: {name: only}\nspec:\n  services:\n    serving: {operator: cassandra, version: \"5.0\", nodes: 1, storage: 2Gi}\n"
		if err := os.WriteFile(only, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		alone[i] = w.timeUp(only)
		w.must("down", "--purge", "--yes")
		all[i] = w.timeUp(w.stack)
		w.must("down", "--purge", "--yes")
		t.Logf("round %d: Cassandra alone %.1fs, the whole stack %.1fs", i, alone[i], all[i])
	}
	sort.Float64s(alone)
	sort.Float64s(all)
	ratio := all[rounds/2] / alone[rounds/2]
	t.Logf("medians: Cassandra alone %.1fs, the whole stack %.1fs, ratio %.2f", alone[rounds/2], all[rounds/2], ratio)
	if ratio > 1.3 {
		t.Errorf("the services take %.2f times as long as Cassandra alone, more than 1.3", ratio)
	}
}

func (w *install) timeUp(stack string) float64 {
	w.t.Helper()
	began := time.Now()
	w.must("up", "--detach", stack)
	return time.Since(began).Seconds()
}
