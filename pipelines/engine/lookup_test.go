package engine_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/pipetest"
)

// joined are two inputs of a random join, and the naive answer.
type joined struct {
	keys   int // fields that must be equal: the first ones of both
	left   bool
	stream [][]any
	side   [][]any
}

func nullable(s column.Schema) column.Schema {
	for i := range s.Fields {
		s.Fields[i].Nullable = true
	}
	return s
}

// twin joins by two loops over rows.
func (j joined) twin() []string {
	var out []string
	for _, a := range j.stream {
		found := false
		for _, b := range j.side {
			if j.equal(a, b) {
				found = true
				out = append(out, rowText(append(slices.Clone(a), b[2:]...)))
			}
		}
		if !found && j.left {
			out = append(out, rowText(append(slices.Clone(a), nil, nil)))
		}
	}
	slices.Sort(out)
	return out
}

func (j joined) equal(a, b []any) bool {
	for k := range j.keys {
		if a[k] == nil || b[k] == nil || a[k] != b[k] {
			return false
		}
	}
	return true
}

func rowText(values []any) string {
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// A join equals its naive twin: nulls are equal to nothing, a key of several rows gives several rows, in a left join what matches nothing stays.
func TestALookupEqualsItsNaiveTwin(t *testing.T) {
	stream, side := nullable(schema("k string", "m integer", "n integer")), nullable(schema("k string", "m integer", "text string", "num number"))
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 5))
		domain := 1 + r.IntN(30)
		key := func() []any {
			k, m := any(fmt.Sprint("key", strings.Repeat("x", r.IntN(12)), r.IntN(domain))), any(int64(r.IntN(3)-1))
			if r.IntN(9) == 0 {
				k = nil
			}
			if r.IntN(9) == 0 {
				m = nil
			}
			return []any{k, m}
		}
		j := joined{keys: 1 + int(seed%2), left: seed%3 == 0}
		for i := range r.IntN(3000) {
			j.stream = append(j.stream, append(key(), any(int64(i))))
		}
		for i := range r.IntN(400) {
			text, num := any(fmt.Sprint("t", i)), any(float64(i)+0.5)
			if r.IntN(5) == 0 {
				text, num = nil, nil
			}
			j.side = append(j.side, append(key(), text, num))
		}
		if seed%4 == 1 { // no key twice: the columns stay where they are
			seen := map[string]bool{}
			j.side = slices.DeleteFunc(j.side, func(row []any) bool {
				k := rowText(row[:j.keys])
				defer func() { seen[k] = true }()
				return seen[k]
			})
		}
		cfg := physical.LookupConfig{Keep: j.left, Keys: []physical.LookupKey{{Field: "k", Side: "k"}, {Field: "m", Side: "m"}}[:j.keys],
			Side:   []physical.Node{node("Side", physical.OpRead, side, physical.ReadConfig{Connector: "side", Schema: side, Bounded: true})},
			Fields: []physical.LookupField{{Name: "k", Field: "k"}, {Name: "m", Field: "m"}, {Name: "n", Field: "n"}, {Name: "text", Field: "text", Side: true}, {Name: "num", Field: "num", Side: true}}}
		out := nullable(schema("k string", "m integer", "n integer", "text string", "num number"))
		g := graphOf(node("Read", physical.OpRead, stream, physical.ReadConfig{Connector: "stream", Schema: stream, Bounded: true}),
			node("Some", physical.OpFilter, stream, physical.FilterConfig{Keep: "n % 7 != 3", Language: "python"}, "Read"),
			node("Join", physical.OpLookup, out, cfg, "Some"),
			node("Out", physical.OpWrite, out, physical.WriteConfig{Connector: "out"}, "Join"))
		world := pipetest.NewWorld()
		world.Sources["stream"], world.Sources["side"] = pipetest.Rows(stream, 3, j.stream), pipetest.Rows(side, 2, j.side)
		res, err := engine.RunLocal(t.Context(), engine.Local{Graph: g, Connections: world, Log: quiet})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		j.stream = slices.DeleteFunc(j.stream, func(row []any) bool { return row[2].(int64)%7 == 3 })
		want := j.twin()
		same(t, fmt.Sprint("seed ", seed), tableRows(t, world.Table("out").Rows(), out), want)
		if c := res.Counters(); c.Written != int64(len(want)) {
			t.Errorf("seed %d: %+v, %d rows wanted", seed, c, len(want))
		}
	}
}

