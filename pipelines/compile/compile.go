package compile

import (
	"encoding/json"
	"fmt"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/graph"
	"github.com/weir-project/weir/pipelines/physical"
)

// Input is all that a compilation depends on.
type Input struct {
	File     string                                    // for diagnostics, and the name of a plain Beam YAML pipeline
	Source   []byte                                    // the document
	Services map[string]string                         // operator by service name; nil where it is unknown (`weir run`)
	Channels func(ref string) (physical.Channel, bool) // a deployed pipeline's channel by "pipeline/channel"; may be nil
	Local    bool                                      // `weir run`: one process, no Kafka between its stages
	Dir      string                                    // absolute directory of the file: paths resolve against it (C11)
}

// Pipeline compiles a document. The error is a fault or a fault.List with every mistake found, each of fault.ExitInvalid.
func Pipeline(in Input) (*physical.Graph, error) {
	doc, err := dsl.Parse(in.File, in.Source)
	if err != nil {
		return nil, err
	}
	logical, err := graph.Build(doc, graph.Env{Services: in.Services, Channels: in.Channels, Dir: in.Dir})
	if err != nil {
		return nil, err
	}
	c := &compiler{in: in, doc: doc, logical: logical}
	out := &physical.Graph{Version: physical.FormatVersion, Pipeline: doc.Name, Channels: c.channels()}
	for _, s := range logical.Stages {
		out.Stages = append(out.Stages, c.stage(s))
	}
	if err := c.errs.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

// compiler gathers mistakes.
type compiler struct {
	in      Input
	doc     *dsl.Document
	logical *graph.Graph
	errs    fault.List
}

func (c *compiler) bad(p fault.Pos, code, subject, cause, hint string) {
	c.errs.Add(c.doc.Text.Fault(p, code, "compile", subject, cause, hint))
}

// channels gives topics their names (C6). A deployed channel keeps those of its pipeline.
func (c *compiler) channels() map[string]physical.Channel {
	out := map[string]physical.Channel{}
	for ref, ch := range c.logical.Channels {
		p := ch.Channel
		if p.Kafka != nil && !ch.Deployed {
			k := *p.Kafka
			k.Topic = fmt.Sprintf("%s.%s", c.doc.Name, ch.Name)
			k.Watermarks = fmt.Sprintf("_weir.%s.%s.watermarks", c.doc.Name, ch.Name)
			p.Kafka = &k
		}
		out[ref] = p
	}
	return out
}

// stage cuts a stage into its fragments: one in this version, as what would need an exchange runs as one slot or is refused.
func (c *compiler) stage(s *graph.Stage) physical.Stage {
	out := physical.Stage{Name: s.Name, Mode: s.Mode, Guarantee: s.Guarantee, MinWorkers: s.MinWorkers, MaxWorkers: s.MaxWorkers,
		CommitInterval: s.CommitInterval, Bounded: s.Bounded}
	if s.Engine == physical.EngineBeam {
		out.Engine, out.Runner = s.Engine, s.Runner
		c.beam(s)
	}
	if out.Guarantee == "" {
		out.Guarantee = ExactlyOnce
	}
	for _, a := range s.After {
		out.After = append(out.After, a.Name)
	}
	out.Fragments = []physical.Fragment{c.fragment(s)}
	return out
}

func (c *compiler) fragment(s *graph.Stage) physical.Fragment {
	f := physical.Fragment{Name: "f0", Nodes: c.nodes(s.Nodes)}
	d := c.divide(s)
	f.Slots, f.SlotsReason, f.Key = d.slots, d.reason, d.key
	prefix := fmt.Sprintf("_weir.%s.%s.%s", c.doc.Name, s.Name, f.Name)
	f.Changelog = prefix + ".changelog"
	for _, n := range s.Nodes {
		if g, ok := c.guarantee(s, n); ok {
			f.Sinks = append(f.Sinks, g)
		}
		c.here(n)
		f.Once = f.Once || gathers(n) != ""
		if c.outbox(n) {
			f.Outbox = prefix + ".outbox"
		}
	}
	f.Once = f.Once || s.Engine == physical.EngineBeam
	c.possible(s, f)
	c.timed(s)
	f.Fingerprint = fingerprint(f)
	return f
}

// nodes encodes the transforms, sources first.
func (c *compiler) nodes(all []*graph.Node) []physical.Node {
	var sources, rest []physical.Node
	for _, n := range all {
		p := physical.Node{Path: n.Path, Op: n.Op, Out: n.Out, Line: n.Pos.Line}
		for _, in := range n.Inputs {
			p.Inputs = append(p.Inputs, in.Path)
		}
		config := n.Config
		if l, ok := config.(physical.LookupConfig); ok {
			l.Side = c.nodes(n.Side)
			config = l
		}
		if config != nil {
			raw, err := json.Marshal(config)
			if err != nil {
				c.bad(n.Pos, "E-TYPE", n.Path, err.Error(), "write finite numbers")
				continue
			}
			p.Config = raw
		}
		if n.Op == physical.OpRead {
			sources = append(sources, p)
		} else {
			rest = append(rest, p)
		}
	}
	return append(sources, rest...)
}
