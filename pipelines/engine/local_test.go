package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/pipetest"
)

// elements makes a create node.
func elements(path string, s column.Schema, rows ...string) physical.Node {
	var raw []json.RawMessage
	for _, r := range rows {
		raw = append(raw, json.RawMessage(r))
	}
	cfg, err := json.Marshal(map[string]any{"elements": raw})
	if err != nil {
		panic(err)
	}
	return node(path, physical.OpRead, s, physical.ReadConfig{Connector: "create", Format: "json", Config: cfg, Schema: s, Bounded: true})
}

func expected(path, input string, rows ...string) physical.Node {
	var raw []json.RawMessage
	for _, r := range rows {
		raw = append(raw, json.RawMessage(r))
	}
	return node(path, physical.OpAssert, column.Schema{}, physical.AssertConfig{Elements: raw}, input)
}

func graphOf(nodes ...physical.Node) physical.Graph {
	return physical.Graph{Version: 1, Pipeline: "test", Stages: []physical.Stage{{Name: "main", Bounded: true, Fragments: []physical.Fragment{{Name: "f0", Slots: 1, Nodes: nodes, Once: true}}}}}
}

func runLocal(t *testing.T, g physical.Graph) (engine.Result, string, error) {
	t.Helper()
	var out bytes.Buffer
	res, err := engine.RunLocal(t.Context(), engine.Local{Graph: g, Connections: pipetest.NewWorld(), Out: &out, Log: quiet})
	return res, out.String(), err
}

var people = schema("name string", "age integer", "at integer")

var peopleRows = []string{`{"name": "ann", "age": 30, "at": 0}`, `{"name": "bob", "age": 20, "at": 30}`, `{"name": "cid", "age": 20, "at": 60}`, `{"name": "dan", "age": 50, "at": 61}`}

func TestMapAndFilter(t *testing.T) {
	res, _, err := runLocal(t, graphOf(
		elements("Create", people, peopleRows...),
		node("Old", physical.OpFilter, people, physical.FilterConfig{Keep: "age > 25", Language: "python"}, "Create"),
		node("Half", physical.OpMap, schema("who string", "half number"), physical.MapConfig{Fields: []physical.Field{
			{Name: "who", Expr: "name.upper()", Language: "python", Kind: column.String}, {Name: "half", Expr: "age / 2", Language: "python", Kind: column.Float64}}}, "Old"),
		expected("Assert", "Half", `{"who": "DAN", "half": 25}`, `{"who": "ANN", "half": 15.0}`),
	))
	if err != nil {
		t.Fatal(err)
	}
	if c := res.Counters(); c.In != 4 || c.Filtered != 2 || c.Out != 2 {
		t.Errorf("counters are %+v", c)
	}
}

func TestAssertionTellsWhatIsMissingAndUnexpected(t *testing.T) {
	_, _, err := runLocal(t, graphOf(elements("Create", schema("element integer"), `{"element": 1}`, `{"element": 2}`, `{"element": 2}`), expected("Assert", "Create", "1", "2", "3", "4")))
	var a *engine.AssertionError
	if !errors.As(err, &a) {
		t.Fatalf("error is %v", err)
	}
	if !slices.Equal(a.Missing, []string{`{"element":3}`, `{"element":4}`}) || !slices.Equal(a.Unexpected, []string{`{"element":2}`}) {
		t.Errorf("missing %v, unexpected %v", a.Missing, a.Unexpected)
	}
	if want := `2 missing ({"element":3}, {"element":4}), 1 unexpected ({"element":2})`; !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v", err)
	}
}

