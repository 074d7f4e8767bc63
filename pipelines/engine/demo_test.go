package engine_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// The shape of the demo: ingest reads rows that are out of order by a bound, hourly counts by origin and hour and keeps the very late flights apart, daily
// reads the table back.

var (
	flightSchema = schema("time integer", "delay integer", "origin string")
	hourSchema   = schema("origin string", "flights integer", "delay_sum integer", "delay_max integer")
	delaysSchema = schema("origin string", "flights integer", "delay_sum integer", "delay_max integer", "hour timestamp")
	daySums      = schema("origin string", "flights integer", "delay_sum integer")
	dayStarts    = schema("origin string", "flights integer", "delay_sum integer", "day timestamp")
	daySchema    = schema("origin string", "day timestamp", "flights integer", "mean_delay number")
)

func schema(fields ...string) column.Schema {
	var s column.Schema
	for _, f := range fields {
		name, kind, _ := strings.Cut(f, " ")
		var k column.Kind
		if err := k.UnmarshalText([]byte(kind)); err != nil {
			panic(err)
		}
		s.Fields = append(s.Fields, column.Field{Name: name, Kind: k})
	}
	return s
}

func node(path string, op physical.Op, out column.Schema, cfg any, inputs ...string) physical.Node {
	data, err := json.Marshal(cfg)
	if err != nil {
		panic(err)
	}
	return physical.Node{Path: path, Op: op, Inputs: inputs, Out: out, Config: data}
}

const disorder = 10 * time.Minute

func demo(slots int) physical.Graph {
	hour, day := physical.WindowConfig{Type: "fixed", Size: time.Hour}, physical.WindowConfig{Type: "fixed", Size: 24 * time.Hour}
	kafka := func(topic string, partitions int) *physical.KafkaChannel {
		return &physical.KafkaChannel{Service: "events", Topic: topic, Watermarks: "_weir." + topic + ".watermarks", Partitions: partitions, Key: []string{"origin"}}
	}
	return physical.Graph{Version: 1, Pipeline: "flights",
		Channels: map[string]physical.Channel{
			"departures": {Name: "departures", Kafka: kafka("flights.departures", 4), Schema: flightSchema},
			"late":       {Name: "late", Kafka: kafka("flights.late", 3), Schema: flightSchema},
			"delays":     {Name: "delays", Cassandra: &physical.CassandraChannel{Table: "delays", PartitionKey: []string{"origin"}, ClusteringKey: []string{"hour"}}, Schema: delaysSchema},
		},
		Stages: []physical.Stage{
			{Name: "ingest", Mode: physical.Streaming, Bounded: true, Fragments: []physical.Fragment{{Name: "f0", Slots: 2, Nodes: []physical.Node{
				node("Read", physical.OpRead, flightSchema, physical.ReadConfig{Connector: "flights", Schema: flightSchema, Bounded: true, Disorder: disorder, Pace: 1000}),
				node("Time", physical.OpTime, flightSchema, physical.TimeConfig{Timestamp: "time"}, "Read"),
				node("Write", physical.OpWrite, flightSchema, physical.WriteConfig{Channel: "departures"}, "Time"),
			}}}},
			{Name: "hourly", Mode: physical.Streaming, Bounded: true, Fragments: []physical.Fragment{{Name: "f0", Slots: slots, Nodes: []physical.Node{
				node("Departures", physical.OpRead, flightSchema, physical.ReadConfig{Channel: "departures", Schema: flightSchema, Bounded: true}),
				node("PerHour", physical.OpCombine, hourSchema, physical.CombineConfig{GroupBy: []string{"origin"}, Window: hour, Aggregates: []physical.Aggregate{
					{Name: "flights", Fn: "count", Expr: "delay", Kind: column.Int64}, {Name: "delay_sum", Fn: "sum", Expr: "delay", Kind: column.Int64}, {Name: "delay_max", Fn: "max", Expr: "delay", Kind: column.Int64}}}, "Departures"),
				node("Hour", physical.OpWindowInfo, delaysSchema, physical.WindowInfoConfig{Fields: []physical.WindowField{{Name: "hour", Of: "window_start"}}, Window: hour}, "PerHour"),
				node("Delays", physical.OpWrite, delaysSchema, physical.WriteConfig{Channel: "delays"}, "Hour"),
				node("VeryLate", physical.OpFilter, flightSchema, physical.FilterConfig{Keep: "delay > 120"}, "Departures"),
				node("Late", physical.OpWrite, flightSchema, physical.WriteConfig{Channel: "late"}, "VeryLate"),
			}}}},
			{Name: "daily", Mode: physical.Batch, After: []string{"hourly"}, Bounded: true, Fragments: []physical.Fragment{{Name: "f0", Slots: 1, Nodes: []physical.Node{
				node("Delays", physical.OpRead, delaysSchema, physical.ReadConfig{Channel: "delays", Schema: delaysSchema, Bounded: true}),
				node("Time", physical.OpTime, delaysSchema, physical.TimeConfig{Timestamp: "hour"}, "Delays"),
				node("PerDay", physical.OpCombine, daySums, physical.CombineConfig{GroupBy: []string{"origin"}, Window: day, Aggregates: []physical.Aggregate{
					{Name: "flights", Fn: "sum", Expr: "flights", Kind: column.Int64}, {Name: "delay_sum", Fn: "sum", Expr: "delay_sum", Kind: column.Int64}}}, "Time"),
				node("Day", physical.OpWindowInfo, dayStarts, physical.WindowInfoConfig{Fields: []physical.WindowField{{Name: "day", Of: "window_start"}}, Window: day}, "PerDay"),
				node("Mean", physical.OpMap, daySchema, physical.MapConfig{Fields: []physical.Field{{Name: "origin", Expr: "origin", Kind: column.String}, {Name: "day", Expr: "day", Kind: column.Timestamp},
					{Name: "flights", Expr: "flights", Kind: column.Int64}, {Name: "mean_delay", Expr: "delay_sum / flights", Language: "python", Kind: column.Float64}}}, "Day"),
				node("Out", physical.OpWrite, daySchema, physical.WriteConfig{Connector: "csv"}, "Mean"),
			}}}},
		}}
}

