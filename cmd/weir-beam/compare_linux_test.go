package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/cli/connect"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

// The test binary is weir-beam too: started without arguments, as connect.RunJob does, it runs a job.
func TestMain(m *testing.M) {
	if len(os.Args) == 1 {
		os.Exit(run(context.Background(), os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// outcome is what a run made visible. Rows are sorted: a multiset.
type outcome struct {
	rows     []string // of the file out.json
	printed  []string
	counters checkpoint.Counters
}

// document makes a pipeline of one batch stage; an OUT in the body is a path in dir.
func document(body, engine, dir string) []byte {
	text := "apiVersion: weir.dev/v1\nkind: Pipeline\nmetadata: {name: compare}\nspec:\n  stages:\n    only:\n      mode: batch\n      engine: " + engine + "\n"
	if engine == physical.EngineBeam {
		text += "      runner: prism\n"
	}
	for line := range strings.Lines(strings.Trim(body, "\n") + "\n") {
		text += "      " + line
	}
	return []byte(strings.ReplaceAll(text, "OUT", filepath.Join(dir, "out.json")))
}

func execute(t *testing.T, body, engine string) (outcome, error) {
	t.Helper()
	dir := t.TempDir()
	g, err := compile.Pipeline(compile.Input{File: "compare.yaml", Source: document(body, engine, dir), Dir: dir, Local: true})
	if err != nil {
		t.Fatal(err)
	}
	return runGraph(t, *g, dir)
}

func runGraph(t *testing.T, g physical.Graph, dir string) (outcome, error) {
	t.Helper()
	pool := connect.NewPool("test")
	defer pool.Close() //nolint:errcheck // nothing was written through it
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pool.Beam = self
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	var printed bytes.Buffer
	res, err := engine.RunLocal(ctx, engine.Local{Graph: g, Connections: pool.With(nil, "local"), Out: &printed})
	if err != nil {
		return outcome{}, err
	}
	o := outcome{printed: sortedLines(printed.String()), counters: res.Counters()}
	if data, err := os.ReadFile(filepath.Join(dir, "out.json")); err == nil {
		o.rows = sortedLines(string(data))
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 1 {
		t.Errorf("beside the output there is %v, %v", left, err)
	}
	return o, nil
}

func sortedLines(text string) []string {
	lines := slices.Collect(strings.Lines(text))
	slices.Sort(lines)
	return lines
}

// diff says how two outcomes differ; it is empty where they do not.
func diff(native, beam outcome) string {
	var b strings.Builder
	for _, c := range []struct {
		what         string
		native, beam []string
	}{{"rows", native.rows, beam.rows}, {"printed", native.printed, beam.printed}} {
		if !slices.Equal(c.native, c.beam) {
			fmt.Fprintf(&b, "%s: %d natively, %d on Beam\nnatively:\n%son Beam:\n%s", c.what, len(c.native), len(c.beam), strings.Join(c.native, ""), strings.Join(c.beam, ""))
		}
	}
	if native.counters != beam.counters {
		fmt.Fprintf(&b, "counters: %+v natively, %+v on Beam\n", native.counters, beam.counters)
	}
	return b.String()
}

func compare(t *testing.T, body string) outcome {
	t.Helper()
	native, err := execute(t, body, physical.EngineNative)
	if err != nil {
		t.Fatal("natively: ", err)
	}
	onBeam, err := execute(t, body, physical.EngineBeam)
	if err != nil {
		t.Fatal("on Beam: ", err)
	}
	if d := diff(native, onBeam); d != "" {
		t.Error(d)
	}
	return native
}

// rows is a Create with every kind of value, nulls, keys that are nearly alike, and times on the edges of windows.
const rows = `
    - type: Create
      name: Rows
      config:
        elements:
          - {k: a, t: 0,    i: 1,    f: 0.5,  b: true}
          - {k: a, t: 59,   i: -7,   f: 2.25, b: false}
          - {k: a, t: 60,   i: 3,    f: null, b: null}
          - {k: b, t: 61.25, i: null, f: 1.75, b: true}
          - {k: "", t: 61.2501, i: 12, f: -8.5, b: false}
          - {k: null, t: 119.999, i: 5, f: 4.0, b: true}
          - {k: a, t: 3600, i: 100,  f: 64.0, b: true}
          - {k: b, t: 3661, i: 2,    f: 0.125, b: null}
          - {k: a, t: -0.001, i: 8,  f: 3.5,  b: false}
          - {k: c, t: -3600, i: null, f: null, b: null}
          - {k: "a\0", t: 30, i: 4,  f: 1.0,  b: true}
    - type: AssignTimestamps
      name: Times
      input: Rows
      config: {timestamp: t}
`

// aggregates has every function over every kind that it takes.
const aggregates = `{n: {value: k, fn: count}, si: {value: i, fn: sum}, sf: {value: f, fn: sum}, lo: {value: i, fn: min}, lf: {value: f, fn: min},
          hi: {value: i, fn: max}, hf: {value: f, fn: max}, mi: {value: i, fn: mean}, mf: {value: f, fn: mean}, some: {value: b, fn: any}, every: {value: b, fn: all}}`

func combined(windowing string, by string) string {
	info := "start: window_start, end: window_end, at: timestamp"
	if strings.Contains(windowing, "sliding") {
		info = "at: timestamp"
	}
	return "pipeline:\n  type: composite\n  transforms:" + rows + `
    - type: Combine
      input: Times
      windowing: ` + windowing + `
      config:
        group_by: ` + by + `
        combine: ` + aggregates + `
    - type: ExtractWindowingInfo
      input: Combine
      config: {fields: {` + info + `}}
    - type: WriteToJson
      input: ExtractWindowingInfo
      config: {path: "OUT"}
`
}

func TestAStageHasTheSameResultsOnBeamAsNatively(t *testing.T) {
	cases := map[string]string{
		"every aggregate in the global window":       combined("{type: global}", "k"),
		"in fixed windows":                           combined("{type: fixed, size: 60s}", "k"),
		"in fixed windows with an offset":            combined("{type: fixed, size: 60s, offset: 7s}", "k"),
		"in sliding windows":                         combined("{type: sliding, size: 90s, period: 60s}", "k"),
		"in sliding windows with an offset":          combined("{type: sliding, size: 120s, period: 50ms, offset: 20ms}", "b"),
		"by several keys":                            combined("{type: fixed, size: 1h}", "[k, i, b]"),
		"by no key":                                  combined("{type: fixed, size: 1h}", "[]"),
		"maps, filters, a fan-out and a flatten":     fanOut,
		"an empty input writes an empty file":        strings.Replace(fanOut, "keep: i > 2", "keep: i > 1000", 1),
		"a combine behind a combine, and I2 of both": twice,
		"a log in the middle, and one of a table":    logs,
		"an assertion that holds":                    fmt.Sprintf(asserting, "a"),
		"rows that nobody reads are counted":         dangling,
	}
	for _, name := range slices.SortedFunc(mapsKeys(cases), cmp.Compare) {
		t.Run(name, func(t *testing.T) {
			o := compare(t, cases[name])
			if o.counters.In == 0 || o.counters.In+o.counters.Copied == 0 {
				t.Errorf("nothing was read: %+v", o.counters)
			}
		})
	}
}

func mapsKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

const fanOut = "pipeline:\n  type: composite\n  transforms:" + rows + `
    - type: Filter
      input: Times
      config: {keep: i > 2}
    - type: MapToFields
      name: Small
      input: Filter
      config: {language: python, fields: {key: k, value: i * 2, half: f / 2}}
    - type: MapToFields
      name: Large
      input: Times
      config: {language: python, fields: {key: k, value: i + 1000, half: f}}
    - type: Flatten
      input: [Small, Large]
    - type: WriteToJson
      input: Flatten
      config: {path: "OUT"}
    - type: LogForTesting
      input: Small
      config: {prefix: "small "}
`

const twice = "pipeline:\n  type: composite\n  transforms:" + rows + `
    - type: Combine
      name: Minutes
      input: Times
      windowing: {type: fixed, size: 60s}
      config: {group_by: k, combine: {n: {value: k, fn: count}, s: {value: i, fn: sum}}}
    - type: Filter
      input: Minutes
      config: {keep: n > 1}
    - type: Combine
      name: Hours
      input: Minutes
      windowing: {type: fixed, size: 3600s}
      config: {group_by: k, combine: {minutes: {value: k, fn: count}, n: {value: n, fn: sum}, most: {value: s, fn: max}}}
    - type: ExtractWindowingInfo
      input: Hours
      config: {fields: {start: window_start}}
    - type: WriteToJson
      input: ExtractWindowingInfo
      config: {path: "OUT"}
    - type: LogForTesting
      input: Filter
`

const logs = "pipeline:\n  type: composite\n  transforms:" + rows + `
    - type: LogForTesting
      name: Middle
      input: Times
    - type: MapToFields
      input: Middle
      config: {language: python, fields: {k: k, i: i}}
    - type: LogForTesting
      name: Table
      input: MapToFields
    - type: WriteToJson
      input: Middle
      config: {path: "OUT"}
weir:
  Table: {table: true, sort: [-i, k], limit: 4, title: the largest}
`

const asserting = `
pipeline:
  type: chain
  transforms:
    - type: Create
      config: {elements: [{k: a, n: 1}, {k: a, n: 1}, {k: b, n: 2}]}
    - type: Combine
      config: {group_by: k, combine: {n: {value: n, fn: sum}}}
    - type: AssertEqual
      config: {elements: [{k: %s, n: 2}, {k: b, n: 2}]}
`

const dangling = "pipeline:\n  type: composite\n  transforms:" + rows + `
    - type: Filter
      input: Times
      config: {keep: i > 2}
    - type: WriteToJson
      input: Times
      config: {path: "OUT"}
`

func TestAnAssertionThatDoesNotHoldFailsOnBeamAsNatively(t *testing.T) {
	var texts []string
	for _, e := range []string{physical.EngineNative, physical.EngineBeam} {
		_, err := execute(t, fmt.Sprintf(asserting, "c"), e)
		if err == nil || !strings.Contains(err.Error(), `1 missing ({"k":"c","n":2}), 1 unexpected ({"k":"a","n":2})`) {
			t.Fatalf("%s: %v", e, err)
		}
		texts = append(texts, err.Error())
	}
	if texts[0] != texts[1] {
		t.Errorf("natively it says\n%s\non Beam\n%s", texts[0], texts[1])
	}
}

// A comparison that cannot fail proves nothing: each bug is planted into the graph that Beam runs.
func TestAPlantedBugIsFound(t *testing.T) {
	for what, plant := range map[string][2]string{
		"a window that is one hour too long": {`"size":60000000000`, `"size":3660000000000`},
		"a sum that is a maximum":            {`"fn":"sum"`, `"fn":"max"`},
		"a key that is lost":                 {`"group_by":["k"]`, `"group_by":["b"]`},
		"a late assignment of time":          {`"timestamp":"t"`, `"timestamp":"i"`},
	} {
		t.Run(what, func(t *testing.T) {
			body := combined("{type: fixed, size: 60s}", "k")
			if what == "a late assignment of time" {
				body = strings.ReplaceAll(body, "i: null", "i: 0")
			}
			native, err := execute(t, body, physical.EngineNative)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			g, err := compile.Pipeline(compile.Input{File: "compare.yaml", Source: document(body, physical.EngineBeam, dir), Dir: dir, Local: true})
			if err != nil {
				t.Fatal(err)
			}
			planted := 0
			for i, n := range g.Stages[0].Fragments[0].Nodes {
				planted += strings.Count(string(n.Config), plant[0])
				g.Stages[0].Fragments[0].Nodes[i].Config = []byte(strings.ReplaceAll(string(n.Config), plant[0], plant[1]))
			}
			if planted == 0 {
				t.Fatalf("there is no %s in the graph", plant[0])
			}
			onBeam, err := runGraph(t, *g, dir)
			if err != nil {
				t.Fatal("the run failed, so nothing was compared: ", err)
			}
			if diff(native, onBeam) == "" {
				t.Error("the comparison did not find it")
			}
		})
	}
}
