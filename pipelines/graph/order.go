package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/dsl"
)

// edge says that a stage comes before another, and where the document says so.
type edge struct {
	from, to string
	by       string // "channel departures", "after"
	pos      fault.Pos
}

// order sorts the stages so that writers come before readers and `after` holds, in the document's order where that leaves a choice.
func (b *builder) order() []*dsl.Stage {
	edges := b.edges()
	var out []*dsl.Stage
	state := map[string]int{} // 1: on the way, 2: done
	var way []edge
	var visit func(s *dsl.Stage) bool
	visit = func(s *dsl.Stage) bool {
		if state[s.Name] == 2 {
			return true
		}
		state[s.Name] = 1
		for _, e := range edges {
			if e.to != s.Name {
				continue
			}
			way = append(way, e)
			if state[e.from] == 1 {
				b.cycle(way)
				return false
			}
			if !visit(b.stageNamed(e.from)) {
				return false
			}
			way = way[:len(way)-1]
		}
		state[s.Name] = 2
		out = append(out, s)
		return true
	}
	for _, s := range b.doc.Stages {
		if !visit(s) {
			return nil
		}
	}
	return out
}

func (b *builder) stageNamed(name string) *dsl.Stage {
	for _, s := range b.doc.Stages {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func (b *builder) edges() []edge {
	var out []edge
	names := make([]string, len(b.doc.Stages))
	for i, s := range b.doc.Stages {
		names[i] = s.Name
	}
	for _, s := range b.doc.Stages {
		for _, t := range s.Transforms {
			v := t.Config.Get("channel")
			if v == nil || t.Type != "ReadFromChannel" || b.channels[v.Text] == nil || b.channels[v.Text].Deployed {
				continue // the writers of a deployed channel are stages of another document
			}
			for _, w := range b.channels[v.Text].Writers {
				out = append(out, edge{w, s.Name, fmt.Sprintf("channel %s", v.Text), v.Pos})
			}
		}
		for _, a := range s.After {
			if b.stageNamed(a.Name) == nil {
				b.bad(a.Pos, "E-STAGE", "build", fmt.Sprintf("stage %q", s.Name), fmt.Sprintf("after names %q, which is no stage (stages: %s)", a.Name, strings.Join(names, ", ")), fault.DidYouMean(a.Name, names, "name a stage of this pipeline"))
				continue
			}
			out = append(out, edge{a.Name, s.Name, "after", a.Pos})
		}
	}
	return out
}

// cycle prints the circle that the last edge of the way closes, in the direction of the data.
func (b *builder) cycle(way []edge) {
	last := way[len(way)-1]
	start := slices.IndexFunc(way, func(e edge) bool { return e.to == last.from })
	circle := slices.Clone(way[start:])
	slices.Reverse(circle)
	text := circle[0].from
	for _, e := range circle {
		text += fmt.Sprintf(" -(%s)-> %s", e.by, e.to)
	}
	b.bad(circle[len(circle)-1].pos, "E-CYCLE", "build", "pipeline "+b.doc.Name, "its stages form a circle: "+text, "let one of them read another channel, or start after another stage")
}
