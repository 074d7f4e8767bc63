package beam

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	beamwindow "github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/physical"
)

func init() {
	register.DoFn2x1[[]byte, func([]byte), error](&splitsFn{})
	register.DoFn3x1[context.Context, []byte, func([]byte), error](&readFn{})
	register.DoFn3x1[context.Context, []byte, func([]byte), error](&chainFn{})
	register.DoFn4x1[context.Context, beam.EventTime, []byte, func(beam.EventTime, []byte, []byte), error](&partialFn{})
	register.Combiner1[[]byte](&mergeFn{})
	register.DoFn5x1[context.Context, beam.Window, []byte, []byte, func([]byte), error](&resultFn{})
	register.DoFn3x1[context.Context, []byte, func(*[]byte) bool, error](&sinkFn{})
	register.Function1x2(oneKey)
	register.Function1x1(nothing)
	register.Emitter1[[]byte]()
	register.Emitter3[beam.EventTime, []byte, []byte]()
	register.Iter1[[]byte]()
}

// Connections opens what a job reads and writes. A source belongs to the job, which closes it; an outbox is asked for each time that a sink begins.
type Connections interface {
	Source(ctx context.Context, cfg physical.ReadConfig, ch *physical.Channel) (connectors.Source, error)
	Outbox(ctx context.Context, cfg physical.WriteConfig, ch *physical.Channel, in column.Schema, slot checkpoint.Slot) (connectors.Outbox, error)
}

// Init makes Beam's SDK ready, once in a process, after all flags were parsed.
func Init() {
	if !flag.Parsed() {
		_ = flag.CommandLine.Parse(nil) // of no arguments: it cannot fail
	}
	beam.Init()
}

// Run runs a job and returns what it staged, printed and counted. An assertion that does not hold is a result, everything else that fails an error.
func Run(ctx context.Context, job physical.Job, c Connections) (physical.JobResult, error) {
	if job.Version != physical.JobVersion {
		return physical.JobResult{}, fmt.Errorf("run a job: its version is %d, and this weir-beam knows %d; build both anew: make build beam", job.Version, physical.JobVersion)
	}
	if job.Runner != physical.RunnerPrism {
		return physical.JobResult{}, fmt.Errorf("run a job: there is no runner %q (%s)", job.Runner, physical.RunnerPrism)
	}
	r := &jobState{job: job, connections: c, sources: map[string]*openSource{}, sinks: map[string]*sink{}, results: map[string]sinkResult{}}
	if !active.TryLock() {
		return physical.JobResult{}, errors.New("run a job: another runs in this process")
	}
	defer active.Unlock()
	running = r
	result, err := r.run(ctx)
	return result, errors.Join(err, r.close())
}

// active is held while a job runs; running is that job, for the functions that Beam makes from names. They run in this process.
var (
	active  sync.Mutex
	running *jobState
)

// jobState is a job with what its functions share. mu guards results.
type jobState struct {
	job         physical.Job
	connections Connections
	sources     map[string]*openSource
	sinks       map[string]*sink

	mu      sync.Mutex
	results map[string]sinkResult
}

type openSource struct {
	source connectors.Source
	schema column.Schema
}

func (r *jobState) source(node string) (*openSource, error) {
	if s := r.sources[node]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%s: the job has no such source", node)
}

func (r *jobState) sink(node string) (*sink, error) {
	if s := r.sinks[node]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%s: the job has no such sink", node)
}

func (r *jobState) finished(node string, s sinkResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results[node] = s
}

func (r *jobState) close() error {
	var errs []error
	for _, s := range r.sources {
		errs = append(errs, s.source.Close())
	}
	return errors.Join(errs...)
}

func (r *jobState) run(ctx context.Context) (physical.JobResult, error) {
	p := beam.NewPipeline()
	if err := r.build(ctx, p.Root()); err != nil {
		return physical.JobResult{}, err
	}
	done, err := prism.Execute(ctx, p)
	if err != nil {
		return physical.JobResult{}, fmt.Errorf("run on prism: %w", err)
	}
	return r.result(done.Metrics())
}

