package stream

import (
	"maps"
	"slices"
	"strconv"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

const (
	mib         = 1 << 20
	smallest    = 16 * mib   // of a segment and of a partition's retention
	largest     = 1024 * mib // of a segment
	forever     = "-1"
	anyFuture   = "9223372036854775807"
	maxReplicas = 3
)

// Resources are what the pipelines need of one service.
type Resources struct {
	Topics    []operators.Topic
	Keyspaces []operators.Keyspace
	Tables    []operators.Table
	Streams   []operators.JetStream
}

// Channels are the resources of all pipelines by service, each sorted by name.
func Channels(graphs []physical.Graph, services map[string]operators.ServiceSpec) map[string]Resources {
	out := map[string]Resources{}
	for _, g := range graphs {
		for _, name := range slices.Sorted(maps.Keys(g.Channels)) {
			c := g.Channels[name]
			switch {
			case c.Kafka != nil:
				r := out[c.Kafka.Service]
				n := replicas(services[c.Kafka.Service])
				r.Topics = append(r.Topics,
					operators.Topic{Name: c.Kafka.Topic, Partitions: c.Kafka.Partitions, Replication: n},
					// One partition: a reader's place in it is one offset.
					operators.Topic{Name: c.Kafka.Watermarks, Partitions: 1, Replication: n, Settings: kept()})
				out[c.Kafka.Service] = r
			case c.Cassandra != nil:
				r := out[c.Cassandra.Service]
				r.Keyspaces = addKeyspace(r.Keyspaces, keyspace(c.Cassandra.Keyspace, services[c.Cassandra.Service]))
				r.Tables = append(r.Tables, table(c))
				out[c.Cassandra.Service] = r
			}
		}
		addStreams(out, g)
		for _, s := range g.Stages {
			service := Home(g, s, services)
			r := out[service]
			r.Topics = append(r.Topics, internalTopics(s, replicas(services[service]))...)
			if len(r.Topics) > 0 {
				out[service] = r
			}
		}
	}
	for name, r := range out {
		retain(r.Topics, services[name])
		share(r.Streams, services[name])
		slices.SortFunc(r.Topics, func(a, b operators.Topic) int { return compare(a.Name, b.Name) })
		slices.SortFunc(r.Tables, func(a, b operators.Table) int { return compare(a.ID(), b.ID()) })
	}
	return out
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Home is the Kafka that holds a stage's changelogs: that of the channels it writes, since one transaction holds both; else that of those it
// reads; else the first of the stack. Empty where the stack has none.
func Home(g physical.Graph, s physical.Stage, services map[string]operators.ServiceSpec) string {
	for _, wanted := range []func(physical.Channel) []string{
		func(c physical.Channel) []string { return c.Writers }, func(c physical.Channel) []string { return c.Readers },
	} {
		for _, name := range slices.Sorted(maps.Keys(g.Channels)) {
			if c := g.Channels[name]; c.Kafka != nil && slices.Contains(wanted(c), s.Name) {
				return c.Kafka.Service
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if services[name].Operator == operators.Kafka {
			return name
		}
	}
	return ""
}

func internalTopics(s physical.Stage, n int) []operators.Topic {
	var out []operators.Topic
	for _, f := range s.Fragments {
		if f.Changelog != "" {
			out = append(out, operators.Topic{Name: f.Changelog, Partitions: f.Slots, Replication: n, Settings: map[string]string{
				"cleanup.policy": "compact", "segment.bytes": strconv.Itoa(16 * mib), "min.cleanable.dirty.ratio": "0.1", "delete.retention.ms": "60000",
				"message.timestamp.after.max.ms": anyFuture,
			}})
		}
		if f.Outbox != "" {
			out = append(out, operators.Topic{Name: f.Outbox, Partitions: f.Slots, Replication: n, Settings: kept()})
		}
	}
	return out
}

// kept: an internal topic keeps all and is purged behind its slowest committed reader (DeleteRecords).
func kept() map[string]string {
	return map[string]string{"cleanup.policy": "delete", "retention.ms": forever, "retention.bytes": forever, "message.timestamp.after.max.ms": anyFuture}
}

// retain gives the data topics, which have no settings yet, half of the service's storage: record time is event time, so that nothing may be
// kept by time, and a record of the past would be deleted at once.
func retain(topics []operators.Topic, service operators.ServiceSpec) {
	partitions := 0
	for _, t := range topics {
		if t.Settings == nil {
			partitions += t.Partitions
		}
	}
	if partitions == 0 {
		return
	}
	storage := service.StorageMiB
	if storage == 0 {
		storage = 10240
	}
	share := max(smallest, storage*mib/2/int64(partitions))
	segment := min(largest, max(smallest, share/4))
	for i := range topics {
		if topics[i].Settings == nil {
			topics[i].Settings = map[string]string{
				"cleanup.policy": "delete", "retention.ms": forever, "retention.bytes": strconv.FormatInt(share, 10), "segment.bytes": strconv.FormatInt(segment, 10),
				"message.timestamp.after.max.ms": anyFuture, // event time may lie ahead of the broker's clock
			}
		}
	}
}

// replicas of what is made in a service.
func replicas(s operators.ServiceSpec) int {
	if s.Operator == operators.Kafka {
		return s.KafkaReplication()
	}
	return max(1, min(maxReplicas, s.Size))
}

func keyspace(name string, s operators.ServiceSpec) operators.Keyspace {
	k := operators.Keyspace{Name: name, Replication: replicas(s)}
	if s.Profile == "production" {
		k.DC = "dc1"
	}
	return k
}

func addKeyspace(all []operators.Keyspace, k operators.Keyspace) []operators.Keyspace {
	if slices.Contains(all, k) {
		return all
	}
	return append(all, k)
}

// cql are the types of columns in Cassandra. A timestamp there has milliseconds, Weir's has microseconds.
var cql = map[column.Kind]string{
	column.Bool: "boolean", column.Int64: "bigint", column.Float64: "double", column.String: "text", column.Bytes: "blob", column.Timestamp: "timestamp",
}

func table(c physical.Channel) operators.Table {
	t := operators.Table{Keyspace: c.Cassandra.Keyspace, Name: c.Cassandra.Table, PartitionKey: c.Cassandra.PartitionKey, ClusteringKey: c.Cassandra.ClusteringKey}
	for _, f := range c.Schema.Fields {
		t.Columns = append(t.Columns, operators.Column{Name: f.Name, Type: cql[f.Kind]})
	}
	return t
}
