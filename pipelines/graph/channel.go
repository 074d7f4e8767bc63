package graph

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
)

// MaxPartitions bounds a topic: a broker slows down long before.
const MaxPartitions = 1000

// DefaultPartitions is that of a Kafka channel that doesn't say: as many as a stage has slots by default (D8).
const DefaultPartitions = 12

var cqlName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

// declare reads spec.channels. Names of topics are given by pipelines/compile.
func (b *builder) declare() {
	for i := range b.doc.Channels {
		d := &b.doc.Channels[i]
		c := &Channel{Pos: d.Pos, decl: d}
		c.Name = d.Name
		if d.Kafka != nil {
			c.Kafka = b.kafka(d)
		}
		if d.Cassandra != nil {
			c.Cassandra = b.cassandra(d)
		}
		b.channels[d.Name] = c
	}
}

func (b *builder) kafka(d *dsl.Channel) *physical.KafkaChannel {
	what := fmt.Sprintf("channel %q", d.Name)
	k := &physical.KafkaChannel{Service: b.service(d.Kafka, d.Pos, what, "kafka"), Partitions: DefaultPartitions}
	if p := d.Kafka.Get("partitions"); p != nil {
		if p.Kind != dsl.Int || p.Int < 1 || p.Int > MaxPartitions {
			b.bad(p.Pos, "E-TYPE", "build", what, fmt.Sprintf("partitions %q is not a whole number from 1 to %d", p.Text, MaxPartitions), "write `partitions: 12`")
		}
		k.Partitions = int(p.Int)
	}
	k.Key = b.nameList(d.Kafka, "key", what)
	return k
}

func (b *builder) cassandra(d *dsl.Channel) *physical.CassandraChannel {
	what := fmt.Sprintf("channel %q", d.Name)
	c := &physical.CassandraChannel{Service: b.service(d.Cassandra, d.Pos, what, "cassandra"), Table: d.Name}
	if !cqlName.MatchString(d.Name) {
		b.bad(d.Pos, "E-NAME", "build", what, "a table's name has a-z, 0-9 and _ only", "choose such a name")
	}
	switch ks := d.Cassandra.Get("keyspace"); {
	case ks == nil:
		b.bad(d.Pos, "E-REQUIRED", "build", what, "it has no keyspace", "add `keyspace: flights`")
	case ks.Kind != dsl.String || !cqlName.MatchString(ks.Text):
		b.bad(ks.Pos, "E-NAME", "build", what, fmt.Sprintf("the keyspace %q is not of the form a-z, then a-z, 0-9 or _, at most 48", ks.Text), "choose such a name")
	default:
		c.Keyspace = ks.Text
	}
	c.PartitionKey = b.nameList(d.Cassandra, "partition_key", what)
	c.ClusteringKey = b.nameList(d.Cassandra, "clustering_key", what)
	if len(c.PartitionKey) == 0 {
		b.bad(d.Pos, "E-REQUIRED", "build", what, "it has no partition_key", "add `partition_key: [FIELD]`")
	}
	for _, name := range c.ClusteringKey {
		if slices.Contains(c.PartitionKey, name) {
			b.bad(fieldPos(d.Cassandra, "clustering_key", name, d.Pos), "E-KEY", "build", what, fmt.Sprintf("%q stands in partition_key and in clustering_key", name), "keep one of them")
		}
	}
	return c
}

