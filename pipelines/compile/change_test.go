package compile_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/physical"
)

func flights(t *testing.T, edits ...string) *physical.Graph {
	t.Helper()
	src, err := os.ReadFile("../../stacks/catalog/flights/flights.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(src)
	for i := 0; i+1 < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			t.Fatalf("the catalogue file does not hold %q any more", edits[i])
		}
		text = strings.Replace(text, edits[i], edits[i+1], 1)
	}
	g, err := compile.Pipeline(compile.Input{File: "flights.yaml", Source: []byte(text), Services: services, Dir: "/srv"})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestChangesOfARunningPipeline tells for each edit of the demo what it means for the one that runs.
func TestChangesOfARunningPipeline(t *testing.T) {
	cases := []struct {
		name  string
		edits []string
		kind  compile.ChangeKind
		want  string // all notes or reasons
	}{
		{"nothing", nil, compile.Same, ""},
		{"lines move", []string{"  stages:\n", "\n\n  # more\n  stages:\n"}, compile.Same, ""},
		{"a filter changes", []string{"keep: delay > 120", "keep: delay > 60"}, compile.GoesOn, "stage hourly: VeryLate changes"},
		{"a filter is renamed", []string{"name: VeryLate", "name: TooLate", "input: VeryLate", "input: TooLate"}, compile.GoesOn, "stage hourly: TooLate is new, Late changes, VeryLate is gone"},
		{"the pace changes", []string{"pace: 10000", "pace: 500"}, compile.GoesOn, "stage ingest: ReadFromCsv changes"},
		{"more workers", []string{"max: 2", "max: 4"}, compile.GoesOn, "stage hourly: its settings change"},
		{"another commit interval", []string{"guarantee: exactly_once", "guarantee: exactly_once\n      commit_interval: 2s"}, compile.GoesOn, "stage hourly: its settings change"},
		{"another window", []string{"size: 1h", "size: 30m"}, compile.Refused,
			"stage hourly: window of PerHour: fixed 1h is gone or another now; stage hourly: window of PerHour: fixed 30m is new"},
		{"another aggregate", []string{"delay_max: {value: delay, fn: max}", "delay_max: {value: delay, fn: min}"}, compile.Refused,
			"stage hourly: aggregate delay_max of PerHour: max(delay)  integer is gone or another now; stage hourly: aggregate delay_max of PerHour: min(delay)  integer is new"},
		{"the combine is renamed", []string{"name: PerHour", "name: EachHour", "input: PerHour", "input: EachHour"}, compile.Refused, "combine PerHour: group_by [origin string] is gone"},
		{"another file", []string{"path: data/flights-2001-01.csv.gz", "path: data/other.csv.gz"}, compile.Refused, `/srv/data/other.csv.gz"} is new`},
		{"more partitions", []string{"partitions: 12", "partitions: 24", "max: 2", "max: 24"}, compile.Refused, "stage hourly: 12 slots become 24 (24 partitions of departures)"},
		{"another key", []string{"partitions: 3, key: [origin]", "partitions: 3, key: [destination]"}, compile.Refused, "channel late: topic flights.late of events, 3 partitions, key origin becomes topic flights.late of events, 3 partitions, key destination"},
		{"another type of a field", []string{"distance:    {type: integer}", "distance:    {type: number}"}, compile.Refused, "channel departures: the field distance was integer and becomes number"},
		{"a field is gone", []string{"                  distance:    {type: integer}   # miles\n", ""}, compile.Refused, "channel departures: the field distance is gone"},
		{"a field more", []string{"distance:    {type: integer}", "distance:    {type: integer}\n                  carrier: {type: string}"}, compile.GoesOn, "channel departures: the field carrier is new"},
		{"a table sorted no more", []string{"      weir:\n        WriteToCsv: {sort: [origin, day]}\n", ""}, compile.GoesOn, "stage daily: WriteToCsv changes"},
		{"a table's sink is renamed", []string{"name: Delays", "name: DelayTable"}, compile.Refused, "stage hourly: sink Delays: delays is gone or another now; stage hourly: sink DelayTable: delays is new"},
		{"a column more of a table", []string{"delay_max: {value: delay, fn: max}", "delay_max: {value: delay, fn: max}\n                delay_min: {value: delay, fn: min}"}, compile.Refused, "channel delays: the field delay_min is new, and tables are not altered yet"},
		{"another pipeline", []string{"metadata: {name: flights}", "metadata: {name: trains}"}, compile.Refused, "pipeline flights: its name becomes trains"},
	}
	// What stands in topics and tables, no new run can mend.
	fixed := []string{"more partitions", "another key", "another type of a field", "a field is gone", "a column more of a table", "another pipeline"}
	old := flights(t)
	for _, c := range cases {
		change, err := compile.Compatible(old, flights(t, c.edits...))
		if change.Kind != c.kind || (err != nil) != (c.kind == compile.Refused) {
			t.Errorf("%s: got %s (%v), want %s; error %v", c.name, change.Kind, change.Notes, c.kind, err)
			continue
		}
		var texts []string
		for _, r := range append(change.Notes, change.Reasons...) {
			texts = append(texts, r.String())
		}
		if got := strings.Join(texts, "; "); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if c.kind != compile.Refused {
			continue
		}
		command := "weir rerun flights STACK.yaml"
		if slices.Contains(fixed, c.name) {
			command = "weir down --purge"
		}
		if fault.ExitCode(err) != fault.ExitInvalid || change.Command != command {
			t.Errorf("%s: exit code %d, command %q, want %q", c.name, fault.ExitCode(err), change.Command, command)
		}
	}
}

