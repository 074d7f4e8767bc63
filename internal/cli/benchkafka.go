package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-project/weir/benchmarks/harness"
	"github.com/weir-project/weir/benchmarks/workloads"
	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/physical"
)

// partitions of the topics of w1.
const benchPartitions = 2

// benchStack is the Kafka of w1: a stack of Weir's own in a folder below the state directory, or one that was given.
type benchStack struct {
	b          *bencher
	state      string // empty for a Kafka that was given
	servers    string // what a pipeline names: STACK/SERVICE, or host:port
	connection string // file for the peers
	pid        int    // of the broker, or of its shim; 0 where it is not ours
	worker     int    // of the worker, likewise
	topics     []string
}

const benchStackFile = `apiVersion: weir.dev/v1
kind: Stack
metadata: {name: bench}
spec:
  profile: dev
  services:
    events: {operator: kafka, version: "4.3", brokers: 1, storage: 8Gi}
    workers: {operator: stream, workers: 1}
`

// stackFile writes the stack with some pipelines.
func (s *benchStack) stackFile(pipelines ...string) (string, error) {
	file, text := filepath.Join(s.b.work, "stack.yaml"), benchStackFile
	if len(pipelines) > 0 {
		text += "  pipelines: [" + strings.Join(pipelines, ", ") + "]\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fault.New("E-FILE", "write the stack of the benchmark", file, fault.Cause(bare(err)))
	}
	return file, nil
}

// startKafka starts the stack, or takes the Kafka that was given, and writes how the peers reach it.
func (b *bencher) startKafka(ctx context.Context) (*benchStack, error) {
	s := &benchStack{b: b, connection: filepath.Join(b.work, "connection.json")}
	if b.o.kafka != "" {
		s.servers = b.o.kafka
		return s, s.write(physical.Connection{Servers: strings.Split(b.o.kafka, ",")})
	}
	s.state, s.servers = filepath.Join(b.dir, "stack"), "bench/events"
	file, err := s.stackFile()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.state); err == nil {
		s.stop() // of a run that was killed: what it measured is gone, and its pipelines are in the way
	}
	fmt.Fprintf(b.app.err, "w1: starts a Kafka in %s\n", s.state)
	inner := &app{in: b.app.in, out: io.Discard, err: io.Discard, state: s.state} // what it would say to type next is about another folder than the user's
	if err := inner.up(ctx, file, true); err != nil {
		return s, fault.New("E-KAFKA", "start a Kafka in", s.state, fault.Cause(err), fault.Hint("give one without a login with --kafka HOST:PORT, or measure w3, which needs none: weir bench run w3"))
	}
	client, err := inner.server(ctx)
	if err != nil {
		return s, err
	}
	var c physical.Connection
	if err := client.Do(ctx, "GET", "/v1/connections/bench/events", nil, &c); err != nil {
		return s, err
	}
	var stack api.Stack
	if err := client.Do(ctx, "GET", "/v1/stacks/bench", nil, &stack); err != nil {
		return s, err
	}
	for _, t := range stack.Tasks {
		switch t.Service {
		case "events":
			s.pid = t.PID
		case "workers":
			s.worker = t.PID
		}
	}
	b.versions["kafka"] = "4.3"
	return s, s.write(c)
}

// write keeps the login where only this user can read it: neither arguments nor the environment carry it (C1).
func (s *benchStack) write(c physical.Connection) error {
	data, err := json.Marshal(map[string]any{"servers": c.Servers, "user": c.User, "password": c.Password})
	if err != nil {
		return fmt.Errorf("encode the connection: %w", err)
	}
	return os.WriteFile(s.connection, data, 0o600)
}

// create makes a topic, which stop deletes.
func (s *benchStack) create(ctx context.Context, topic string) error {
	_, err := s.franz(ctx, "create", "--topic", topic, "--partitions", strconv.Itoa(benchPartitions))
	if err == nil {
		s.topics = append(s.topics, topic)
	}
	return err
}

// remove deletes a topic.
func (s *benchStack) remove(ctx context.Context, topic string) error {
	_, err := s.franz(ctx, "delete", "--topic", topic)
	if err == nil {
		s.topics = slices.DeleteFunc(s.topics, func(t string) bool { return t == topic })
	}
	return err
}

// stop stops the stack; its data goes too. From a Kafka that was given it deletes what it made.
func (s *benchStack) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s.state == "" {
		for _, t := range slices.Clone(s.topics) {
			if err := s.remove(ctx, t); err != nil {
				fmt.Fprintf(s.b.app.err, "the topic %s was not deleted: %v\n", t, err)
			}
		}
		return
	}
	out, err := exec.CommandContext(ctx, s.b.self, "down", "--purge", "--yes", "--state", s.state).CombinedOutput()
	if err != nil {
		fmt.Fprintf(s.b.app.err, "the Kafka of the benchmark was not stopped: %v: %s\n  weir down --purge --state %s\n", err, bytes.TrimSpace(out), s.state)
	}
}

