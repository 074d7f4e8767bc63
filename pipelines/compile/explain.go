package compile

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/graph"
	"github.com/weir-project/weir/pipelines/physical"
)

// Explain prints a graph for `weir graph` and `weir plan`: channels with their topics, stages, fragments, slots with their
// reasons, each sink's guarantee, and what the slots cost in transactions a second.
func Explain(g *physical.Graph) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline %s\n", g.Pipeline)
	for _, name := range sortedKeys(g.Channels) {
		explainChannel(&b, name, g.Channels[name])
	}
	total := 0.0
	for _, s := range g.Stages {
		total += explainStage(&b, s)
	}
	if total > 0 {
		fmt.Fprintf(&b, "\ncost: at most %s; a small broker takes about %d\n", rate(total), MaxTransactions)
	}
	return b.String()
}

func explainChannel(b *strings.Builder, name string, c physical.Channel) {
	fmt.Fprintf(b, "\nchannel %s: ", name)
	switch {
	case c.Kafka != nil:
		fmt.Fprintf(b, "topic %s of %s, %s", c.Kafka.Topic, c.Kafka.Service, fault.Count(c.Kafka.Partitions, "partition"))
		if len(c.Kafka.Key) > 0 {
			fmt.Fprintf(b, " by %s", list(c.Kafka.Key))
		}
		fmt.Fprintf(b, "\n  watermarks %s", c.Kafka.Watermarks)
	case c.Cassandra != nil:
		fmt.Fprintf(b, "table %s.%s of %s, primary key ((%s)", c.Cassandra.Keyspace, c.Cassandra.Table, c.Cassandra.Service, list(c.Cassandra.PartitionKey))
		for _, k := range c.Cassandra.ClusteringKey {
			fmt.Fprintf(b, ", %s", k)
		}
		b.WriteString(")")
	}
	fmt.Fprintf(b, "\n  rows %s\n", schemaText(c.Schema))
	if len(c.Writers) > 0 {
		fmt.Fprintf(b, "  written by %s", list(c.Writers))
		if len(c.Readers) > 0 {
			fmt.Fprintf(b, ", read by %s", list(c.Readers))
		}
		b.WriteString("\n")
	}
}

