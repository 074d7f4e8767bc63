package mainjob

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-project/weir/internal/cli/api"
)

// TestScale changes sizes in the middle of runs: workers 1 -> 3 -> 1, then the same with the server killed at each step boundary, then the
// brokers 1 -> 2 -> 1 with the same kills, under the pipeline and a producer that counts (`make verify-scale`).
func TestScale(t *testing.T) {
	verifying(t)
	want := truth(t)
	w := newInstall(t)
	w.edit("flights.yaml", "pace: 10000", "pace: 2500", "workers: {min: 1, max: 2}", "workers: {min: 1, max: 4}")
	w.edit("stack.yaml", "workers: 2}", "workers: 1}")
	began := time.Now()
	w.must("up", "--detach", w.stack)
	t.Logf("the stack was up after %.1fs", time.Since(began).Seconds())

	workers := func(run uint64) {
		w.awaitMiddle(run, int64(want.Rows/10))
		w.scale("flights/workers=3")
		w.awaitMiddle(run, int64(want.Rows/2))
		w.scale("flights/workers=1")
	}
	t.Run("workers 1 to 3 to 1", func(t *testing.T) {
		w.t = t
		first := w.task("workers-0").PID
		began := time.Now()
		workers(1)
		w.must("up", w.stack)
		w.verify(want, nil)
		w.reportPauses(1, began)
		if again := w.task("workers-0").PID; again != first {
			t.Errorf("the worker that stayed was restarted: pid %d -> %d", first, again)
		}
	})
	t.Run("workers 1 to 3 to 1, the server killed at each step boundary", func(t *testing.T) {
		w.t = t
		late := w.lateCounts()
		done := w.rerun()
		k := w.killAtBoundaries("workers")
		workers(2)
		kills := k.stop()
		if err := <-done; err != nil {
			t.Fatalf("weir rerun: %v", err)
		}
		w.verify(want, late)
		wantKills(t, kills, "workers-1:launch", "workers-2:launch", "workers-1:stop", "workers-2:stop")
	})
	t.Run("brokers 1 to 2 to 1, the server killed at each step boundary", func(t *testing.T) {
		w.t = t
		late := w.lateCounts()
		n := w.count("scale-count", 12)
		done := w.rerun()
		w.awaitMiddle(3, int64(want.Rows/10))
		k := w.killAtBoundaries("events")
		w.scale("flights/events=2")
		n.mark()
		w.scale("flights/events=1")
		kills := k.stop()
		n.verify()
		if err := <-done; err != nil {
			t.Fatalf("weir rerun: %v", err)
		}
		w.verify(want, late)
		wantKills(t, kills, "events-1:launch", "spread", "events-1:cordon", "events-1:drain", "events-1:stop", "events-1:unregister")
	})
}

