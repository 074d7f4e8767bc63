package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/graph"
	"github.com/weir-project/weir/pipelines/physical"
)

// DefaultSlots is the number of slots of a fragment that nothing else bounds (D8).
const DefaultSlots = 12

// division is how a fragment is divided, for ever.
type division struct {
	slots  int
	reason string
	key    []string
}

// divide counts the slots. More than one is right only where every keyed transform finds all rows of a key in one slot.
func (c *compiler) divide(s *graph.Stage) division {
	parts := c.partitions(s)
	d := c.splits(s)
	for _, n := range s.Sources() {
		if d.key == nil {
			d.key = parts[n].keys
		}
	}
	if s.Engine == physical.EngineBeam {
		return division{slots: 1, reason: "Beam's " + s.Runner + " runner divides the work itself, in one process", key: d.key}
	}
	if d.slots == 1 {
		return d
	}
	if c.in.Local {
		d.slots, d.reason = 1, "weir run is one process"
		return d
	}
	for _, n := range s.Nodes {
		if why := gathers(n); why != "" {
			d.slots, d.reason = 1, why
			return d
		}
	}
	for _, n := range s.Nodes {
		why, hint := c.scattered(s, n, parts)
		switch {
		case why == "":
		case s.Mode == physical.Batch:
			d.slots, d.reason = 1, why
			return d
		default:
			c.bad(n.Pos, "E-KEY", fmt.Sprintf("stage %q", s.Name), why, hint)
			return d
		}
	}
	return d
}

// splits counts slots by what the sources can be divided into.
func (c *compiler) splits(s *graph.Stage) division {
	partitions, tables := 0, []string{}
	var of []string
	for _, n := range s.Sources() {
		cfg := n.Config.(physical.ReadConfig)
		ch := c.logical.Channels[cfg.Channel]
		switch {
		case ch == nil:
		case ch.Kafka != nil:
			of = append(of, fmt.Sprintf("%s of %s", fault.Count(ch.Kafka.Partitions, "partition"), cfg.Channel))
			partitions = max(partitions, ch.Kafka.Partitions)
		case ch.Cassandra != nil:
			tables = append(tables, cfg.Channel)
		}
	}
	want := max(DefaultSlots, s.MaxWorkers)
	switch {
	case partitions > 0:
		d := division{slots: min(partitions, want), reason: strings.Join(of, ", ")}
		switch {
		case partitions < s.MaxWorkers:
			d.reason += fmt.Sprintf("; fewer than workers.max %d, so some workers stay without", s.MaxWorkers)
		case partitions > want:
			d.reason += fmt.Sprintf("; at most %d slots share them", want)
		}
		return d
	case len(tables) > 0:
		return division{slots: want, reason: "token ranges of " + strings.Join(tables, ", ")}
	}
	for _, n := range s.Sources() {
		switch n.Config.(physical.ReadConfig).Connector {
		case "file":
			return division{slots: 1, reason: "a file is one split, read by one slot"}
		case "kafka":
			return division{slots: 1, reason: "weir run is one process"}
		case "generator":
			return division{slots: 1, reason: "a sequence is one split, made by one slot"}
		case "nats":
			return division{slots: 1, reason: "a JetStream stream has one order and is one split, read by one slot"}
		}
	}
	return division{slots: 1, reason: "the rows stand in the document"}
}

// gathers says why a sink needs all rows in one slot, which also commits once, at the end.
func gathers(n *graph.Node) string {
	switch cfg := n.Config.(type) {
	case physical.WriteConfig:
		if cfg.Connector == "file" {
			return n.Path + " writes one file"
		}
	case physical.LogConfig:
		if len(cfg.Sort) > 0 || cfg.Table || cfg.Limit > 0 {
			return n.Path + " prints one table"
		}
	case physical.AssertConfig:
		return n.Path + " compares all rows"
	}
	return ""
}

// part is how the rows of a node are spread: rows of equal keys are in one of count partitions. No keys: nothing is known.
type part struct {
	keys  []string
	count int    // of a topic's partitions; 0 for token ranges
	lost  string // where the keys were lost, for the reason
}

func (p part) String() string {
	if p.lost != "" {
		return "its input is partitioned no more: " + p.lost
	}
	return "its input is partitioned by " + list(p.keys)
}

func (p part) equal(q part) bool { return p.count == q.count && slices.Equal(p.keys, q.keys) }

