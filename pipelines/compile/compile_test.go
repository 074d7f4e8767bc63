package compile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/physical"
)

var services = map[string]string{"events": "kafka", "serving": "cassandra", "bus": "nats", "workers": "stream"}

// compileText is what the scenario files show: the graph, or every diagnostic as a terminal prints it.
func compileText(t *testing.T, in compile.Input) string {
	t.Helper()
	g, err := compile.Pipeline(in)
	if err == nil {
		return compile.Explain(g)
	}
	var b strings.Builder
	if werr := fault.Render(&b, err, false); werr != nil {
		t.Fatal(werr)
	}
	if fault.ExitCode(err) != fault.ExitInvalid {
		t.Errorf("exit code %d for %v", fault.ExitCode(err), err)
	}
	return b.String()
}

func deployed(ref string) (physical.Channel, bool) {
	switch ref {
	case "flights/delays":
		return physical.Channel{Name: "delays", Cassandra: &physical.CassandraChannel{Service: "serving", Keyspace: "flights", Table: "delays", PartitionKey: []string{"origin"}, ClusteringKey: []string{"hour"}},
			Schema: column.Schema{Fields: []column.Field{{Name: "origin", Kind: column.String, Nullable: true}, {Name: "flights", Kind: column.Int64}, {Name: "delay_sum", Kind: column.Int64, Nullable: true},
				{Name: "delay_max", Kind: column.Int64, Nullable: true}, {Name: "hour", Kind: column.Timestamp}}}, Writers: []string{"hourly"}, Readers: []string{"daily"}}, true
	case "flights/departures":
		return physical.Channel{Name: "departures", Kafka: &physical.KafkaChannel{Service: "events", Topic: "flights.departures", Watermarks: "_weir.flights.departures.watermarks", Partitions: 12, Key: []string{"origin"}},
			Schema: column.Schema{Fields: []column.Field{{Name: "origin", Kind: column.String}, {Name: "delay", Kind: column.Int64}}}}, true
	}
	return physical.Channel{}, false
}

// TestScenarios reads testdata: `pipeline` compiles a document for a stack, `run` as `weir run` does, `catalog` a file of stacks/catalog.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			in := compile.Input{File: "p.yaml", Source: []byte(d.Input + "\n"), Services: services, Channels: deployed, Dir: "/srv"}
			switch d.Cmd {
			case "pipeline":
			case "run":
				in.Services, in.Local = nil, true
			case "catalog":
				name := d.CmdArgs[0].Key
				src, err := os.ReadFile(filepath.Join("..", "..", "stacks", "catalog", "flights", name))
				if err != nil {
					t.Fatal(err)
				}
				in.File, in.Source = name, src
				if in.Local = d.HasArg("local"); in.Local {
					in.Services = nil
				}
			default:
				return fmt.Sprintf("unknown command %s", d.Cmd)
			}
			return compileText(t, in)
		})
	})
}
