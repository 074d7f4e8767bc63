package mainjob

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/operators/autoscale"
	"github.com/weir-project/weir/stacks"
)

const scaledStack = `apiVersion: weir.dev/v1
kind: Stack
metadata: {name: load}
spec:
  profile: dev
  services:
    events:  {operator: kafka, version: "4.3", brokers: 1, storage: 2Gi}
    %s
    workers: {operator: stream, workers: {min: 1, max: 3}, cores: 1, memory: 1Gi}
  pipelines: [load.yaml]
`

// offering is the stage that offers rows at a pace, and the head of the stage that works on them.
const offering = `apiVersion: weir.dev/v1
kind: Pipeline
metadata: {name: load}
spec:
  channels:
    numbers: {kafka: {service: events, partitions: 12, key: [value]}}
    seen:    %s
  stages:
    offer:
      pipeline:
        type: chain
        transforms:
          - {type: GenerateSequence, config: {start: 0, end: %d}}
          - {type: WriteToChannel, config: {channel: numbers}}
      weir:
        GenerateSequence: {pace: %d}
    work:
      pipeline:
        type: chain
        transforms:
          - {type: ReadFromChannel, config: {channel: numbers}}
`

// heavy computes powers: 27 µs of CPU a row with 500 of them, so that 45,000 rows a second take 1.2 cores.
func heavy(powers int) string {
	terms := make([]string, powers)
	for i := range terms {
		terms[i] = fmt.Sprintf("float(value %% 97 + %d) ** 0.%d", i%50+2, i%89+10)
	}
	return fmt.Sprintf(`          - type: MapToFields
            config: {language: python, fields: {value: value, sum: %q}}
          - {type: Filter, config: {language: python, keep: value %% 100000 == 0}}
          - {type: WriteToChannel, config: {channel: seen}}
`, strings.Join(terms, " + "))
}

// followed is a load of more than one core, for two and a half minutes; saturating one that a Cassandra on a few cores does not take.
func followed() (stack, pipeline string) {
	return fmt.Sprintf(scaledStack, ""), fmt.Sprintf(offering, "{kafka: {service: events, partitions: 1}}", 45000*150, 45000) + heavy(500)
}

func saturating() (stack, pipeline string) {
	return fmt.Sprintf(scaledStack, `serving: {operator: cassandra, version: "5.0", nodes: 1, storage: 2Gi}`),
		fmt.Sprintf(offering, "{cassandra: {service: serving, keyspace: load, partition_key: [value]}}", 10_000_000, 100_000) + "          - {type: WriteToChannel, config: {channel: seen}}\n"
}

// The long proofs run seldom: what they bring up must compile every day.
func TestTheStacksOfTheLongProofsCompile(t *testing.T) {
	for name, documents := range map[string]func() (string, string){"followed": followed, "saturating": saturating} {
		stack, pipeline := documents()
		r, err := stacks.Resolve(stacks.Bundle{File: "load-stack.yaml", Dir: t.TempDir(), Source: []byte(stack), Files: map[string][]byte{"load.yaml": []byte(pipeline)}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v, ok := r.Stack.Service("workers"); !ok || !v.Ranges() || v.Cores != 1 || len(r.Graphs) != 1 || r.Graphs[0].Stages[1].Fragments[0].Slots != 12 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// bring writes the documents and brings the stack up.
func (w *install) bring(stack, pipeline string) {
	w.t.Helper()
	dir := filepath.Dir(w.stack)
	for name, text := range map[string]string{"load-stack.yaml": stack, "load.yaml": pipeline} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	w.t.Log(w.must("up", "--detach", filepath.Join(dir, "load-stack.yaml")))
}

// scaling is what `weir why scale load/workers -o json` prints.
func (w *install) scaling() api.Scaling {
	w.t.Helper()
	var s api.Scaling
	if err := w.client().Do(context.Background(), "GET", "/v1/scaling/load%2Fworkers", nil, &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// awaitScaling asks once a second until ok, and returns what was answered and how long it took.
func (w *install) awaitScaling(what string, within time.Duration, ok func(api.Scaling) bool) (api.Scaling, time.Duration) {
	w.t.Helper()
	began := time.Now()
	for last := ""; ; time.Sleep(time.Second) {
		s := w.scaling()
		if ok(s) {
			return s, time.Since(began)
		}
		if line := s.Reason.Line(); time.Since(began) > within {
			w.t.Fatalf("%s: not within %s\n%s", what, within, s.Reason)
		} else if s.Last != nil && string(s.Last.Verdict) != last {
			last = string(s.Last.Verdict)
			w.t.Logf("after %s: %s", time.Since(began).Round(time.Second), line)
		}
	}
}

// TestWorkersFollowTheLoad: a load of more than one core on workers of one core each brings a second one, and when it has ended one is enough again. It needs a
// core that nobody else uses: on a machine that is full no worker is added, and the test says so.
func TestWorkersFollowTheLoad(t *testing.T) {
	verifying(t)
	w := newInstall(t)
	w.bring(followed())
	up, took := w.awaitScaling("more workers", 4*time.Minute, func(s api.Scaling) bool { return s.Workers > 1 })
	first := up.Changes[0]
	t.Logf("%d to %d workers %s after the stack was up:\n%s", first.Workers, first.Want, took.Round(time.Second), first.Reason)
	if first.Verdict != autoscale.Out || first.Workers != 1 || first.Want > 3 {
		t.Errorf("the first change: %+v", first)
	}
	before := w.scaling()
	w.awaitScaling("a decision by the workers that are there now", time.Minute, func(s api.Scaling) bool {
		return s.Last != nil && s.Last.At.After(before.Changes[0].At) && len(s.Last.Stages) > 0
	})
	down, took := w.awaitScaling("one worker again", 8*time.Minute, func(s api.Scaling) bool { return s.Workers == 1 })
	t.Logf("%s later 1 worker again:\n%s", took.Round(time.Second), w.must("why", "scale", "load/workers"))
	if last := down.Changes[len(down.Changes)-1]; last.Verdict != autoscale.In || last.Want != 1 {
		t.Errorf("the last change: %+v", last)
	}
	if len(down.Changes) > 5 {
		t.Errorf("%d changes for one load that came and went", len(down.Changes))
	}
}

// TestNoWorkerIsAddedInFrontOfASaturatedCassandra: rows come faster than the node takes them, the workers wait for it, and stay one.
func TestNoWorkerIsAddedInFrontOfASaturatedCassandra(t *testing.T) {
	verifying(t)
	w := newInstall(t)
	w.bring(saturating())
	s, _ := w.awaitScaling("a refusal that names the sink", 3*time.Minute, func(s api.Scaling) bool {
		return s.Last != nil && s.Last.Verdict == autoscale.Refused && strings.Contains(s.Reason.String(), "is held by the sink cassandra serving (table load.seen)")
	})
	t.Logf("weir why scale load/work:\n%s", w.must("why", "scale", "load/work"))
	if s.Workers != 1 || len(s.Changes) != 0 {
		t.Errorf("%d workers, changes %+v", s.Workers, s.Changes)
	}
}
