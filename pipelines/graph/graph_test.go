package graph_test

import (
	"strings"
	"testing"

	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/graph"
	"github.com/weir-project/weir/pipelines/physical"
)

func build(t *testing.T, src string) (*graph.Graph, error) {
	t.Helper()
	doc, err := dsl.Parse("g.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return graph.Build(doc, graph.Env{Dir: "/srv"})
}

func schemaOf(n *graph.Node) string {
	var out []string
	for _, f := range n.Out.Fields {
		s := f.Name + " " + f.Kind.String()
		if f.Nullable {
			s += "?"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// TestSchemasAreInferredThroughEveryTransform follows one source through all that changes a row.
func TestSchemasAreInferredThroughEveryTransform(t *testing.T) {
	g, err := build(t, `
pipeline:
  type: chain
  transforms:
    - {type: Create, config: {elements: [{a: 1, b: x, c: 1.5, d: true, t: 2001-01-01T00:00:00Z}, {a: 2, c: 2}]}}
    - {type: AssignTimestamps, config: {timestamp: a}}
    - type: MapToFields
      config:
        language: python
        append: true
        drop: [t]
        fields: {ratio: a / 2, up: "b", long: a * 2, big: a > 1}
    - {type: WindowInto, config: {windowing: {type: fixed, size: 1m, offset: 90s}}}
    - {type: Filter, config: {keep: a > 1}}
    - type: Combine
      config:
        language: python
        group_by: [b, d]
        combine: {n: {value: up, fn: count}, a: sum, c: mean, least: {value: ratio * 2, fn: min}, some: {value: big, fn: any}}
    - {type: ExtractWindowingInfo, config: {fields: [window_end]}}
    - {type: LogForTesting}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Create":               "a integer, b string?, c number, d boolean?, t timestamp?",
		"AssignTimestamps":     "a integer, b string?, c number, d boolean?, t timestamp?",
		"MapToFields":          "a integer, b string?, c number, d boolean?, ratio number, up string?, long integer, big boolean",
		"Combine":              "b string?, d boolean?, n integer, a integer, c number, least number, some boolean",
		"ExtractWindowingInfo": "b string?, d boolean?, n integer, a integer, c number, least number, some boolean, window_end timestamp",
		"LogForTesting":        "b string?, d boolean?, n integer, a integer, c number, least number, some boolean, window_end timestamp",
	}
	for _, n := range g.Stages[0].Nodes {
		if w, ok := want[n.Path]; ok && schemaOf(n) != w {
			t.Errorf("%s:\n got %s\nwant %s", n.Path, schemaOf(n), w)
		}
		if w := n.Window; n.Path == "ExtractWindowingInfo" && (w.Type != "fixed" || w.Size.Seconds() != 60 || w.Offset.Seconds() != 30) {
			t.Errorf("the window of %s is %+v", n.Path, w)
		}
	}
}

// TestWhatComesToAnEnd: files end, and what only stages that end write.
func TestWhatComesToAnEnd(t *testing.T) {
	g, err := build(t, `
apiVersion: weir.dev/v1
kind: Pipeline
metadata: {name: p}
spec:
  channels:
    a: {kafka: {service: k}}
    tab: {cassandra: {service: c, keyspace: ks, partition_key: [id]}}
  stages:
    read: {mode: batch, after: copy, pipeline: {type: chain, transforms: [{type: ReadFromChannel, config: {channel: tab}}, {type: LogForTesting}]}}
    copy: {pipeline: {type: chain, transforms: [{type: ReadFromChannel, config: {channel: a}}, {type: WriteToChannel, config: {channel: tab}}]}}
    fill: {pipeline: {type: chain, transforms: [{type: Create, config: {elements: [{id: 1}]}}, {type: WriteToChannel, config: {channel: a}}]}}
`)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, s := range g.Stages {
		if !s.Bounded {
			t.Errorf("stage %s has no end", s.Name)
		}
		got += s.Name + " " + string(s.Mode) + ";"
	}
	if got != "fill streaming;copy streaming;read batch;" {
		t.Errorf("got %s", got)
	}
	if k := g.Channels["a"].Kafka; k.Partitions != graph.DefaultPartitions || g.Channels["tab"].Writers[0] != "copy" {
		t.Errorf("got %+v, %+v", k, g.Channels["tab"])
	}
}

func TestFilesResolveAgainstTheDocument(t *testing.T) {
	g, err := build(t, `
pipeline:
  transforms:
    - {type: ReadFromText, name: In, config: {path: ../in.txt}}
    - {type: WriteToText, input: In, config: {path: /tmp/out.txt}}
`)
	if err != nil {
		t.Fatal(err)
	}
	in := string(g.Stages[0].Nodes[0].Config.(physical.ReadConfig).Config)
	out := string(g.Stages[0].Nodes[1].Config.(physical.WriteConfig).Config)
	if in != `{"path":"/in.txt"}` || out != `{"path":"/tmp/out.txt"}` {
		t.Errorf("got %s and %s", in, out)
	}
}

// TestBrokenStagesBreakNoOthers: one mistake is told once, not again by every stage behind it.
func TestBrokenStagesBreakNoOthers(t *testing.T) {
	_, err := build(t, `
apiVersion: weir.dev/v1
kind: Pipeline
metadata: {name: p}
spec:
  channels: {a: {kafka: {service: k}}}
  stages:
    fill: {pipeline: {type: chain, transforms: [{type: Create, config: {elements: [{id: 1}]}}, {type: Filter, config: {keep: ix > 1}}, {type: WriteToChannel, config: {channel: a}}]}}
    copy: {pipeline: {type: chain, transforms: [{type: ReadFromChannel, config: {channel: a}}, {type: LogForTesting}]}}
`)
	if err == nil || strings.Count(err.Error(), "error[") != 1 || !strings.Contains(err.Error(), "g.yaml:8:126: error[E-COLUMN]") {
		t.Errorf("got %v", err)
	}
}