// partitions follows the key from the sources through renames to every node.
func (c *compiler) partitions(s *graph.Stage) map[*graph.Node]part {
	parts := map[*graph.Node]part{}
	for _, n := range s.Nodes {
		var p part
		if len(n.Inputs) > 0 {
			p = parts[n.Inputs[0]]
		}
		switch cfg := n.Config.(type) {
		case physical.ReadConfig:
			p = c.sourcePart(cfg)
		case physical.MapConfig:
			if keys := renamed(p.keys, cfg); keys != nil || p.keys == nil {
				p.keys = keys
			} else {
				p = part{lost: fmt.Sprintf("%s does not pass its key %s on unchanged", n.Path, list(p.keys))}
			}
		case physical.LookupConfig:
			if keys := looked(p.keys, cfg); keys != nil || p.keys == nil {
				p.keys = keys
			} else {
				p = part{lost: fmt.Sprintf("%s does not pass its key %s on", n.Path, list(p.keys))}
			}
		case physical.CombineConfig:
			if !within(p.keys, cfg.GroupBy) && p.keys != nil {
				p = part{lost: fmt.Sprintf("%s groups by %s", n.Path, list(cfg.GroupBy))}
			}
		}
		for _, in := range n.Inputs {
			if first := parts[n.Inputs[0]]; !parts[in].equal(first) {
				p = part{lost: fmt.Sprintf("%s is by %s in %s, %s by %s in %s", n.Inputs[0].Path, list(first.keys), fault.Count(first.count, "partition"), in.Path, list(parts[in].keys), fault.Count(parts[in].count, "partition"))}
			}
		}
		parts[n] = p
	}
	return parts
}

func (c *compiler) sourcePart(cfg physical.ReadConfig) part {
	ch := c.logical.Channels[cfg.Channel]
	switch {
	case ch != nil && ch.Kafka != nil:
		return part{keys: ch.Kafka.Key, count: ch.Kafka.Partitions}
	case ch != nil && ch.Cassandra != nil:
		return part{keys: ch.Cassandra.PartitionKey}
	}
	return part{}
}

// renamed finds the fields that copy the keys; none where one of them is lost.
func renamed(keys []string, cfg physical.MapConfig) []string {
	var out []string
	for _, k := range keys {
		i := slices.IndexFunc(cfg.Fields, func(f physical.Field) bool { return f.Expr == k })
		if i < 0 {
			return nil
		}
		out = append(out, cfg.Fields[i].Name)
	}
	return out
}

// looked finds the fields by which a lookup passes the keys on; none where one of them is lost.
func looked(keys []string, cfg physical.LookupConfig) []string {
	var out []string
	for _, k := range keys {
		i := slices.IndexFunc(cfg.Fields, func(f physical.LookupField) bool { return !f.Side && f.Field == k })
		if i < 0 {
			return nil
		}
		out = append(out, cfg.Fields[i].Name)
	}
	return out
}

// within reports that rows which are equal in fields are in one partition.
func within(keys, fields []string) bool {
	if len(keys) == 0 {
		return false
	}
	for _, k := range keys {
		if !slices.Contains(fields, k) {
			return false
		}
	}
	return true
}

// scattered says why a node would find rows of one key in several slots, and what to type about it.
func (c *compiler) scattered(s *graph.Stage, n *graph.Node, parts map[*graph.Node]part) (why, hint string) {
	if len(n.Inputs) == 0 {
		return "", ""
	}
	p := parts[n.Inputs[0]]
	switch cfg := n.Config.(type) {
	case physical.CombineConfig:
		switch {
		case within(p.keys, cfg.GroupBy):
			return "", ""
		case len(cfg.GroupBy) == 0:
			return n.Path + " combines all rows of a window", "give it a `group_by`, or the channel that it reads `partitions: 1`; an exchange between slots comes in a later version"
		}
		return fmt.Sprintf("%s groups by %s, but %s", n.Path, list(cfg.GroupBy), p), c.keyBy(s, cfg.GroupBy)
	case physical.WriteConfig:
		ch := c.logical.Channels[cfg.Channel]
		if ch == nil || ch.Cassandra == nil {
			return "", ""
		}
		primary := append(slices.Clone(ch.Cassandra.PartitionKey), ch.Cassandra.ClusteringKey...)
		if within(p.keys, primary) {
			return "", ""
		}
		// Two slots that write one row would each believe theirs the last one.
		return fmt.Sprintf("%s writes rows with the primary key %s, but %s: two slots would write one row", n.Path, list(primary), p), c.keyBy(s, primary)
	}
	return "", ""
}

// keyBy is the hint that makes the input partitioned by fields, where a channel holds them.
func (c *compiler) keyBy(s *graph.Stage, fields []string) string {
	for _, n := range s.Sources() {
		name := n.Config.(physical.ReadConfig).Channel
		ch := c.logical.Channels[name]
		switch {
		case ch == nil || ch.Kafka == nil:
		case slices.Equal(ch.Kafka.Key, fields) && len(s.Sources()) > 1:
			return "give the channels that it reads the same key and number of partitions; an exchange between slots comes in a later version"
		case slices.Equal(ch.Kafka.Key, fields) || slices.ContainsFunc(fields, func(f string) bool { return ch.Schema.Index(f) < 0 }):
			return fmt.Sprintf("compute %s in the stage that writes channel %s, and key the channel by it; an exchange between slots comes in a later version", list(fields), name)
		case ch.Deployed:
			return fmt.Sprintf("group by its key, %s, too; an exchange between slots comes in a later version", list(ch.Kafka.Key))
		default:
			return fmt.Sprintf("key the channel by it: `%s: {kafka: {…, key: [%s]}}`; an exchange between slots comes in a later version", name, strings.Join(fields, ", "))
		}
	}
	return "write `mode: batch`; an exchange between slots comes in a later version"
}

func list(fields []string) string {
	if len(fields) == 0 {
		return "nothing"
	}
	return strings.Join(fields, ", ")
}