// edit replaces words of one of the demo's documents; each must be there.
func (w *install) edit(name string, pairs ...string) {
	w.t.Helper()
	path := filepath.Join(filepath.Dir(w.stack), name)
	data, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	text := string(data)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			w.t.Fatalf("%s has no %q", name, pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// scale waits for its end, whatever becomes of the server meanwhile.
func (w *install) scale(targets ...string) {
	w.t.Helper()
	began := time.Now()
	out := w.must(append([]string{"scale"}, targets...)...)
	w.t.Logf("weir scale %s took %.1fs:\n%s", strings.Join(targets, " "), time.Since(began).Seconds(), out)
}

// killer kills the server whenever a step of a service's plan has come into another state: each is killed at once, so that the kill falls between
// what was done and what is next.
type killer struct {
	w       *install
	service string
	seen    map[string]bool
	kills   []string
	end     chan struct{}
	ended   chan struct{}
}

func (w *install) killAtBoundaries(service string) *killer {
	k := &killer{w: w, service: service, seen: map[string]bool{}, end: make(chan struct{}), ended: make(chan struct{})}
	k.look() // what stands before anything is asked is no boundary
	go func() {
		defer close(k.ended)
		for {
			select {
			case <-k.end:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if news := k.look(); len(news) > 0 {
				k.kill(news)
			}
		}
	}()
	return k
}

// look returns the steps that are in a state in which they were not seen under this plan.
func (k *killer) look() []string {
	s, err := k.w.status()
	if err != nil {
		return nil
	}
	var news []string
	for _, v := range s.Services {
		if v.Name != k.service || v.Rollout == nil || v.State == "waiting" {
			continue
		}
		for _, ph := range v.Rollout.Phases {
			for _, step := range ph.Steps {
				id := fmt.Sprintf("%s: %s %s", v.Rollout.Name, step.ID, step.Status)
				if step.Status != "waiting" && !k.seen[id] {
					k.seen[id] = true
					news = append(news, id)
				}
			}
		}
	}
	return news
}

func (k *killer) kill(why []string) {
	var v api.Version
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := k.w.client().Do(ctx, "GET", "/v1/version", nil, &v); err != nil {
		return
	}
	if err := syscall.Kill(v.PID, syscall.SIGKILL); err != nil {
		return
	}
	k.kills = append(k.kills, strings.Join(why, ", "))
}

// stop ends the killing and tells at which boundaries it killed.
func (k *killer) stop() []string {
	k.w.t.Helper()
	close(k.end)
	<-k.ended
	for i, at := range k.kills {
		k.w.t.Logf("kill %d of the server: %s", i+1, at)
	}
	return k.kills
}

// wantKills: a harness that killed nowhere proves nothing.
func wantKills(t *testing.T, kills []string, steps ...string) {
	t.Helper()
	for _, step := range steps {
		if !slices.ContainsFunc(kills, func(at string) bool { return strings.Contains(at, step) }) {
			t.Errorf("the server was killed at no boundary of %s", step)
		}
	}
}

// reportPauses reads the hourly slots' commits of a run and tells for how long each kind of slot made none: those that changed their owner
// meanwhile, and those that stayed.
func (w *install) reportPauses(run uint64, since time.Time) {
	w.t.Helper()
	type commit struct {
		at   time.Time
		term uint64
	}
	commits := map[int32][]commit{}
	w.each("_weir.flights.hourly.f0.changelog", func(r *kgo.Record) {
		var p struct{ Run, Term uint64 }
		if string(r.Key) != "p" || r.Timestamp.Before(since) {
			return
		}
		if err := json.Unmarshal(r.Value, &p); err != nil {
			w.t.Fatalf("progress at %d/%d: %v", r.Partition, r.Offset, err)
		}
		if p.Run == run {
			commits[r.Partition] = append(commits[r.Partition], commit{r.Timestamp, p.Term})
		}
	})
	var moved, stayed []time.Duration
	moves := 0
	for _, all := range commits {
		// A gap in which the term grows is a move; the others are the rhythm of commits, under the same load.
		for i := 1; i < len(all); i++ {
			gap := all[i].at.Sub(all[i-1].at)
			if all[i].term != all[i-1].term {
				moves++
				moved = append(moved, gap)
			} else {
				stayed = append(stayed, gap)
			}
		}
	}
	if moves == 0 {
		w.t.Errorf("no slot moved: %v", commits)
		return
	}
	slices.Sort(moved)
	slices.Sort(stayed)
	w.t.Logf("%d slots, %d moves: between the last commit before a move and the first after it %v median, %v most; between commits of slots that stay %v median, %v 99th, %v most (%d commits)",
		len(commits), moves, moved[len(moved)/2], moved[len(moved)-1], stayed[len(stayed)/2], stayed[len(stayed)*99/100], stayed[len(stayed)-1], len(stayed))
	if most := moved[len(moved)-1]; most > 10*time.Second {
		w.t.Errorf("a slot that moved paused for %v", most)
	}
	if most := stayed[len(stayed)-1]; most > 5*time.Second {
		w.t.Errorf("a slot that stayed paused for %v", most)
	}
}

// each reads a topic to its end, committed records only.
func (w *install) each(topic string, f func(*kgo.Record)) {
	w.t.Helper()
	cl := w.kafka(kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ends, at := w.ends(ctx, cl, topic), map[int32]int64{}
	for !reached(at, ends) {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			w.t.Fatalf("read %s to its end: at %v of %v after a minute", topic, at, ends)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if !r.Attrs.IsControl() {
				f(r)
			}
		})
	}
}

// kafka is another client than Weir's.
func (w *install) kafka(more ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	c := w.channel("late").Connection
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.Servers...), kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.SASL(scram.Auth{User: c.User, Pass: c.Password}.AsSha512Mechanism())}, more...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return cl
}
