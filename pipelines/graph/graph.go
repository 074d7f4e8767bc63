package graph

import (
	"fmt"
	"slices"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
)

// Env is what a pipeline finds around it.
type Env struct {
	Services map[string]string                         // operator by service name; nil where it is unknown (`weir run`)
	Channels func(ref string) (physical.Channel, bool) // a deployed pipeline's channel by "pipeline/channel"; may be nil
	Dir      string                                    // absolute directory against which paths resolve (C11)
}

// Graph is a pipeline that holds together.
type Graph struct {
	Doc      *dsl.Document
	Channels map[string]*Channel // also the deployed ones that it reads, by their reference
	Stages   []*Stage            // in topological order
}

// Channel is a channel with its schema and ends.
type Channel struct {
	physical.Channel
	Pos      fault.Pos
	Deployed bool // another pipeline's: read only
	Bounded  bool // it comes to an end: every writer does
	decl     *dsl.Channel
	written  bool // its schema is known
}

// Stage is a stage with its transforms typed.
type Stage struct {
	*dsl.Stage
	Mode    physical.Mode
	Bounded bool
	Nodes   []*Node // in topological order
}

// Node is a typed transform.
type Node struct {
	Path   string
	Op     physical.Op
	Pos    fault.Pos
	Inputs []*Node
	Out    column.Schema
	Config any // the physical config of Op
	Window physical.WindowConfig
	Weir   *dsl.Value
	Syntax *dsl.Transform // what it was made from

	SideInput *Node   // of a lookup: the input that is read whole; Build takes it out of Inputs
	Side      []*Node // of a lookup: all that makes the side input, in topological order; they are not among the stage's nodes
}

// Build types a document. The error is a fault or a fault.List with every mistake found.
func Build(doc *dsl.Document, env Env) (*Graph, error) {
	b := &builder{doc: doc, text: doc.Text, env: env, channels: map[string]*Channel{}}
	b.declare()
	b.uses()
	order := b.order()
	if err := b.errs.Err(); err != nil {
		return nil, err
	}
	g := &Graph{Doc: doc, Channels: b.channels}
	for _, s := range order {
		g.Stages = append(g.Stages, b.stage(s))
	}
	b.finish()
	if err := b.errs.Err(); err != nil {
		return nil, err
	}
	return g, nil
}

// builder gathers mistakes.
type builder struct {
	doc      *dsl.Document
	text     *dsl.Text
	env      Env
	channels map[string]*Channel
	ends     map[string]bool // stages that come to an end
	errs     fault.List
}

func (b *builder) bad(p fault.Pos, code, op, subject, cause, hint string) {
	b.errs.Add(b.text.Fault(p, code, op, subject, cause, hint))
}

// Sources lists the nodes that read.
func (s *Stage) Sources() []*Node {
	var out []*Node
	for _, n := range s.Nodes {
		if n.Op == physical.OpRead {
			out = append(out, n)
		}
	}
	return out
}

// stage types the transforms of one stage.
func (b *builder) stage(d *dsl.Stage) *Stage {
	s := &Stage{Stage: d, Bounded: true}
	before := len(b.errs)
	made := map[*dsl.Transform]*Node{}
	for _, t := range d.Transforms {
		inputs, ok := inputsOf(t, made)
		if !ok {
			continue // an input could not be typed, which is told already
		}
		i := &infer{builder: b, stage: s, t: t, in: inputs}
		if n := i.node(); n != nil {
			made[t] = n
			s.Nodes = append(s.Nodes, n)
		}
	}
	// A transform that is missing without a message here reads what another stage could not write.
	if len(b.errs) > before || len(s.Nodes) < len(d.Transforms) {
		return s
	}
	b.detach(s)
	b.boundedness(s)
	b.sinks(s)
	b.modeOf(s)
	b.afterEnds(s)
	b.ending(s)
	if b.ends == nil {
		b.ends = map[string]bool{}
	}
	b.ends[s.Name] = s.Bounded
	b.publish(s)
	return s
}