// tableRows brings a table's rows into the form of rowText.
func tableRows(t *testing.T, rows []string, s column.Schema) []string {
	t.Helper()
	var out []string
	for _, text := range rows {
		row, values := map[string]any{}, []any{}
		if err := json.Unmarshal([]byte(text), &row); err != nil {
			t.Fatal(err)
		}
		for _, f := range s.Fields {
			values = append(values, row[f.Name])
		}
		out = append(out, rowText(values))
	}
	slices.Sort(out)
	return out
}

// renaming is the demo with a lookup behind its channel: airports have other names from there on, which a batch side input gives.
func renaming(slots int) physical.Graph {
	g := demo(slots)
	names := schema("code string", "name string")
	cfg := physical.LookupConfig{Keys: []physical.LookupKey{{Field: "origin", Side: "code"}},
		Side: []physical.Node{
			node("Airports", physical.OpRead, names, physical.ReadConfig{Connector: "airports", Schema: names, Bounded: true}),
			node("Known", physical.OpFilter, names, physical.FilterConfig{Keep: `code != "A19"`, Language: "python"}, "Airports"),
			node("Once", physical.OpCombine, schema("code string", "name string", "n integer"), physical.CombineConfig{GroupBy: []string{"code", "name"}, Window: physical.WindowConfig{Type: "global"}, Aggregates: []physical.Aggregate{{Name: "n", Fn: "count", Kind: column.Int64}}}, "Known"),
		},
		Fields: []physical.LookupField{{Name: "time", Field: "time"}, {Name: "delay", Field: "delay"}, {Name: "origin", Field: "name", Side: true}}}
	hourly := g.Stages[1].Fragments[0].Nodes
	lookup := node("Join", physical.OpLookup, flightSchema, cfg, "Departures")
	for i := range hourly {
		for k, in := range hourly[i].Inputs {
			if in == "Departures" {
				hourly[i].Inputs[k] = "Join"
			}
		}
	}
	g.Stages[1].Fragments[0].Nodes = slices.Insert(hourly, 1, lookup)
	return g
}

// renamed are the rows as the lookup makes them: no airport keeps its code, and one is not known.
func renamed(rows [][]any) (airports, out [][]any) {
	for i := range 19 {
		airports = append(airports, []any{fmt.Sprintf("A%02d", i), fmt.Sprintf("B%02d", i/2)}, []any{fmt.Sprintf("A%02d", i), fmt.Sprintf("B%02d", i/2)})
	}
	for _, r := range rows {
		var n int
		if _, err := fmt.Sscanf(r[2].(string), "A%02d", &n); err != nil {
			panic(err)
		}
		if n < 19 {
			out = append(out, []any{r[0], r[1], fmt.Sprintf("B%02d", n/2)})
		}
	}
	return append(airports, []any{"A19", "never"}), out
}

// Two airports share a name, so slots that hold different partitions would write one row of the table: one slot here, several in the partitions.
func TestALookupIsExactWhereverItsSlotDies(t *testing.T) {
	rows := flights(2500, 31)
	for name, fault := range map[string]pipetest.Fault{
		"no fault":        nil,
		"lost commits":    pipetest.Every(pipetest.CommitBefore, 2),
		"unknown commits": pipetest.Every(pipetest.CommitUnknown, 3),
		"all kinds":       pipetest.Any(pipetest.Every(pipetest.CommitBefore, 3), pipetest.Every(pipetest.CommitUnknown, 4), pipetest.Every(pipetest.ApplyBefore, 3), pipetest.Every(pipetest.ApplyAfter, 5)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, renaming(1), rows)
				airports, want := renamed(rows)
				c.world.Sources["airports"] = pipetest.Rows(schema("code string", "name string"), 3, airports)
				c.world.Fault = fault
				c.stages("ingest", "hourly")
				c.stages("daily")
				c.check(want)
				k := c.last[slotOf("hourly", 0)].Counters
				if k.In != int64(len(rows)) || k.Late != 0 || k.Filtered < int64(len(rows)-len(want)) {
					t.Errorf("counters are %+v", k)
				}
			})
		})
	}
}