func TestStagesComeAndGo(t *testing.T) {
	all, fewer := flights(t), flights(t)
	fewer.Stages = fewer.Stages[:2]
	if change, err := compile.Compatible(fewer, all); err != nil || change.Kind != compile.GoesOn || change.Notes[0].Subject != "stage daily" {
		t.Errorf("a stage more: %+v, %v", change, err)
	}
	if change, err := compile.Compatible(all, fewer); err == nil || change.Reasons[0].String() != "stage daily: it is gone, with its positions and state" {
		t.Errorf("a stage less: %+v, %v", change, err)
	}
}

// TestGraphsSurviveTheWire: what a worker decodes compiles to the same text, and is the same graph to Compatible.
func TestGraphsSurviveTheWire(t *testing.T) {
	g := flights(t)
	raw, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	var back physical.Graph
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(&back)
	if err != nil {
		t.Fatal(err)
	}
	if string(raw) != string(again) {
		t.Errorf("got\n%s\nwant\n%s", again, raw)
	}
	if compile.Explain(&back) != compile.Explain(g) {
		t.Error("it prints otherwise")
	}
	if change, err := compile.Compatible(g, &back); err != nil || change.Kind != compile.Same {
		t.Errorf("got %+v, %v", change, err)
	}
}

// TestTheSameDocumentCompilesToTheSameGraph: a graph is hashed and compared, so nothing in it may depend on the order of a map.
func TestTheSameDocumentCompilesToTheSameGraph(t *testing.T) {
	first, err := json.Marshal(flights(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		next, err := json.Marshal(flights(t))
		if err != nil {
			t.Fatal(err)
		}
		if string(next) != string(first) {
			t.Fatalf("got\n%s\nwant\n%s", next, first)
		}
	}
}

func TestPhysicalNamesAndConfigs(t *testing.T) {
	g := flights(t)
	hourly := g.Stages[1].Fragments[0]
	if hourly.Changelog != "_weir.flights.hourly.f0.changelog" || hourly.Outbox != "_weir.flights.hourly.f0.outbox" || hourly.Once || hourly.Slots != 12 {
		t.Errorf("hourly: %+v", hourly)
	}
	if ingest := g.Stages[0].Fragments[0]; ingest.Outbox != "" || ingest.Once || len(ingest.Fingerprint) != 64 {
		t.Errorf("ingest: %+v", ingest)
	}
	if daily := g.Stages[2].Fragments[0]; daily.Outbox == "" || !daily.Once || strings.Join(daily.Key, ",") != "origin" {
		t.Errorf("daily: %+v", daily)
	}
	var c physical.CombineConfig
	if err := json.Unmarshal(hourly.Nodes[1].Config, &c); err != nil {
		t.Fatal(err)
	}
	if a := c.Aggregates[0]; a.Fn != "count" || a.Expr != "" || c.Window.Size.Hours() != 1 {
		t.Errorf("combine: %+v", c)
	}
	if g.Channels["departures"].Kafka.Watermarks != "_weir.flights.departures.watermarks" || g.Version != physical.FormatVersion {
		t.Errorf("channels: %+v", g.Channels)
	}
}

// FuzzPipeline: no document makes the compiler panic, and whatever compiles prints and survives the wire.
func FuzzPipeline(f *testing.F) {
	for _, name := range []string{"flights.yaml", "worst.yaml"} {
		src, err := os.ReadFile("../../stacks/catalog/flights/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte("pipeline:\n  transforms:\n    - {type: Create, config: {elements: [{a: 1, b: x}, {a: 2.5}]}}\n    - {type: Combine, input: Create, windowing: {type: sliding, size: 5, period: 1}, config: {language: python, group_by: b, combine: {n: {value: a * 2, fn: mean}}}}\n    - {type: LogForTesting, input: [Combine, Combine]}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		g, err := compile.Pipeline(compile.Input{File: "f.yaml", Source: src, Services: services, Channels: deployed, Dir: "/srv"})
		if err != nil {
			if fault.ExitCode(err) != fault.ExitInvalid {
				t.Errorf("exit code %d for %v", fault.ExitCode(err), err)
			}
			return
		}
		raw, err := json.Marshal(g)
		if err != nil || len(compile.Explain(g)) == 0 {
			t.Fatalf("%s: %v", raw, err)
		}
		if change, err := compile.Compatible(g, g); err != nil || change.Kind != compile.Same {
			t.Errorf("it is not compatible with itself: %+v %v", change, err)
		}
	})
}

// The server adds to a graph where its changelogs are; a plan compares it with one that comes from the file.
func TestWhatTheServerAddsIsNoChange(t *testing.T) {
	runs := flights(t)
	for i := range runs.Stages {
		for j := range runs.Stages[i].Fragments {
			runs.Stages[i].Fragments[j].Home = "events"
		}
	}
	change, err := compile.Compatible(runs, flights(t))
	if err != nil || change.Kind != compile.Same {
		t.Errorf("the same file is judged %+v, %v", change, err)
	}
	if runs.Stages[0].Fragments[0].Home != "events" {
		t.Error("the comparison wrote into the graph")
	}
}
