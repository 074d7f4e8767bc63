package compile

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-project/weir/pipelines/graph"
	"github.com/weir-project/weir/pipelines/physical"
)

// beam refuses what a stage cannot do on Beam's Prism runner yet, each at its place. What is not refused has the same results there as natively.
func (c *compiler) beam(s *graph.Stage) {
	subject := fmt.Sprintf("stage %q", s.Name)
	switch {
	case !s.Bounded:
		c.bad(s.EnginePos, "E-ENGINE", subject, "its input has no end, and Prism keeps nothing that a restart could go on from", "leave `engine` and `runner` out, so that it runs natively")
	case s.Mode == physical.Streaming:
		c.bad(s.EnginePos, "E-ENGINE", subject, "it is a streaming stage, and Prism shows nothing before its input has ended", "write `mode: batch`, or leave `engine` and `runner` out")
	}
	for _, n := range s.Nodes {
		if cause, hint := c.notOnBeam(n); cause != "" {
			c.bad(n.Pos, "E-ENGINE", subject, fmt.Sprintf("%s does not run on Beam yet: %s", n.Path, cause), hint)
		}
	}
}

const natively = "leave `engine` and `runner` out, so that the stage runs natively"

func (c *compiler) notOnBeam(n *graph.Node) (cause, hint string) {
	switch cfg := n.Config.(type) {
	case physical.ReadConfig:
		return c.readNotOnBeam(cfg)
	case physical.WriteConfig:
		switch {
		case cfg.Channel != "":
			return "it writes a channel, and a stage on Beam writes files", "write a file, or " + natively
		case cfg.Connector != "file" && cfg.Connector != "discard":
			return fmt.Sprintf("there is no %s sink for it", cfg.Connector), natively
		}
	case physical.CombineConfig:
		return combineNotOnBeam(n, cfg)
	case physical.TimeConfig:
		if behindCombine(n) {
			return "it changes event times behind a Combine, where Beam drops rows that are earlier than what it has seen", "assign them before the Combine, or " + natively
		}
	}
	switch n.Op {
	case physical.OpRead, physical.OpMap, physical.OpFilter, physical.OpTime, physical.OpWindow, physical.OpWindowInfo, physical.OpCombine, physical.OpFlatten,
		physical.OpAssert, physical.OpLog, physical.OpWrite:
		return "", ""
	}
	return fmt.Sprintf("there is no %s for it", n.Op), natively
}

// beamSources are the connectors that read for Beam, beside a table's channel.
var beamSources = []string{"file", "create", "generator"}

func (c *compiler) readNotOnBeam(cfg physical.ReadConfig) (cause, hint string) {
	ch := c.logical.Channels[cfg.Channel]
	switch {
	case ch != nil && ch.Kafka != nil:
		return "where a Kafka channel's run ends is known to native slots only", "read a table or a file, or " + natively
	case cfg.Connector != "" && !slices.Contains(beamSources, cfg.Connector):
		return fmt.Sprintf("there is no %s source for it", cfg.Connector), natively
	case cfg.Disorder > 0:
		return "what is late depends on the order in which rows come, and Beam keeps none", "leave `disorder` out: in a bounded stage on Beam nothing is late"
	case cfg.Pace > 0:
		return "it reads as fast as it goes", "leave its `rate` and `pace` out"
	}
	return "", ""
}

func combineNotOnBeam(n *graph.Node, cfg physical.CombineConfig) (cause, hint string) {
	w := cfg.Window
	for _, d := range []time.Duration{w.Size, w.Period, w.Offset} {
		if d%time.Millisecond != 0 {
			return fmt.Sprintf("its windows are cut at %s, and Beam's time counts whole milliseconds", d), "round it, or " + natively
		}
	}
	divides := w.Type != "" && w.Type != "global"
	switch {
	case divides && !timed(n):
		return "it divides event time, and no AssignTimestamps gives its rows one", "put an AssignTimestamps in front, or " + natively
	case cfg.Lateness > 0:
		return "nothing is late in a bounded stage there", "leave `allowed_lateness` out"
	case divides && behindGlobal(n):
		return "it divides event time behind a Combine of the global window, whose rows are at the end of time", "assign event times before the first Combine and window it, or " + natively
	}
	return "", ""
}

// timed reports whether all rows that reach n were given an event time in the stage.
func timed(n *graph.Node) bool {
	for _, in := range n.Inputs {
		if in.Op != physical.OpTime && in.Op != physical.OpCombine && !timed(in) {
			return false
		}
	}
	return len(n.Inputs) > 0
}

// behindCombine reports whether rows of a combine reach n.
func behindCombine(n *graph.Node) bool {
	return behind(n, func(physical.CombineConfig) bool { return true })
}

// behindGlobal reports whether rows of a combine of the global window reach n.
func behindGlobal(n *graph.Node) bool {
	return behind(n, func(c physical.CombineConfig) bool { return c.Window.Type == "" || c.Window.Type == "global" })
}

func behind(n *graph.Node, is func(physical.CombineConfig) bool) bool {
	for _, in := range n.Inputs {
		if cfg, ok := in.Config.(physical.CombineConfig); ok && is(cfg) || behind(in, is) {
			return true
		}
	}
	return false
}