func TestWindowsOverFlattenedBranches(t *testing.T) {
	minute := physical.WindowConfig{Type: "fixed", Size: time.Minute}
	out := schema("age integer", "n integer", "mean number", "any_old boolean")
	res, _, err := runLocal(t, graphOf(
		elements("A", people, peopleRows[:2]...),
		elements("B", people, peopleRows[2:]...),
		node("Both", physical.OpFlatten, people, struct{}{}, "A", "B"),
		node("Time", physical.OpTime, people, physical.TimeConfig{Timestamp: "at"}, "Both"),
		node("Window", physical.OpWindow, people, minute, "Time"),
		node("Sum", physical.OpCombine, out, physical.CombineConfig{GroupBy: []string{"age"}, Window: minute, Aggregates: []physical.Aggregate{
			{Name: "n", Fn: "count", Kind: column.Int64}, {Name: "mean", Fn: "mean", Expr: "age", Kind: column.Float64},
			{Name: "any_old", Fn: "any", Expr: "age > 25", Language: "python", Kind: column.Bool}}}, "Window"),
		node("Info", physical.OpWindowInfo, schema("age integer", "n integer", "mean number", "any_old boolean", "t timestamp", "s timestamp", "e timestamp"),
			physical.WindowInfoConfig{Window: minute, Fields: []physical.WindowField{{Name: "t", Of: "timestamp"}, {Name: "s", Of: "window_start"}, {Name: "e", Of: "window_end"}}}, "Sum"),
		expected("Assert", "Info",
			`{"age": 30, "n": 1, "mean": 30, "any_old": true, "t": "1970-01-01T00:00:59.999999Z", "s": "1970-01-01T00:00:00Z", "e": "1970-01-01T00:01:00Z"}`,
			`{"age": 20, "n": 1, "mean": 20, "any_old": false, "t": "1970-01-01T00:00:59.999999Z", "s": "1970-01-01T00:00:00Z", "e": "1970-01-01T00:01:00Z"}`,
			`{"age": 20, "n": 1, "mean": 20, "any_old": false, "t": "1970-01-01T00:01:59.999999Z", "s": "1970-01-01T00:01:00Z", "e": "1970-01-01T00:02:00Z"}`,
			`{"age": 50, "n": 1, "mean": 50, "any_old": true, "t": "1970-01-01T00:01:59.999999Z", "s": "1970-01-01T00:01:00Z", "e": "1970-01-01T00:02:00Z"}`),
	))
	if err != nil {
		t.Fatal(err)
	}
	if c := res.Counters(); c.In != 4 || c.Absorbed != 4 || c.Emitted != 4 || c.Written != 4 || c.Out != 0 {
		t.Errorf("counters are %+v", c)
	}
}

func TestLogPrintsLinesOrASortedTable(t *testing.T) {
	lines := node("Lines", physical.OpLog, column.Schema{}, physical.LogConfig{Prefix: "row: "}, "Create")
	top := node("Top", physical.OpLog, column.Schema{}, physical.LogConfig{Table: true, Sort: []string{"-age", "name"}, Limit: 3, Title: "the eldest"}, "Create")
	_, out, err := runLocal(t, graphOf(elements("Create", people, peopleRows...), lines, top))
	if err != nil {
		t.Fatal(err)
	}
	want := `row: {"name": "ann", "age": 30, "at": 0}
row: {"name": "bob", "age": 20, "at": 30}
row: {"name": "cid", "age": 20, "at": 60}
row: {"name": "dan", "age": 50, "at": 61}
the eldest
name  age  at
dan    50  61
ann    30   0
bob    20  30
`
	if out != want {
		t.Errorf("printed\n%s\nwant\n%s", out, want)
	}
}

func TestARunThatWasKilledBeforeItsSinksWereAppliedIsCompletedByTheNext(t *testing.T) {
	for name, point := range map[string]pipetest.Point{"before": pipetest.ApplyBefore, "after": pipetest.ApplyAfter} {
		t.Run(name, func(t *testing.T) {
			world, dir := pipetest.NewWorld(), t.TempDir()
			g := graphOf(elements("Create", people, peopleRows...), node("Write", physical.OpWrite, people, physical.WriteConfig{Connector: "csv"}, "Create"))
			world.Fault = pipetest.At(point, 1)
			_, err := engine.RunLocal(t.Context(), engine.Local{Graph: g, Connections: world, Dir: dir, Log: quiet})
			if !errors.Is(err, pipetest.ErrInjected) {
				t.Fatalf("error is %v", err)
			}
			// The next run is of a graph that reads nothing: what it writes is only what the first one promised.
			g.Stages[0].Fragments[0].Nodes[0] = elements("Create", people)
			if _, err := engine.RunLocal(t.Context(), engine.Local{Graph: g, Connections: world, Dir: dir, Log: quiet}); err != nil {
				t.Fatal(err)
			}
			if n := len(world.Table("csv").Rows()); n != len(peopleRows) {
				t.Errorf("the sink holds %d rows, want %d", n, len(peopleRows))
			}
		})
	}
}