// schemaText prints a schema; ? marks what may be null.
func schemaText(s column.Schema) string {
	out := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		out[i] = f.Name + " " + f.Kind.String()
		if f.Nullable {
			out[i] += "?"
		}
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// explainStage prints a stage and returns the transactions a second that it costs at most.
func explainStage(b *strings.Builder, s physical.Stage) float64 {
	end := "without end"
	if s.Bounded {
		end = "comes to an end"
	}
	fmt.Fprintf(b, "\nstage %s: %s, %s", s.Name, s.Mode, end)
	if len(s.After) > 0 {
		fmt.Fprintf(b, ", after %s", list(s.After))
	}
	if s.Engine != "" {
		fmt.Fprintf(b, ", on %s (%s)", s.Engine, s.Runner)
	}
	if s.MaxWorkers > 0 {
		fmt.Fprintf(b, ", %d to %d workers", s.MinWorkers, s.MaxWorkers)
	}
	b.WriteString("\n")
	cost := 0.0
	for _, f := range s.Fragments {
		cost += explainFragment(b, s, f)
	}
	return cost
}

func explainFragment(b *strings.Builder, s physical.Stage, f physical.Fragment) float64 {
	fmt.Fprintf(b, "  %s: %s (%s)", f.Name, fault.Count(f.Slots, "slot"), f.SlotsReason)
	cost := float64(f.Slots) / s.CommitInterval.Seconds()
	if f.Once {
		cost = 0
		b.WriteString(", commits once, at its end\n")
	} else {
		fmt.Fprintf(b, ", commits every %s: at most %s\n", span(s.CommitInterval), rate(cost))
	}
	explainNodes(b, "    ", f.Nodes)
	for _, g := range f.Sinks {
		fmt.Fprintf(b, "    %s: %s, because %s\n", g.Node, g.Guarantee, g.Because)
	}
	return cost
}

// explainNodes prints nodes; those that make a side input stand below the lookup that reads it.
func explainNodes(b *strings.Builder, indent string, nodes []physical.Node) {
	for _, n := range nodes {
		fmt.Fprintf(b, "%s%-20s %-10s %s\n", indent, n.Path, n.Op, nodeText(n))
		if n.Op != physical.OpLookup {
			continue
		}
		var c physical.LookupConfig
		if json.Unmarshal(n.Config, &c) == nil {
			explainNodes(b, indent+"  | ", c.Side)
		}
	}
}

// lookupText says which input is looked up, by what, and what becomes of a row that matches nothing.
func lookupText(c physical.LookupConfig) string {
	keys := make([]string, len(c.Keys))
	for i, k := range c.Keys {
		keys[i] = fmt.Sprintf("%s = %s", k.Field, k.Side)
	}
	side := "nothing"
	if n := len(c.Side); n > 0 {
		side = c.Side[n-1].Path
	}
	rest := "dropped"
	if c.Keep {
		rest = "kept"
	}
	return fmt.Sprintf("in side input %s, read whole by every slot, where %s; rows without a match are %s", side, list(keys), rest)
}

func number(f float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", f), "0"), ".")
}

func rate(f float64) string {
	if f == 1 {
		return "1 transaction a second"
	}
	return number(f) + " transactions a second"
}

// nodeText says in a few words what a node does.
func nodeText(n physical.Node) string {
	from := ""
	if len(n.Inputs) > 0 {
		from = "<- " + strings.Join(n.Inputs, ", ")
	}
	text := ""
	switch n.Op {
	case physical.OpRead:
		text = readText(n)
	case physical.OpFilter:
		text = configText(n, func(c physical.FilterConfig) string { return "keep " + c.Keep })
	case physical.OpTime:
		text = configText(n, func(c physical.TimeConfig) string { return "event time " + c.Timestamp })
	case physical.OpLookup:
		text = configText(n, lookupText)
	case physical.OpWindow:
		text = configText(n, windowText)
	case physical.OpMap:
		text = configText(n, mapText)
	case physical.OpWindowInfo:
		text = schemaText(n.Out)
	case physical.OpCombine:
		text = configText(n, func(c physical.CombineConfig) string {
			out := fmt.Sprintf("by %s in %s windows -> %s", list(c.GroupBy), windowText(c.Window), schemaText(n.Out))
			if c.Lateness > 0 {
				out += fmt.Sprintf(", lateness %s", span(c.Lateness))
			}
			return out
		})
	case physical.OpWrite:
		text = configText(n, func(c physical.WriteConfig) string {
			out := "channel " + c.Channel
			if c.Connector != "" {
				out = connectorText(c.Connector, c.Format, c.Config)
			}
			if len(c.Sort) > 0 {
				out += " sorted by " + list(c.Sort)
			}
			return out
		})
	}
	return strings.TrimSpace(strings.TrimSpace(text) + " " + from)
}

func readText(n physical.Node) string {
	return configText(n, func(c physical.ReadConfig) string {
		out := "channel " + c.Channel
		if c.Connector != "" {
			out = connectorText(c.Connector, c.Format, c.Config)
		}
		if c.Pace > 0 {
			out += fmt.Sprintf(", %s rows a second", number(c.Pace))
		}
		if c.Disorder > 0 {
			out += fmt.Sprintf(", disorder %s", span(c.Disorder))
		}
		return out + " " + schemaText(c.Schema)
	})
}

// mapText lists the fields; what is computed, with its expression.
func mapText(c physical.MapConfig) string {
	out := make([]string, len(c.Fields))
	for i, f := range c.Fields {
		if out[i] = f.Name; f.Expr != f.Name {
			out[i] = fmt.Sprintf("%s = %s", f.Name, strings.Join(strings.Fields(f.Expr), " "))
		}
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// connectorText names a connector with its format, and what it reads or writes.
func connectorText(connector, format string, config json.RawMessage) string {
	var c struct {
		graph.FileConfig
		graph.SequenceConfig
		graph.KafkaConfig
	}
	var bus graph.NatsConfig
	switch {
	case json.Unmarshal(config, &c) != nil:
		return connector + " " + format
	case connector == "nats" && json.Unmarshal(config, &bus) == nil:
		return strings.TrimSpace(fmt.Sprintf("nats %s stream %s of %s %s", format, bus.Stream, bus.Service+bus.URL, bus.Subject))
	case connector == "kafka":
		return fmt.Sprintf("kafka %s topic %s of %s", format, c.Topic, c.Service+strings.Join(c.Servers, ","))
	case connector == "generator" && c.End == nil:
		return fmt.Sprintf("numbers from %d on", c.Start)
	case connector == "generator":
		return fmt.Sprintf("numbers from %d to %d", c.Start, *c.End-1)
	}
	return strings.TrimSpace(strings.Join([]string{connector, format, c.Path}, " "))
}

// configText prints a config; one that cannot be read, which only a newer version can have written, prints as it is.
func configText[C any](n physical.Node, f func(C) string) string {
	var c C
	if err := json.Unmarshal(n.Config, &c); err != nil {
		return string(n.Config)
	}
	return f(c)
}