func (r *jobState) result(m metrics.Results) (physical.JobResult, error) {
	res := physical.JobResult{Version: physical.JobVersion, Counters: counters(m)}
	for _, node := range slices.Sorted(maps.Keys(r.sinks)) {
		s, ok := r.results[node]
		if !ok {
			return res, fmt.Errorf("%s: the runner ended and the sink never got its rows", node)
		}
		if s.asserted != nil {
			return physical.JobResult{Version: physical.JobVersion, Asserted: &physical.JobAssertion{Node: s.asserted.Node, Missing: s.asserted.Missing, Unexpected: s.asserted.Unexpected}}, nil //nolint:nilerr // that an assertion does not hold is the result
		}
		for _, e := range s.entries {
			res.Outbox = append(res.Outbox, physical.JobEntry{Node: node, Entry: e})
		}
		res.Printed += s.printed
	}
	return res, nil
}

func counters(m metrics.Results) checkpoint.Counters {
	var c checkpoint.Counters
	fields := map[string]*int64{"in": &c.In, "out": &c.Out, "filtered": &c.Filtered, "absorbed": &c.Absorbed, "emitted": &c.Emitted, "copied": &c.Copied, "written": &c.Written}
	for _, r := range m.AllMetrics().Counters() {
		if f := fields[r.Key.Name]; f != nil && r.Key.Namespace == "weir" {
			*f += r.Result()
		}
	}
	return c
}

// build makes the Beam pipeline of the job's fragment.
func (r *jobState) build(ctx context.Context, root beam.Scope) error {
	b := &builder{jobState: r, outs: map[string]beam.PCollection{}, nodes: map[string]physical.Node{}, readers: map[string][]string{}}
	for _, n := range r.job.Fragment.Nodes {
		b.nodes[n.Path] = n
		for i, in := range n.Inputs {
			name, err := b.producer(in)
			if err != nil {
				return fmt.Errorf("%s: %w", n.Path, err)
			}
			n.Inputs[i] = name
			b.readers[name] = append(b.readers[name], n.Path)
		}
	}
	for _, n := range r.job.Fragment.Nodes {
		if _, done := b.outs[n.Path]; done {
			continue // in the chain of a node before
		}
		if err := b.node(ctx, root.Scope(n.Path), n); err != nil {
			return err
		}
	}
	return nil
}

type builder struct {
	*jobState
	nodes   map[string]physical.Node
	readers map[string][]string // of a node's rows
	outs    map[string]beam.PCollection
}

// producer is the node that an input names ("path" or "path.output").
func (b *builder) producer(input string) (string, error) {
	if _, ok := b.nodes[input]; ok {
		return input, nil
	}
	if i := strings.LastIndexByte(input, '.'); i > 0 {
		if _, ok := b.nodes[input[:i]]; ok {
			return input[:i], nil
		}
	}
	return "", fmt.Errorf("input %q is not a node before it in the fragment", input)
}

func (b *builder) node(ctx context.Context, s beam.Scope, n physical.Node) error {
	if n.Op == physical.OpRead {
		return b.read(ctx, s, n)
	}
	if len(n.Inputs) == 0 {
		return fmt.Errorf("%s: %s has no input", n.Path, n.Op)
	}
	in, schema := b.outs[n.Inputs[0]], b.nodes[n.Inputs[0]].Out
	switch n.Op {
	case physical.OpMap, physical.OpFilter, physical.OpTime, physical.OpWindowInfo, physical.OpWindow:
		return b.chain(s, n, in, schema)
	case physical.OpFlatten:
		var all []beam.PCollection
		for _, i := range n.Inputs {
			all = append(all, b.outs[i])
		}
		return b.chain(s, n, beam.Flatten(s, all...), schema)
	case physical.OpCombine:
		return b.combine(s, n, in, schema)
	case physical.OpAssert, physical.OpLog, physical.OpWrite:
		if err := b.gather(s, n, in, schema); err != nil || len(b.readers[n.Path]) == 0 {
			return err
		}
		return b.chain(s, n, in, schema)
	}
	return fmt.Errorf("%s: Beam runs no %q", n.Path, n.Op)
}

func spec(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("describe a transform: %w", err)
	}
	return data, nil
}

