package physical

import (
	"encoding/json"
	"time"

	"github.com/weir-project/weir/pipelines/column"
)

// FormatVersion is that of the JSON below (docs/formats/physical-graph.md).
const FormatVersion = 1

// Graph is a whole pipeline. Fingerprints say what may go on and what must be replayed (D8, change of a running pipeline).
type Graph struct {
	Version  int                `json:"version"`
	Pipeline string             `json:"pipeline"`
	Channels map[string]Channel `json:"channels,omitempty"`
	Stages   []Stage            `json:"stages"` // in topological order
}

// Channel wires stages: a topic or a table, made and secured by Weir (C6, C7).
type Channel struct {
	Name      string            `json:"name"`
	Kafka     *KafkaChannel     `json:"kafka,omitempty"`
	Cassandra *CassandraChannel `json:"cassandra,omitempty"`
	Schema    column.Schema     `json:"schema"`
	Writers   []string          `json:"writers,omitempty"` // stages that write it
	Readers   []string          `json:"readers,omitempty"`
}

// KafkaChannel is a topic `<pipeline>.<channel>`. Partition = murmur2(encoded key) mod Partitions, as Kafka's Java client does.
type KafkaChannel struct {
	Service    string   `json:"service"`
	Topic      string   `json:"topic"`
	Watermarks string   `json:"watermarks"` // the topic _weir.<pipeline>.<channel>.watermarks
	Partitions int      `json:"partitions"`
	Key        []string `json:"key,omitempty"`
}

// CassandraChannel is a table `<keyspace>.<channel>`.
type CassandraChannel struct {
	Service       string   `json:"service"`
	Keyspace      string   `json:"keyspace"`
	Table         string   `json:"table"`
	PartitionKey  []string `json:"partition_key"`
	ClusteringKey []string `json:"clustering_key,omitempty"`
}

// Mode of a stage.
type Mode string

const (
	Streaming Mode = "streaming"
	Batch     Mode = "batch"
)

// Stage is what the user wrote as one sub-pipeline.
type Stage struct {
	Name           string        `json:"name"`
	Mode           Mode          `json:"mode"`
	After          []string      `json:"after,omitempty"`
	Guarantee      string        `json:"guarantee"` // asked for: exactly_once, at_least_once
	MinWorkers     int           `json:"min_workers,omitempty"`
	MaxWorkers     int           `json:"max_workers,omitempty"`
	CommitInterval time.Duration `json:"commit_interval"`
	Engine         string        `json:"engine,omitempty"` // empty: native
	Runner         string        `json:"runner,omitempty"` // of an engine that has several
	Bounded        bool          `json:"bounded"`          // every source of it, channels included, comes to an end
	Fragments      []Fragment    `json:"fragments"`
}

// Fragment is a chain of transforms fused between two exchanges. It runs as Slots instances, for ever.
type Fragment struct {
	Name        string          `json:"name"` // f0, f1 …
	Slots       int             `json:"slots"`
	SlotsReason string          `json:"slots_reason"`   // why this many, for `weir plan`
	Key         []string        `json:"key,omitempty"`  // fields by which its input is partitioned
	Nodes       []Node          `json:"nodes"`          // in topological order; sources first
	Fingerprint string          `json:"fingerprint"`    // of its stateful part: state belongs to it
	Changelog   string          `json:"changelog"`      // topic with one partition a slot: state, then progress
	Home        string          `json:"home,omitempty"` // the Kafka service that holds both; the server sets it
	Outbox      string          `json:"outbox,omitempty"`
	Sinks       []SinkGuarantee `json:"sinks"`

	// Once: nothing is committed between the claim and the end, so a slot that is taken over starts again from the beginning of its (bounded)
	// input. It is for sinks that make one whole out of all rows, such as a sorted file.
	Once bool `json:"once,omitempty"`
}

// SinkGuarantee is the computed guarantee of one sink (docs/guarantees.md), printed by `weir plan`.
type SinkGuarantee struct {
	Node      string `json:"node"`
	Guarantee string `json:"guarantee"` // exactly once, effectively once, at least once
	Because   string `json:"because"`
}

// Op names what a node does.
type Op string

const (
	OpRead       Op = "read"       // a source: Config is ReadConfig
	OpMap        Op = "map"        // project and compute: MapConfig
	OpFilter     Op = "filter"     // FilterConfig
	OpTime       Op = "time"       // assign event time: TimeConfig
	OpWindow     Op = "window"     // WindowConfig
	OpWindowInfo Op = "windowinfo" // WindowInfoConfig
	OpCombine    Op = "combine"    // keyed, windowed aggregation: CombineConfig
	OpFlatten    Op = "flatten"    // several inputs of one schema
	OpLookup     Op = "lookup"     // joins rows to a side input that is held in memory: LookupConfig
	OpAssert     Op = "assert"     // AssertEqual: AssertConfig
	OpLog        Op = "log"        // LogForTesting: LogConfig
	OpWrite      Op = "write"      // a sink: WriteConfig
)

// Node is one transform. Path is its place in the user's file ("Combine", "Outer/Filter", "Filter#2" for the second of a scope): names, errors and the
// weir: block use it. Inputs name other nodes of the fragment ("path" or "path.output").
type Node struct {
	Path   string          `json:"path"`
	Op     Op              `json:"op"`
	Inputs []string        `json:"inputs,omitempty"`
	Out    column.Schema   `json:"out"`
	Config json.RawMessage `json:"config,omitempty"`
	Line   int             `json:"line,omitempty"` // in the pipeline file
}
