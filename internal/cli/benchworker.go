package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weir-project/weir/benchmarks/harness"
	"github.com/weir-project/weir/benchmarks/workloads"
	"github.com/weir-project/weir/internal/cli/api"
)

// benchDeployed is w1 in the benchmark's own stack: a stage of a deployed pipeline on one worker, from channel to channel, exactly once. Each run is a
// new run of the pipeline; what is measured is the worker's process from the last commit into the input to the last commit into the output.
type benchDeployed struct {
	s     *benchStack
	inner *app // of the stack's state directory
	text  string
	runs  map[string]uint64 // by deployed pipeline: its last run
	now   string            // the pipeline that ran last
}

// pipelines of the benchmark's stack: the workload, and the same of next to nothing.
const deployedWhole, deployedSmall = "pass", "small"

// oneRunMayTake bounds a run of a pipeline: one that fails is tried again for ever.
const oneRunMayTake = 5 * time.Minute

// deployed prepares the system; its input is made once.
func (s *benchStack) deployed(w workloads.Workload, events int) (harness.System, error) {
	d := &benchDeployed{s: s, text: string(w.Deployed), runs: map[string]uint64{}}
	d.inner = &app{in: s.b.app.in, out: io.Discard, err: io.Discard, state: s.state}
	for name, n := range map[string]int{deployedWhole: events, deployedSmall: startEvents} {
		if err := s.valueFile(filepath.Join(s.b.work, name+".json"), n); err != nil {
			return harness.System{}, err
		}
	}
	command := func(name string) func(context.Context) (harness.Command, error) {
		return func(context.Context) (harness.Command, error) {
			return harness.Command{Measure: func(ctx context.Context) (harness.Usage, error) { return d.measure(ctx, name) }}, nil
		}
	}
	return harness.System{Name: "weir worker", Guarantee: "exactly once", Version: Build, Start: command(deployedSmall), Prepare: command(deployedWhole), Check: d.check}, nil
}

func (s *benchStack) valueFile(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = workloads.ValueRows(f, n, benchSeed)
	return errors.Join(err, f.Close())
}

// measure makes a run of a pipeline.
func (d *benchDeployed) measure(ctx context.Context, name string) (u harness.Usage, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, oneRunMayTake, fmt.Errorf("pipeline %s did not end within %s: weir get pipelines --state %s says why", name, oneRunMayTake, d.s.state))
	defer cancel()
	if err := d.clear(ctx, name); err != nil {
		return u, err
	}
	worker, broker := harness.NewWatch(d.s.worker), harness.NewWatch(d.s.pid)
	err = d.run(ctx, name)
	worker.Stop()
	broker.Stop()
	if err != nil {
		return u, err
	}
	from, err := d.committed(ctx, name+".in")
	if err != nil {
		return u, err
	}
	to, err := d.committed(ctx, name+".out")
	if err != nil {
		return u, err
	}
	if u, err = worker.Between(from, to); err != nil {
		return u, fmt.Errorf("worker: %w", err)
	}
	aside, err := broker.Between(from, to)
	if err != nil {
		return u, fmt.Errorf("broker: %w", err)
	}
	u.Aside = &aside.CPU
	return u, nil
}

// clear empties the channels of the run before, so that what they hold is of one run; before the first there are none.
func (d *benchDeployed) clear(ctx context.Context, name string) error {
	if d.now = name; d.runs[name] == 0 {
		return nil
	}
	for _, channel := range []string{".in", ".out"} {
		if _, err := d.s.franz(ctx, "empty", "--topic", name+channel); err != nil {
			return err
		}
	}
	return nil
}

// run deploys a pipeline, or begins its next run, and waits for its end.
func (d *benchDeployed) run(ctx context.Context, name string) error {
	client, err := d.inner.server(ctx)
	if err != nil {
		return err
	}
	run := d.runs[name] + 1
	if d.runs[name] = run; run == 1 {
		err = d.deploy(ctx, name)
	} else {
		_, err = rerun(ctx, client, []string{name})
	}
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var stack api.Stack
		if err := client.Do(ctx, "GET", "/v1/stacks/bench", nil, &stack); err != nil {
			return err
		}
		for _, p := range stack.Pipelines {
			if p.Name == name && p.Run == run && p.State == "complete" {
				return nil
			}
		}
		if stack.State == "failed" {
			return fmt.Errorf("the stack failed: %s", stack.Reason)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// deploy adds a pipeline to the stack.
func (d *benchDeployed) deploy(ctx context.Context, name string) error {
	text := strings.NewReplacer("NAME", name, "FILE", name+".json").Replace(d.text)
	if err := os.WriteFile(filepath.Join(d.s.b.work, name+".yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	var files []string
	for deployed := range d.runs {
		files = append(files, deployed+".yaml")
	}
	file, err := d.s.stackFile(files...)
	if err != nil {
		return err
	}
	return d.inner.up(ctx, file, true)
}

// committed is when the last transaction that wrote a topic was committed, by the broker's clock, which is this machine's.
func (d *benchDeployed) committed(ctx context.Context, topic string) (time.Time, error) {
	line, err := d.s.franz(ctx, "last", "--topic", topic)
	if err != nil {
		return time.Time{}, err
	}
	ms, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("franz last of %s: %w", topic, err)
	}
	return time.UnixMilli(ms), nil
}

// check reads back what the last run wrote.
func (d *benchDeployed) check(ctx context.Context) (string, error) {
	return d.s.franz(ctx, "check", "--topic", d.now+".out", "--field", "payload")
}