// A side input that cannot be held says how big it is, and trying again cannot help.
func TestASideInputThatIsTooBigIsRefused(t *testing.T) {
	wide := schema("k string", "v string")
	var rows [][]any
	for i := range 70 {
		rows = append(rows, []any{fmt.Sprint(i), strings.Repeat("v", 1<<20)})
	}
	world := pipetest.NewWorld()
	world.Sources["side"] = pipetest.Rows(wide, 1, rows)
	g := graphOf(elements("Create", schema("k string"), `{"k": "1"}`),
		node("Join", physical.OpLookup, wide, physical.LookupConfig{Keys: []physical.LookupKey{{Field: "k", Side: "k"}},
			Side:   []physical.Node{node("Side", physical.OpRead, wide, physical.ReadConfig{Connector: "side", Schema: wide, Bounded: true})},
			Fields: []physical.LookupField{{Name: "k", Field: "k"}, {Name: "v", Field: "v", Side: true}}}, "Create"),
		node("Out", physical.OpWrite, wide, physical.WriteConfig{Connector: "out"}, "Join"))
	var last physical.SlotReport
	slot := engine.NewSlot(engine.SlotConfig{Slot: slotOf("main", 0), Fragment: g.Stages[0].Fragments[0], Run: 1, Term: 1, Connections: world, Log: quiet,
		Report: func(r physical.SlotReport) { last = r }})
	err := slot.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Join: read side input Side") || !strings.Contains(err.Error(), "may take 64") {
		t.Errorf("error is %v", err)
	}
	if last.State != engine.StateFailed {
		t.Errorf("report is %+v", last)
	}
}

// What a user writes: a lookup in a lookup's side input, and a row time that survives the join.
func TestSideInputsMayJoinThemselves(t *testing.T) {
	g, err := compile.Pipeline(compile.Input{File: "p.yaml", Local: true, Dir: "/", Source: []byte(`
pipeline:
  transforms:
    - {type: Create, name: Events, config: {elements: [{ad: a1, at: 5}, {ad: a2, at: 15}, {ad: a3, at: 16}, {ad: a1, at: 17}]}}
    - {type: AssignTimestamps, name: Timed, input: Events, config: {timestamp: at}}
    - {type: Create, name: Ads, config: {elements: [{ad: a1, campaign: 1}, {ad: a2, campaign: 2}, {ad: a3, campaign: 9}]}}
    - {type: Create, name: Campaigns, config: {elements: [{id: 1, title: one}, {id: 2, title: two}]}}
    - {type: Join, name: Titles, input: {ads: Ads, campaigns: Campaigns}, config: {equalities: [{ads: campaign, campaigns: id}], fields: {ads: [ad], campaigns: [title]}}}
    - {type: Join, name: Named, input: {events: Timed, titles: Titles}, config: {equalities: ad, fields: {events: {}, titles: [title]}}}
    - {type: Combine, input: Named, windowing: {type: fixed, size: 10s}, config: {group_by: title, combine: {n: {value: title, fn: count}}}}
    - {type: AssertEqual, input: Combine, config: {elements: [{title: one, n: 1}, {title: one, n: 1}, {title: two, n: 1}]}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := runLocal(t, *g); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkLookup joins batches of 2,048 rows to 1,000 keys of 36 bytes, as the Yahoo benchmark does.
func BenchmarkLookup(b *testing.B) {
	ads, events := schema("ad string", "campaign string"), schema("ad string", "n integer")
	var side, stream [][]any
	for i := range 1000 {
		side = append(side, []any{fmt.Sprintf("%036d", i*7919), fmt.Sprintf("%036d", i/10)})
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1 << 20 {
		stream = append(stream, []any{side[r.IntN(1000)][0], i})
	}
	g := graphOf(node("Read", physical.OpRead, events, physical.ReadConfig{Connector: "stream", Schema: events, Bounded: true}),
		node("Join", physical.OpLookup, ads, physical.LookupConfig{Keys: []physical.LookupKey{{Field: "ad", Side: "ad"}},
			Side:   []physical.Node{node("Side", physical.OpRead, ads, physical.ReadConfig{Connector: "side", Schema: ads, Bounded: true})},
			Fields: []physical.LookupField{{Name: "ad", Field: "ad"}, {Name: "campaign", Field: "campaign", Side: true}}}, "Read"),
		node("Out", physical.OpWrite, ads, physical.WriteConfig{Connector: "discard"}, "Join"))
	for b.Loop() {
		world := pipetest.NewWorld()
		world.Sources["stream"], world.Sources["side"] = pipetest.Rows(events, 1, stream), pipetest.Rows(ads, 1, side)
		if _, err := engine.RunLocal(b.Context(), engine.Local{Graph: g, Connections: world, Log: quiet}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(stream)), "ns/row")
}
