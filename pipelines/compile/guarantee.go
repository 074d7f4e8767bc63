package compile

import (
	"fmt"
	"slices"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/graph"
	"github.com/weir-project/weir/pipelines/physical"
)

// The guarantees that a stage may ask for.
const (
	ExactlyOnce = "exactly_once"
	AtLeastOnce = "at_least_once"
)

// guarantee computes what a sink keeps (docs/guarantees.md); ok is false for a node that is none.
func (c *compiler) guarantee(s *graph.Stage, n *graph.Node) (g physical.SinkGuarantee, ok bool) {
	g.Node = n.Path
	switch cfg := n.Config.(type) {
	case physical.LogConfig:
		g.Guarantee, g.Because = "at least once", "rows are printed before the commit, again when a slot is taken over"
		return g, true
	case physical.WriteConfig:
		ch := c.logical.Channels[cfg.Channel]
		switch {
		case cfg.Connector == "file":
			g.Guarantee, g.Because = "exactly once", "a temporary file is renamed after the commit that names it"
			if !s.Bounded {
				c.bad(n.Pos, "E-GUARANTEE", fmt.Sprintf("stage %q", s.Name), fmt.Sprintf("%s writes a file, which is whole at the end of its input, and %s has no end", n.Path, endless(s)), "write to a channel, or read a source that ends; rolling files come in a later version")
			}
		case cfg.Connector == "kafka":
			g.Guarantee, g.Because = "at least once", "each commit's rows are one transaction of their own, written after it: whoever is killed in between writes them again"
		case cfg.Connector == "nats" && s.Guarantee == AtLeastOnce:
			g.Guarantee, g.Because = "at least once", "it is asked for: the stream's duplicate window may be shorter than a takeover takes"
		case cfg.Connector == "nats":
			g.Guarantee, g.Because = "effectively once", "messages are published after the commit with ids of the slot and its write timestamps: the stream drops a repeat within its duplicate window, of at least 20s, and after any doubt the sink looks into the stream first"
		case ch != nil && ch.Kafka != nil:
			g.Guarantee, g.Because = "exactly once", "output, state and positions are one Kafka transaction"
		case ch != nil && ch.Cassandra != nil:
			g.Guarantee, g.Because = "effectively once", "rows are upserts with their final write timestamp, applied from the outbox after the commit: a repeat changes nothing"
		}
		return g, true
	}
	return g, false
}

// endless names a source of the stage that does not end.
func endless(s *graph.Stage) string {
	for _, n := range s.Sources() {
		switch cfg := n.Config.(physical.ReadConfig); {
		case cfg.Bounded:
		case cfg.Channel == "":
			return n.Path
		default:
			return fmt.Sprintf("channel %q", cfg.Channel)
		}
	}
	return ""
}

// here refuses what only `weir run` can do so far.
func (c *compiler) here(n *graph.Node) {
	var connector string
	switch cfg := n.Config.(type) {
	case physical.ReadConfig:
		connector = cfg.Connector
	case physical.WriteConfig:
		connector = cfg.Connector
	}
	if connector == "kafka" && !c.in.Local {
		c.bad(n.Pos, "E-NOTYET", n.Path, "in a deployed pipeline a topic is a channel, which Weir makes, secures and commits to; topics of others are read and written by `weir run` for now", "declare `channels: {name: {kafka: {service: …}}}`, or `weir run` this file")
	}
}

// timed refuses windows that would never fire: of a source without an end the watermark advances by the bound on disorder alone (C10). Channels
// bring the watermarks of their writers.
func (c *compiler) timed(s *graph.Stage) {
	combines := slices.IndexFunc(s.Nodes, func(n *graph.Node) bool { return n.Op == physical.OpCombine })
	if combines < 0 {
		return
	}
	for _, n := range s.Sources() {
		if cfg := n.Config.(physical.ReadConfig); !cfg.Bounded && cfg.Channel == "" && cfg.Disorder == 0 {
			c.bad(n.Pos, "E-WATERMARK", n.Path, fmt.Sprintf("it has no end and declares no bound on disorder, so the windows of %s would never fire", s.Nodes[combines].Path), fmt.Sprintf("add `weir: {%s: {disorder: 1s}}`: how much earlier than the newest event time a row may be", n.Path))
		}
	}
}

// outbox reports a sink that cannot join the transaction (D8).
func (c *compiler) outbox(n *graph.Node) bool {
	cfg, ok := n.Config.(physical.WriteConfig)
	if !ok {
		return false
	}
	ch := c.logical.Channels[cfg.Channel]
	return cfg.Connector == "file" || cfg.Connector == "kafka" || cfg.Connector == "nats" || ch != nil && ch.Cassandra != nil
}

// possible refuses exactly_once that is asked for where no sink can keep it, and a commit rate that no broker takes.
func (c *compiler) possible(s *graph.Stage, f physical.Fragment) {
	what := fmt.Sprintf("stage %q", s.Name)
	best := false
	for _, g := range f.Sinks {
		best = best || g.Guarantee != "at least once"
	}
	if s.Guarantee == ExactlyOnce && len(f.Sinks) > 0 && !best {
		c.bad(or(s.GuaranteePos, s.Pos), "E-GUARANTEE", what, fmt.Sprintf("exactly_once is impossible: %s is %s (%s)", f.Sinks[0].Node, f.Sinks[0].Guarantee, f.Sinks[0].Because), "write `guarantee: at_least_once`, or write to a channel or a file")
	}
	if rate := float64(f.Slots) / s.CommitInterval.Seconds(); rate > MaxTransactions && !c.in.Local && !f.Once {
		c.bad(s.Pos, "E-RATE", what, fmt.Sprintf("%d slots that commit every %s are %.0f transactions a second; a small broker takes about %d", f.Slots, s.CommitInterval, rate, MaxTransactions), "raise `commit_interval`, or give the channel fewer partitions")
	}
}

// MaxTransactions a second is what a small broker takes (measured; D8).
const MaxTransactions = 300

func or(p, q fault.Pos) fault.Pos {
	if p.Line > 0 {
		return p
	}
	return q
}