func TestAStageRunsAfterThoseThatItNames(t *testing.T) {
	world := pipetest.NewWorld()
	table := physical.Channel{Name: "t", Cassandra: &physical.CassandraChannel{Table: "t", PartitionKey: []string{"name"}}, Schema: people}
	g := graphOf(node("Read", physical.OpRead, people, physical.ReadConfig{Channel: "t", Schema: people, Bounded: true}), node("Write", physical.OpWrite, people, physical.WriteConfig{Connector: "csv"}, "Read"))
	g.Channels = map[string]physical.Channel{"t": table}
	g.Stages[0].Name, g.Stages[0].After = "second", []string{"first"}
	first := graphOf(elements("Create", people, peopleRows...), node("Write", physical.OpWrite, people, physical.WriteConfig{Channel: "t"}, "Create")).Stages[0]
	first.Name = "first"
	g.Stages = append(g.Stages, first)
	if _, err := engine.RunLocal(t.Context(), engine.Local{Graph: g, Connections: world, Log: quiet}); err != nil {
		t.Fatal(err)
	}
	if n := len(world.Table("csv").Rows()); n != len(peopleRows) {
		t.Errorf("the second stage wrote %d rows, want %d", n, len(peopleRows))
	}
}

func TestACancelledRunReturnsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := pipetest.NewWorld()
		world.Sources["flights"] = pipetest.Rows(flightSchema, 1, flights(5000, 1))
		g := graphOf(node("Read", physical.OpRead, flightSchema, physical.ReadConfig{Connector: "flights", Schema: flightSchema, Bounded: true, Pace: 100}),
			node("Write", physical.OpWrite, flightSchema, physical.WriteConfig{Connector: "csv"}, "Read"))
		cause := errors.New("the user pressed a key")
		ctx, cancel := context.WithCancelCause(t.Context())
		var seen []string
		go func() { time.Sleep(2500 * time.Millisecond); cancel(cause) }()
		_, err := engine.RunLocal(ctx, engine.Local{Graph: g, Connections: world, Dir: t.TempDir(), Log: quiet, Progress: func(p engine.LocalProgress) {
			if p.Report.Counters.In > 0 {
				seen = append(seen, p.Report.State)
			}
		}})
		if !errors.Is(err, cause) {
			t.Errorf("error is %v", err)
		}
		if len(seen) < 2 || len(world.Table("csv").Rows()) != 0 {
			t.Errorf("progress was told %d times, the sink holds %d rows", len(seen), len(world.Table("csv").Rows()))
		}
	})
}

func TestWhatALocalRunCannotDoIsRefusedBeforeItReads(t *testing.T) {
	g := graphOf(elements("Create", people, peopleRows...), node("Write", physical.OpWrite, people, physical.WriteConfig{Channel: "k"}, "Create"))
	g.Channels = map[string]physical.Channel{"k": {Name: "k", Kafka: &physical.KafkaChannel{Topic: "k", Partitions: 1}}}
	if _, _, err := runLocal(t, g); err == nil || !strings.Contains(err.Error(), "needs a transaction") {
		t.Errorf("error is %v", err)
	}
}

func TestBadGraphsSayWhichNode(t *testing.T) {
	for want, nodes := range map[string][]physical.Node{
		`Keep: keep "age + 1" makes values of type integer`: {node("Keep", physical.OpFilter, people, physical.FilterConfig{Keep: "age + 1", Language: "python"}, "Create")},
		`Keep: input "Nothing" is not a node before it`:     {node("Keep", physical.OpFilter, people, physical.FilterConfig{Keep: "age > 1"}, "Nothing")},
		`Write: channel c is not in the graph`:              {node("Write", physical.OpWrite, people, physical.WriteConfig{Channel: "c"}, "Create")},
		`Time: timestamp "name" is of type string`:          {node("Time", physical.OpTime, people, physical.TimeConfig{Timestamp: "name"}, "Create")},
		`Sort: sort size is not a column`:                   {node("Sort", physical.OpLog, people, physical.LogConfig{Sort: []string{"-size"}}, "Create")},
		`Odd: the engine has no operator "odd"`:             {node("Odd", "odd", people, struct{}{}, "Create")},
		`Sum: group_by city is not a column`:                {node("Sum", physical.OpCombine, people, physical.CombineConfig{GroupBy: []string{"city"}}, "Create")},
	} {
		_, _, err := runLocal(t, graphOf(append([]physical.Node{elements("Create", people, peopleRows...)}, nodes...)...))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestADamagedManifestSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main-f0.manifest"), []byte(`{"version": 1, "progr`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := engine.RunLocal(t.Context(), engine.Local{Graph: graphOf(elements("Create", people)), Connections: pipetest.NewWorld(), Dir: dir, Log: quiet})
	if err == nil || !strings.Contains(err.Error(), "delete it to begin anew") {
		t.Errorf("error is %v", err)
	}
}