// service checks the service that holds a channel, where the services are known.
func (b *builder) service(v *dsl.Value, at fault.Pos, what, operator string) string {
	s := v.Get("service")
	if s == nil || s.Kind != dsl.String {
		b.bad(at, "E-REQUIRED", "build", what, "it names no service", fmt.Sprintf("add `service: NAME`, a %s of the stack", operator))
		return ""
	}
	if b.env.Services == nil {
		return s.Text
	}
	names := make([]string, 0, len(b.env.Services))
	for n, op := range b.env.Services {
		if op == operator {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	switch op, ok := b.env.Services[s.Text]; {
	case !ok:
		b.bad(s.Pos, "E-SERVICE", "build", what, fmt.Sprintf("the stack has no service %q (%s services: %s)", s.Text, operator, strings.Join(names, ", ")), fault.DidYouMean(s.Text, names, "name a service of the stack"))
	case op != operator:
		b.bad(s.Pos, "E-SERVICE", "build", what, fmt.Sprintf("the service %q is a %s, a %s is needed (%s services: %s)", s.Text, op, operator, operator, strings.Join(names, ", ")), "name a service of that kind")
	}
	return s.Text
}

func (b *builder) nameList(v *dsl.Value, key, what string) []string {
	names, ok := dsl.Names(v.Get(key))
	if !ok {
		b.bad(v.Get(key).Pos, "E-TYPE", "build", what, key+" lists field names", fmt.Sprintf("write `%s: [FIELD]`", key))
	}
	out := make([]string, 0, len(names))
	for _, n := range names {
		if slices.Contains(out, n.Name) {
			b.bad(n.Pos, "E-DUPLICATE", "build", what, fmt.Sprintf("%s names %q twice", key, n.Name), "keep one of them")
		}
		out = append(out, n.Name)
	}
	return out
}

func fieldPos(v *dsl.Value, key, name string, fallback fault.Pos) fault.Pos {
	names, _ := dsl.Names(v.Get(key)) // nameList told what is wrong with it
	for _, n := range names {
		if n.Name == name {
			return n.Pos
		}
	}
	return fallback
}

// uses finds who writes and reads which channel, and refuses what no stage writes.
func (b *builder) uses() {
	for _, s := range b.doc.Stages {
		for _, t := range s.Transforms {
			v := t.Config.Get("channel")
			if v == nil || v.Kind != dsl.String {
				continue
			}
			c := b.channel(t, v)
			if c == nil {
				continue
			}
			switch {
			case t.Type == "WriteToChannel" && c.Deployed:
				b.bad(v.Pos, "E-CHANNEL", "build", t.Path, fmt.Sprintf("channel %q belongs to another pipeline, which alone writes it", v.Text), "declare a channel of your own under spec.channels")
			case t.Type == "WriteToChannel":
				c.Writers = appendNew(c.Writers, s.Name)
			case !c.Deployed:
				c.Readers = appendNew(c.Readers, s.Name)
			}
		}
	}
	for _, s := range b.doc.Stages {
		for _, t := range s.Transforms {
			if v := t.Config.Get("channel"); v != nil && t.Type == "ReadFromChannel" {
				if c := b.channels[v.Text]; c != nil && !c.Deployed && len(c.Writers) == 0 {
					b.bad(v.Pos, "E-CHANNEL", "build", t.Path, fmt.Sprintf("no stage writes channel %q", v.Text), fmt.Sprintf("end a stage with WriteToChannel {channel: %s}", v.Text))
				}
			}
		}
	}
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// channel looks up a declared channel, or "pipeline/channel" among the deployed ones.
func (b *builder) channel(t *dsl.Transform, v *dsl.Value) *Channel {
	if c := b.channels[v.Text]; c != nil {
		return c
	}
	if strings.Contains(v.Text, "/") {
		if b.env.Channels != nil {
			if p, ok := b.env.Channels(v.Text); ok {
				c := &Channel{Channel: p, Deployed: true, written: true, Pos: v.Pos, Bounded: p.Cassandra != nil}
				b.channels[v.Text] = c
				return c
			}
		}
		b.bad(v.Pos, "E-CHANNEL", "build", t.Path, fmt.Sprintf("no deployed pipeline has a channel %q", v.Text), "bring up the stack that has it first; `weir get pipelines` lists what runs")
		return nil
	}
	names := b.names()
	hint := fault.DidYouMean(v.Text, names, "declare it under spec.channels")
	if b.doc.Plain {
		hint = "write pipeline/channel for a deployed pipeline's, or write `kind: Pipeline` and declare it"
	}
	b.bad(v.Pos, "E-CHANNEL", "build", t.Path, fmt.Sprintf("there is no channel %q (channels: %s)", v.Text, strings.Join(names, ", ")), hint)
	return nil
}

func (b *builder) names() []string {
	var out []string
	for name, c := range b.channels {
		if !c.Deployed {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// publish records what a stage writes: its channels' schemas, which all writers share.
func (b *builder) publish(s *Stage) {
	for _, n := range s.Nodes {
		c, ok := n.Config.(physical.WriteConfig)
		if !ok || c.Channel == "" {
			continue
		}
		ch := b.channels[c.Channel]
		in := n.Inputs[0].Out
		if !ch.written {
			ch.written, ch.Schema, ch.Bounded = true, in, s.Bounded
			b.checkKeys(ch, n)
			continue
		}
		ch.Bounded = ch.Bounded && s.Bounded
		if diff := difference(ch.Schema, in); diff != "" {
			b.bad(n.Pos, "E-SCHEMA", "build", n.what(), fmt.Sprintf("channel %q is written with different schemas: %s", c.Channel, diff), "make the stages write the same fields")
			continue
		}
		ch.Schema = eitherNull(ch.Schema, in)
	}
}

// difference says how two schemas differ, or nothing.
func difference(a, b column.Schema) string {
	for _, f := range a.Fields {
		switch i := b.Index(f.Name); {
		case i < 0:
			return fmt.Sprintf("one has %s %s, the other has not (fields: %s)", f.Name, f.Kind, strings.Join(b.Names(), ", "))
		case b.Fields[i].Kind != f.Kind:
			return fmt.Sprintf("%s is %s in one and %s in the other", f.Name, f.Kind, b.Fields[i].Kind)
		}
	}
	for _, f := range b.Fields {
		if a.Index(f.Name) < 0 {
			return fmt.Sprintf("one has %s %s, the other has not (fields: %s)", f.Name, f.Kind, strings.Join(a.Names(), ", "))
		}
	}
	return ""
}

// eitherNull is a with the fields nullable that are in b.
func eitherNull(a, b column.Schema) column.Schema {
	out := column.Schema{Fields: slices.Clone(a.Fields)}
	for i, f := range out.Fields {
		if at := b.Index(f.Name); at >= 0 {
			out.Fields[i].Nullable = f.Nullable || b.Fields[at].Nullable
		}
	}
	return out
}

// checkKeys finds a channel's keys in the schema that is written.
func (b *builder) checkKeys(ch *Channel, n *Node) {
	what := fmt.Sprintf("channel %q", ch.Name)
	check := func(v *dsl.Value, key string, names []string) {
		for _, name := range names {
			at := fieldPos(v, key, name, ch.Pos)
			i := ch.Schema.Index(name)
			if i < 0 {
				b.bad(at, "E-COLUMN", "build", what, fmt.Sprintf("%s names %q, but stage %q writes no such field (fields: %s)", key, name, ch.Writers[0], strings.Join(ch.Schema.Names(), ", ")),
					fault.DidYouMean(name, ch.Schema.Names(), "name a field that is written"))
				continue
			}
			// Two numbers that are equal may be written in different ways, and would then be two keys.
			if k := ch.Schema.Fields[i].Kind; k == column.Float64 || k == column.Bytes {
				b.bad(at, "E-KEY", "build", what, fmt.Sprintf("%s names %q, which is %s: a key is a string, an integer, a boolean or a timestamp", key, name, dsl.A(k)), "key it by another field")
			}
		}
	}
	if ch.Kafka != nil {
		check(ch.decl.Kafka, "key", ch.Kafka.Key)
	}
	if ch.Cassandra != nil {
		check(ch.decl.Cassandra, "partition_key", ch.Cassandra.PartitionKey)
		check(ch.decl.Cassandra, "clustering_key", ch.Cassandra.ClusteringKey)
	}
}

// finish tells of channels that nobody uses: a topic would be made for nothing.
func (b *builder) finish() {
	for _, d := range b.doc.Channels {
		c := b.channels[d.Name]
		if len(c.Writers) == 0 && len(c.Readers) == 0 {
			b.bad(d.Pos, "E-CHANNEL", "build", fmt.Sprintf("channel %q", d.Name), "no stage writes it", fmt.Sprintf("end a stage with WriteToChannel {channel: %s}, or remove the channel", d.Name))
		}
	}
}