func (b *builder) read(ctx context.Context, s beam.Scope, n physical.Node) error {
	cfg, err := kernel.Config[physical.ReadConfig](n)
	if err != nil {
		return err
	}
	src, err := b.connections.Source(ctx, cfg, b.channel(cfg.Channel))
	if err != nil {
		return fmt.Errorf("%s: open the source: %w", n.Path, err)
	}
	b.sources[n.Path] = &openSource{src, cfg.Schema}
	splits, err := b.splits(ctx, n, src)
	if err != nil {
		return fmt.Errorf("%s: list the splits: %w", n.Path, err)
	}
	data, err := spec(splits)
	if err != nil {
		return err
	}
	col := beam.ParDo(s, &splitsFn{data}, beam.Impulse(s))
	b.outs[n.Path] = beam.ParDo(s, &readFn{n.Path, len(b.readers[n.Path])}, beam.Reshuffle(s, col))
	return nil
}

func (b *builder) channel(name string) *physical.Channel {
	if ch, ok := b.job.Channels[name]; ok {
		return &ch
	}
	return nil
}

// splits are those of the run (C8), or what the source has now.
func (b *builder) splits(ctx context.Context, n physical.Node, src connectors.Source) ([]connectors.Split, error) {
	var given []connectors.Split
	for _, s := range b.job.Splits {
		if s.Node == n.Path {
			given = append(given, connectors.Split{ID: s.ID, Data: s.Data})
		}
	}
	if len(given) > 0 {
		return given, nil
	}
	return src.Splits(ctx)
}

// chain makes one function of n and of the nodes behind it that read nothing else and are read by nobody else.
func (b *builder) chain(s beam.Scope, n physical.Node, in beam.PCollection, schema column.Schema) error {
	c := chainSpec{Nodes: []physical.Node{n}, In: schema}
	last := n
	for next, ok := b.follower(n); ok; next, ok = b.follower(last) {
		c.Nodes, last = append(c.Nodes, next), next
	}
	c.Readers = len(b.readers[last.Path])
	data, err := spec(c)
	if err != nil {
		return err
	}
	col := beam.ParDo(s, &chainFn{Spec: data}, in)
	for _, n := range c.Nodes {
		b.outs[n.Path] = col
	}
	return nil
}

// follower is the only reader of n, where it works row by row.
func (b *builder) follower(n physical.Node) (physical.Node, bool) {
	readers := b.readers[n.Path]
	if len(readers) != 1 {
		return n, false
	}
	next := b.nodes[readers[0]]
	switch next.Op {
	case physical.OpMap, physical.OpFilter, physical.OpTime, physical.OpWindowInfo, physical.OpWindow:
		return next, len(next.Inputs) == 1
	}
	return n, false
}

func (b *builder) combine(s beam.Scope, n physical.Node, in beam.PCollection, schema column.Schema) error {
	cs := combineSpec{n, schema}
	k, err := cs.kernel()
	if err != nil {
		return err
	}
	w, err := windowsOf(k.Config.Window)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Path, err)
	}
	data, err := spec(cs)
	if err != nil {
		return err
	}
	partials := beam.ParDo(s, &partialFn{Spec: data}, in)
	merged := beam.CombinePerKey(s, &mergeFn{Spec: data}, beam.WindowInto(s, w.fn, partials))
	rows := beam.ParDo(s, &resultFn{Spec: data}, merged)
	b.outs[n.Path] = beam.WindowInto(s, beamwindow.NewGlobalWindows(), rows)
	return nil
}

// gather brings all rows of n to its sink. An element without rows makes a group where there are none.
func (b *builder) gather(s beam.Scope, n physical.Node, in beam.PCollection, schema column.Schema) error {
	k := &sink{node: n, in: schema}
	if n.Op == physical.OpWrite {
		cfg, err := kernel.Config[physical.WriteConfig](n)
		if err != nil {
			return err
		}
		if cfg.Connector != "discard" {
			k.open = func(ctx context.Context) (connectors.Outbox, error) {
				return b.connections.Outbox(ctx, cfg, b.channel(cfg.Channel), schema, b.job.Slot)
			}
		}
	}
	b.sinks[n.Path] = k
	all := beam.Flatten(s, in, beam.ParDo(s, nothing, beam.Impulse(s)))
	beam.ParDo0(s, &sinkFn{n.Path, len(b.readers[n.Path]) == 0}, beam.GroupByKey(s, beam.ParDo(s, oneKey, all)))
	return nil
}

func oneKey(element []byte) (key, value []byte) { return []byte{0}, element }

func nothing([]byte) []byte { return []byte{flagNothing} }
