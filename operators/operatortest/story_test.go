package operatortest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/kafka"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

// agent has 4 cpus, 4 GiB, 50 GiB, ten ports and two addresses.
func agent() resources.Resources {
	return resources.Resources{
		{Name: resources.CPUs, Scalar: 4000}, {Name: resources.Mem, Scalar: 4096_000}, {Name: resources.Disk, Scalar: 51200_000},
		{Name: resources.Ports, Ranges: []resources.Range{{Begin: 20000, End: 20009}}}, {Name: resources.Addresses, Set: []string{"127.20.0.1", "127.20.0.2"}},
	}
}

// flights is a small pipeline in the shape of the main one: two streaming stages and a batch that comes after.
func flights() physical.Graph {
	fields := column.Schema{Fields: []column.Field{{Name: "origin", Kind: column.String}, {Name: "hour", Kind: column.Timestamp}, {Name: "flights", Kind: column.Int64}}}
	stage := func(name string, slots int, after ...string) physical.Stage {
		return physical.Stage{Name: name, After: after, Bounded: true, Fragments: []physical.Fragment{{
			Name: "f0", Slots: slots, Changelog: "_weir.flights." + name + ".f0.changelog", Outbox: "_weir.flights." + name + ".f0.outbox"}}}
	}
	return physical.Graph{
		Pipeline: "flights", Stages: []physical.Stage{stage("ingest", 1), stage("hourly", 6), stage("daily", 2, "hourly")},
		Channels: map[string]physical.Channel{
			"departures": {Name: "departures", Schema: fields, Writers: []string{"ingest"}, Readers: []string{"hourly"},
				Kafka: &physical.KafkaChannel{Service: "events", Topic: "flights.departures", Watermarks: "_weir.flights.departures.watermarks", Partitions: 6}},
			"delays": {Name: "delays", Schema: fields, Writers: []string{"hourly"},
				Cassandra: &physical.CassandraChannel{Service: "serving", Keyspace: "flights", Table: "delays", PartitionKey: []string{"origin"}, ClusteringKey: []string{"hour"}}},
		},
	}
}

func newWorld(operator string, size, agents int) *World {
	names := map[string]string{operators.Kafka: "events", operators.Cassandra: "serving", operators.Stream: "workers"}
	all := map[resources.AgentID]resources.Resources{}
	for i := range agents {
		all[resources.AgentID(fmt.Sprintf("a%d", i+1))] = agent()
	}
	w := NewWorld(operators.ServiceSpec{Stack: "smack", Name: names[operator], Operator: operator, Size: size}, all)
	if operator == operators.Stream {
		w.Graphs = []physical.Graph{flights()}
		w.Services = map[string]operators.ServiceSpec{"events": {Stack: "smack", Name: "events", Operator: operators.Kafka, Size: 1, StorageMiB: 2048},
			"serving": {Stack: "smack", Name: "serving", Operator: operators.Cassandra, Size: 1}}
		w.Runs = []stream.Run{{PipelineRun: physical.PipelineRun{UID: "u1", Run: 1, Graph: flights()}, Ended: map[string]bool{}}}
	}
	return w
}

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		var w *World
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "world" {
				var operator string
				size, agents := 1, 1
				d.ScanArgs(t, "operator", &operator)
				d.MaybeScanArgs(t, "size", &size)
				d.MaybeScanArgs(t, "agents", &agents)
				w = newWorld(operator, size, agents)
				return w.Plan().String()
			}
			return tell(t, w, d)
		})
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tell does one line of a story and answers with what is to be seen.
func tell(t *testing.T, w *World, d *datadriven.TestData) string {
	pod := ""
	if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
		pod = d.CmdArgs[0].Key
	}
	switch d.Cmd {
	case "pass":
		return lines(w.Pass())
	case "plan":
		return w.Plan().String()
	case "changes":
		return w.Plan().Preview()
	case "wait":
		dur, err := time.ParseDuration(pod)
		must(t, err)
		w.Now = w.Now.Add(dur)
	case "running":
		w.Status(pod, resources.Running, 0)
	case "answers":
		w.Answer(pod)
	case "fails":
		w.Status(pod, resources.Failed, 137)
	case "ended":
		w.Status(pod, resources.Killed, 0)
	case "unreachable":
		w.Status(pod, resources.Unreachable, 0)
	case "blind":
		w.Blind = pod == "yes"
	case "beside":
		w.Beside = pod == "ready"
	case "size":
		n, err := strconv.Atoi(pod)
		must(t, err)
		w.Spec.Size = n
	case "memory":
		n, err := strconv.ParseInt(pod, 10, 64)
		must(t, err)
		w.Spec.MemoryMiB = n
	case "pause":
		w.Paused[pod] = true
	case "resume":
		delete(w.Paused, pod)
	case "stage-ended":
		w.Runs[0].Ended[pod] = true
		w.assign()
	case "topic":
		partitions, replication := 1, 1
		d.MaybeScanArgs(t, "partitions", &partitions)
		d.MaybeScanArgs(t, "replication", &replication)
		must(t, w.topic(pod, partitions, replication))
		return w.layout()
	case "layout":
		return w.layout()
	case "copied":
		w.copied()
	case "lift-cordon":
		w.kafka.cordoned[w.broker(pod)] = false
	case "check-size":
		return checkSize(t, w, pod)
	case "settle":
		return settle(w)
	case "slots":
		return slots(w)
	case "topics":
		return topics(w)
	default:
		t.Fatalf("unknown command %q", d.Cmd)
	}
	return w.Plan().String()
}

func checkSize(t *testing.T, w *World, size string) string {
	n, err := strconv.Atoi(size)
	must(t, err)
	want := w.Spec
	want.Size = n
	if err := kafka.CheckSize(w.Spec, want, w.Observed().Kafka); err != nil {
		var b strings.Builder
		must(t, fault.Render(&b, err, false))
		return b.String()
	}
	return "ok\n"
}

func settle(w *World) string {
	var out []string
	for range 200 {
		out = append(out, w.Pass()...)
		if len(w.Plan().Candidates(w.Now)) == 0 && w.Plan().Summary() == "complete" {
			return lines(append(out, "complete"))
		}
		w.Move()
	}
	return lines(append(out, "not complete:", w.Plan().String()))
}

func slots(w *World) string {
	var out []string
	for _, o := range w.State.Slots {
		task := o.Task
		if task == "" {
			task = "nobody"
		}
		out = append(out, fmt.Sprintf("%s term %d: %s", o.Slot, o.Term, task))
	}
	return lines(out)
}

func topics(w *World) string {
	var out []string
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range w.topics {
			if !yield(n) {
				return
			}
		}
	}) {
		t := w.topics[name]
		settings, err := json.Marshal(t.Settings) // keys sorted
		if err != nil {
			return err.Error()
		}
		out = append(out, fmt.Sprintf("%s: %d partitions, replication %d, %s", name, t.Partitions, t.Replication, settings))
	}
	return lines(out)
}