func inputsOf(t *dsl.Transform, made map[*dsl.Transform]*Node) ([]*Node, bool) {
	var out []*Node
	for _, in := range t.Inputs {
		n := made[in.From]
		if n == nil {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}

// boundedness: a stage ends when every source of it does.
func (b *builder) boundedness(s *Stage) {
	for _, n := range s.Sources() {
		s.Bounded = s.Bounded && n.Config.(physical.ReadConfig).Bounded
	}
}

// sinks refuses a stage that shows its work to nobody.
func (b *builder) sinks(s *Stage) {
	for _, n := range s.Nodes {
		if n.Op == physical.OpWrite || n.Op == physical.OpLog || n.Op == physical.OpAssert {
			return
		}
	}
	b.bad(s.Pos, "E-SINK", "build", fmt.Sprintf("stage %q", s.Name), "it has no sink: what it computes goes nowhere", "end it with WriteToChannel, WriteToCsv or LogForTesting")
}

// modeOf infers the mode: a stage that reads a stream goes on as it comes, and so does one that fills a stream from files, for its
// readers follow it; one that reads a table, or goes from files to files, is a batch.
func (b *builder) modeOf(s *Stage) {
	var reads, writes bool // a stream
	var table *Node
	for _, n := range s.Nodes {
		switch c := n.Config.(type) {
		case physical.ReadConfig:
			ch := b.channels[c.Channel]
			reads = reads || ch != nil && ch.Kafka != nil || c.Connector == "nats"
			if ch != nil && ch.Cassandra != nil {
				table = n
			}
		case physical.WriteConfig:
			ch := b.channels[c.Channel]
			writes = writes || ch != nil && ch.Kafka != nil || c.Connector == "nats"
		}
	}
	what := fmt.Sprintf("stage %q", s.Name)
	switch {
	case s.Stage.Mode != "":
		s.Mode = physical.Mode(s.Stage.Mode)
	case reads || writes && table == nil:
		s.Mode = physical.Streaming
	default:
		s.Mode = physical.Batch
	}
	if table != nil {
		b.afterWriters(s, table)
	}
	if table != nil && s.Mode == physical.Streaming {
		b.bad(or(s.ModePos, table.Pos), "E-MODE", "build", what, fmt.Sprintf("it is streaming, but %s reads a table: rows that change later would be missed", table.Path), "write `mode: batch`, or put the reading into a stage of its own")
	}
	if s.Mode != physical.Batch {
		return
	}
	for _, n := range s.Sources() {
		c := n.Config.(physical.ReadConfig)
		if c.Bounded {
			continue
		}
		hint := "write `options: {streaming: true}`"
		if !b.doc.Plain {
			hint = "write `mode: streaming`"
		}
		if ch := b.channels[c.Channel]; ch != nil && len(ch.Writers) > 0 {
			hint += fmt.Sprintf("; `after: [%s]` does not help, as that stage has no end either", ch.Writers[0])
		}
		b.bad(or(s.ModePos, n.Pos), "E-BOUNDED", "build", what, fmt.Sprintf("mode is batch, but %s has no end", unended(n)), hint)
	}
}

// unended names a source that has no end.
func unended(n *Node) string {
	if c := n.Config.(physical.ReadConfig); c.Channel != "" {
		return fmt.Sprintf("channel %q", c.Channel)
	}
	return n.Path
}

// afterWriters: a table has no end of its own, so it is read when those who write it have ended.
func (b *builder) afterWriters(s *Stage, table *Node) {
	ch := b.channels[table.Config.(physical.ReadConfig).Channel]
	if ch.Deployed {
		return // it is read as it stands; its writers are stages of another document
	}
	for _, w := range ch.Writers {
		if !slices.ContainsFunc(s.After, func(n dsl.Name) bool { return n.Name == w }) {
			b.bad(table.Pos, "E-BOUNDED", "build", fmt.Sprintf("stage %q", s.Name), fmt.Sprintf("it reads the table of channel %q, which has no end of its own, while stage %q writes it", ch.Name, w), fmt.Sprintf("add `after: [%s]` to the stage", w))
		}
	}
}

// afterEnds refuses to wait for a stage that never ends.
func (b *builder) afterEnds(s *Stage) {
	for _, a := range s.After {
		if ended, known := b.ends[a.Name]; known && !ended {
			b.bad(a.Pos, "E-BOUNDED", "build", fmt.Sprintf("stage %q", s.Name), fmt.Sprintf("it starts after stage %q, which has no end: one of its sources has none", a.Name), "read its channel as a stream, without `after`")
		}
	}
}

func or(p, q fault.Pos) fault.Pos {
	if p.Line > 0 {
		return p
	}
	return q
}

// ending refuses what would never come out: it waits for an end that the input doesn't have.
func (b *builder) ending(s *Stage) {
	if s.Bounded {
		return
	}
	for _, n := range s.Nodes {
		switch c := n.Config.(type) {
		case physical.CombineConfig:
			if c.Window.Type == "global" {
				b.bad(n.Pos, "E-BOUNDED", "build", n.what(), "it combines in the global window over an input without an end: no result would ever come out", "add `windowing: {type: fixed, size: 1h}` to it")
			}
		case physical.AssertConfig:
			b.bad(n.Pos, "E-BOUNDED", "build", n.what(), "it compares the whole input, which has no end", "assert over a bounded source")
		}
		for _, name := range []string{"sort", "table", "limit"} {
			if key, ok := n.Weir.Entry(name); ok {
				b.bad(key.Pos, "E-BOUNDED", "build", n.what(), name+" needs the whole input, which has no end", "remove `"+name+"`")
			}
		}
	}
}

func (n *Node) what() string {
	typ := string(n.Op)
	if n.Syntax != nil {
		typ = n.Syntax.Type
	}
	if typ == n.Path {
		return typ
	}
	return fmt.Sprintf("%s %q", typ, n.Path)
}