// flights makes n rows: a minute and a half apart on the average, each displaced by less than the bound.
func flights(n int, seed uint64) [][]any {
	r := rand.New(rand.NewPCG(seed, 1))
	type row struct {
		at, shown int64
		delay     int
		origin    string
	}
	rows := make([]row, n)
	for i := range rows {
		at := int64(978307200 + i*30)
		rows[i] = row{at: at, shown: at + r.Int64N(int64(disorder/time.Second)-1), delay: r.IntN(200) - 20, origin: fmt.Sprintf("A%02d", r.IntN(20))}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return int(a.shown - b.shown) })
	out := make([][]any, n)
	for i, x := range rows {
		out[i] = []any{x.at, x.delay, x.origin}
	}
	return out
}

type sums struct{ n, sum, most int64 }

// expect computes the three results with plain maps.
func expect(rows [][]any) (delays, late, daily []string) {
	hours, days := map[string]sums{}, map[string]sums{}
	for _, r := range rows {
		at, delay, origin := r[0].(int64), int64(r[1].(int)), r[2].(string)
		for m, size := range map[*map[string]sums]int64{&hours: 3600, &days: 86400} {
			k := fmt.Sprintf("%s|%d", origin, at/size*size*1e6)
			s, ok := (*m)[k]
			if !ok {
				s.most = delay
			}
			(*m)[k] = sums{s.n + 1, s.sum + delay, max(s.most, delay)}
		}
		if delay > 120 {
			late = append(late, fmt.Sprintf(`%s %d %d`, origin, at, delay))
		}
	}
	for k, s := range hours {
		origin, hour, _ := strings.Cut(k, "|")
		delays = append(delays, fmt.Sprintf(`{"delay_max":%d,"delay_sum":%d,"flights":%d,"hour":%s,"origin":"%s"}`, s.most, s.sum, s.n, hour, origin))
	}
	for k, s := range days {
		origin, day, _ := strings.Cut(k, "|")
		mean, _ := json.Marshal(float64(s.sum) / float64(s.n))
		daily = append(daily, fmt.Sprintf(`{"day":%s,"flights":%d,"mean_delay":%s,"origin":"%s"}`, day, s.n, mean, origin))
	}
	slices.Sort(delays)
	slices.Sort(late)
	slices.Sort(daily)
	return delays, late, daily
}

func slotOf(stage string, i int) checkpoint.Slot {
	return checkpoint.Slot{Pipeline: "flights", UID: "u1", Stage: stage, Fragment: "f0", Index: i}
}

// lateRows brings the second channel into the form that expect uses.
func lateRows(t *testing.T, records []string) []string {
	t.Helper()
	out := []string{}
	for _, rec := range records {
		var r struct {
			Origin      string
			Time, Delay int64
		}
		if err := json.Unmarshal([]byte(rec), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %d %d", r.Origin, r.Time, r.Delay))
	}
	slices.Sort(out)
	return out
}
