package pipetest

import (
	"context"
	"fmt"
	"sync"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// World is all that slots connect to. It implements the engine's Connections. Fill the maps before anything runs.
type World struct {
	Sources map[string]*RowSource // by the connector's name in ReadConfig
	Fault   Fault                 // nil: none

	mu      sync.Mutex // guards everything below, and is held for no longer than a copy
	changed chan struct{}
	topics  map[string]map[int32][]record
	logs    map[checkpoint.Slot]*slotLog
	tables  map[string]*Table
	written map[string]int // commits by slot
}

type record struct {
	key, value []byte
	millis     int64
	published  *checkpoint.Published
}

// NewWorld makes an empty world.
func NewWorld() *World {
	return &World{Sources: map[string]*RowSource{}, changed: make(chan struct{}), topics: map[string]map[int32][]record{},
		logs: map[checkpoint.Slot]*slotLog{}, tables: map[string]*Table{}, written: map[string]int{}}
}

// Point is where a fault may strike.
type Point int

// The boundaries of a commit.
const (
	CommitBefore  Point = iota // the commit fails and nothing of it is true
	CommitUnknown              // the commit is true and the slot hears an error
	ApplyBefore                // the commit is true and the sink fails before anything is visible
	ApplyAfter                 // everything is visible and the sink fails
)

// Fault decides whether the step'th boundary of its kind (from 1) of a slot fails.
type Fault func(p Point, slot checkpoint.Slot, step int) bool

// At strikes once: at the step'th boundary of a kind, of whichever slot comes to it first.
func At(p Point, step int) Fault {
	var once sync.Once
	return func(q Point, _ checkpoint.Slot, n int) (strike bool) {
		if p == q && n == step {
			once.Do(func() { strike = true })
		}
		return strike
	}
}

// Every strikes at each n'th boundary of a kind.
func Every(p Point, n int) Fault {
	return func(q Point, _ checkpoint.Slot, step int) bool { return p == q && step%n == 0 }
}

// Any strikes where one of them does.
func Any(faults ...Fault) Fault {
	return func(p Point, s checkpoint.Slot, n int) bool {
		for _, f := range faults {
			if f(p, s, n) {
				return true
			}
		}
		return false
	}
}

// ErrInjected is the cause of every failure that a Fault made.
var ErrInjected = fmt.Errorf("injected fault")

func (w *World) strike(p Point, s checkpoint.Slot) error {
	if w.Fault == nil {
		return nil
	}
	w.mu.Lock()
	key := fmt.Sprint(p, s)
	w.written[key]++
	n := w.written[key]
	w.mu.Unlock()
	if w.Fault(p, s, n) {
		return fmt.Errorf("%w at point %d of %s, step %d", ErrInjected, p, s, n)
	}
	return nil
}

// wake tells everyone who waits that something was committed. The lock is held.
func (w *World) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// Records decodes all that was committed to a topic as rows of JSON, partition by partition.
func (w *World) Records(topic string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for p := int32(0); int(p) < 1000; p++ {
		for _, r := range w.topics[topic][p] {
			out = append(out, string(r.value))
		}
	}
	return out
}

// Published are all publications of a watermark topic, in order.
func (w *World) Published(topic string) []checkpoint.Published {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []checkpoint.Published
	for _, r := range w.topics[topic][0] {
		out = append(out, *r.published)
	}
	return out
}

// Table returns a table, made when it is first asked for.
func (w *World) Table(name string) *Table {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tables[name] == nil {
		w.tables[name] = &Table{rows: map[string]tableRow{}}
	}
	return w.tables[name]
}

// Progress is the last progress that a slot committed; nil if it never did.
func (w *World) Progress(s checkpoint.Slot) *checkpoint.Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.logs[s]; l != nil {
		return l.progress
	}
	return nil
}

// StateKeys is how many keys of state a slot's log holds.
func (w *World) StateKeys(s checkpoint.Slot) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.logs[s]; l != nil {
		return len(l.state)
	}
	return 0
}

// Source opens rows, a Kafka channel or a table.
func (w *World) Source(_ context.Context, cfg physical.ReadConfig, ch *physical.Channel) (connectors.Source, error) {
	switch {
	case ch != nil && ch.Kafka != nil:
		return &topicSource{world: w, kafka: *ch.Kafka, schema: cfg.Schema}, nil
	case ch != nil && ch.Cassandra != nil:
		return w.Table(ch.Name).source(cfg.Schema), nil
	}
	if s := w.Sources[cfg.Connector]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("no source %q in this world", cfg.Connector)
}

// Outbox opens a table: the channel's, or the one that the connector names.
func (w *World) Outbox(_ context.Context, cfg physical.WriteConfig, ch *physical.Channel, in column.Schema, slot checkpoint.Slot) (connectors.Outbox, error) {
	o := &tableOutbox{world: w, slot: slot, schema: in}
	if ch != nil && ch.Cassandra != nil {
		o.table = w.Table(ch.Name)
		o.key = append(append([]string{}, ch.Cassandra.PartitionKey...), ch.Cassandra.ClusteringKey...)
	} else {
		o.table = w.Table(cfg.Connector)
	}
	for _, k := range o.key {
		if in.Index(k) < 0 {
			return nil, fmt.Errorf("table has the key %s, which the rows lack", k)
		}
	}
	return o, nil
}

// Watermarks follows a watermark topic.
func (w *World) Watermarks(_ context.Context, ch physical.Channel, place int64) (connectors.WatermarkReader, error) {
	return &markReader{world: w, topic: ch.Kafka.Watermarks, place: place}, nil
}

// Log opens a slot's log.
func (w *World) Log(_ context.Context, s checkpoint.Slot, _ physical.Fragment) (checkpoint.Log, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logs[s] == nil {
		w.logs[s] = &slotLog{state: map[string][]byte{}}
	}
	return &memoryLog{world: w, slot: s, log: w.logs[s]}, nil
}

type markReader struct {
	world *World
	topic string
	place int64
}

// Poll implements connectors.WatermarkReader.
func (r *markReader) Poll(ctx context.Context) ([]checkpoint.Published, int64, error) {
	for {
		r.world.mu.Lock()
		all, wait := r.world.topics[r.topic][0], r.world.changed
		r.world.mu.Unlock()
		if int(r.place) < len(all) {
			var out []checkpoint.Published
			for _, rec := range all[r.place:] {
				out = append(out, *rec.published)
			}
			r.place = int64(len(all))
			return out, r.place, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, r.place, context.Cause(ctx)
		}
	}
}

// Close implements connectors.WatermarkReader.
func (r *markReader) Close() error { return nil }