// cpu is what the broker has taken.
func (s *benchStack) cpu() (time.Duration, bool) {
	if s.pid == 0 {
		return 0, false
	}
	return harness.CPU(s.pid)
}

// franz runs a verb of the franz-go peer and returns the line that it prints.
func (s *benchStack) franz(ctx context.Context, verb string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.b.peer("franz"), append([]string{verb, "--connection", s.connection}, argv...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("franz %s: %w: %s", verb, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(bytes.TrimSpace(out)), nil
}

// passThrough is w1: everything reads the same topic, and each run writes one of its own.
func (b *bencher) passThrough(ctx context.Context, w workloads.Workload, bench *harness.Bench) (skipped []string, err error) {
	if b.go1 != "" {
		return nil, fault.New("E-REPO", "measure", w.Name, fault.Causef("its topics are filled and read back by benchmarks/peers/franz: %s", b.go1), fault.Hint("weir bench run w1 --repo DIR; or measure w3, which needs nothing: weir bench run w3"))
	}
	if b.stack, err = b.startKafka(ctx); err != nil {
		return nil, err
	}
	s := b.stack
	in := fmt.Sprintf("weir-bench-in-%d", time.Now().Unix())
	small := in + "-small"
	fmt.Fprintf(b.app.err, "%s: fills a topic with %s events\n", w.Name, group(int64(bench.Events)))
	for topic, events := range map[string]int{in: bench.Events, small: startEvents} {
		if err := s.create(ctx, topic); err != nil {
			return nil, fault.New("E-KAFKA", "make the topic", topic, fault.Cause(err))
		}
		truth, err := s.franz(ctx, "fill", "--topic", topic, "--events", strconv.Itoa(events), "--seed", strconv.Itoa(benchSeed))
		if err != nil {
			return nil, fault.New("E-KAFKA", "fill the topic", topic, fault.Cause(err))
		}
		if topic == in {
			bench.Truth = truth
		}
	}
	bench.Aside = s.cpu
	system := func(name, guarantee, version string, command func(from, out string, events int) (harness.Command, error)) harness.System {
		var out string
		prepare := func(ctx context.Context, from string, events int) (harness.Command, error) {
			b.runs++
			out = fmt.Sprintf("%s-out-%d", in, b.runs)
			if err := s.create(ctx, out); err != nil {
				return harness.Command{}, err
			}
			return command(from, out, events)
		}
		return harness.System{Name: name, Guarantee: guarantee, Version: version,
			Start:   func(ctx context.Context) (harness.Command, error) { return prepare(ctx, small, startEvents) },
			Prepare: func(ctx context.Context) (harness.Command, error) { return prepare(ctx, in, bench.Events) },
			Check: func(ctx context.Context) (string, error) {
				hash, err := s.franz(ctx, "check", "--topic", out)
				if rerr := s.remove(ctx, out); err == nil {
					err = rerr
				}
				return hash, err
			}}
	}
	peer := func(binary string, verb ...string) func(from, out string, events int) (harness.Command, error) {
		return func(from, out string, events int) (harness.Command, error) {
			return harness.Command{Path: b.peer(binary), Args: append(slices.Clone(verb), "--connection", s.connection, "--topic", from, "--to", out, "--events", strconv.Itoa(events), "--group", out)}, nil
		}
	}
	bench.Systems = []harness.System{system("weir run", "at least once", Build, func(from, out string, _ int) (harness.Command, error) { return s.weir(w, from, out) })}
	if s.state == "" {
		skipped = append(skipped, "weir worker: it is measured in a stack of the benchmark's own, and --kafka names another Kafka")
	} else {
		worker, err := s.deployed(w, bench.Events)
		if err != nil {
			return nil, fault.New("E-FILE", "make the input of", "weir worker", fault.Cause(err), fault.Hint("is there room in "+b.dir+"?"))
		}
		bench.Systems = append(bench.Systems, worker)
	}
	if b.o.wants("franz-go") {
		v := b.versions["franz-go"]
		bench.Systems = append(bench.Systems, system("franz-go loop", "at least once", v, peer("franz", "pass", "--guarantee", "at-least-once")),
			system("franz-go transactions", "exactly once", v, peer("franz", "pass", "--guarantee", "exactly-once")))
	}
	if b.o.wants("kafka-go") {
		bench.Systems = append(bench.Systems, system("kafka-go Reader and Writer", "at least once", b.versions["kafka-go"], peer("kafkago")))
	}
	return skipped, nil
}

// weir puts the topics of a run into the pipeline.
func (s *benchStack) weir(w workloads.Workload, in, out string) (harness.Command, error) {
	text := strings.NewReplacer("TOPIC_IN", in, "TOPIC_OUT", out, "SERVERS", s.servers).Replace(string(w.Pipeline))
	file := filepath.Join(s.b.work, "w1.yaml")
	argv := []string{"run", file}
	if s.state != "" {
		argv = append(argv, "--state", s.state)
	}
	return harness.Command{Path: s.b.self, Args: argv, Dir: s.b.work}, os.WriteFile(file, []byte(text), 0o600)
}
