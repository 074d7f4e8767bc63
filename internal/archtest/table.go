package archtest

import "strings"

// Module is the path of the module that is checked.
const Module = "github.com/weir-project/weir"

// Ring is what a package is for, and with it whom it may import.
type Ring string

const (
	Words   Ring = "words"   // types, no behaviour beyond laws
	Pure    Ring = "pure"    // decisions: values in, values out
	Edge    Ring = "edge"    // input and output
	Support Ring = "support" // what every edge needs
	Test    Ring = "test"    // code for tests alone
	Wire    Ring = "wire"    // puts edges together
)

// rings names the ring of each package. A path ending in /... holds for everything below it too. A new package gets a line here, and
// ARCHITECTURE.md a word on why it exists.
var rings = []struct {
	ring     Ring
	packages string
}{
	{Words, "resources resources/mesos resources/shim"},
	{Pure, "resources/allocator resources/master resources/agent"},
	{Edge, "resources/server resources/client resources/process resources/kubernetes"},
	{Test, "resources/resourcetest"},

	{Words, "operators"},
	{Pure, "operators/plan operators/evaluate operators/autoscale"},
	{Pure, "operators/kafka operators/cassandra operators/nats operators/stream operators/flink operators/spark operators/app operators/job"},
	{Edge, "operators/admin operators/artifact operators/reconcile"},
	{Test, "operators/operatortest"},

	{Words, "pipelines/column pipelines/physical pipelines/checkpoint"},
	{Pure, "pipelines/dsl pipelines/expr pipelines/graph pipelines/compile"},
	{Pure, "pipelines/window pipelines/watermark pipelines/state pipelines/transform pipelines/codec pipelines/kernel"},
	{Edge, "pipelines/engine pipelines/python pipelines/beam"},
	{Test, "pipelines/pipetest"},

	{Words, "connectors"},
	{Pure, "connectors/kafka/record"},
	{Edge, "connectors/kafka connectors/cassandra connectors/nats connectors/file connectors/http connectors/generator connectors/discard"},
	{Test, "connectors/connectortest"},

	{Pure, "stacks"},
	{Edge, "stacks/kubernetes"},

	{Support, "internal/fault internal/lifecycle internal/store internal/security internal/telemetry internal/link internal/console internal/kube internal/isolate internal/natsserver"},
	{Test, "internal/archtest internal/flightstruth internal/mainjob internal/cli/clitest scripts charts"},

	{Pure, "benchmarks/workloads"},
	{Edge, "benchmarks/harness"},

	{Wire, "internal/cli/... cmd/... benchmarks/peers/..."}, // each peer is a program of its own
}

// everywhere may be imported from any ring: errors that serve their reader, and nothing beyond the standard library.
const everywhere = "internal/fault"

// across lists what a pure package may import of another wing's pure packages. Stacks hold both kinds of document, so they resolve them.
var across = map[string]string{
	"stacks": "pipelines/dsl pipelines/graph pipelines/compile",
}

// libraries names the folders that may import a library; it is matched as a path prefix. An empty list means any edge, support, test or
// wire package. A library that is not listed is free there as well: the list holds those that a successor should replace in one place.
var libraries = []struct{ library, packages string }{
	{"github.com/segmentio/kafka-go", "connectors/kafka operators/admin benchmarks/peers/..."},
	{"github.com/gocql/gocql", "connectors/cassandra operators/admin"},
	{"github.com/apache/cassandra-gocql-driver", ""},
	{"github.com/apache/beam", "pipelines/beam cmd/weir-beam"},
	{"github.com/nats-io", "internal/store internal/natsserver connectors/nats operators/admin internal/mainjob"},
	{"github.com/twmb/franz-go/pkg/kmsg", "connectors/kafka operators/admin benchmarks/peers/..."},
	{"github.com/twmb/franz-go", "connectors/connectortest operators/operatortest internal/mainjob benchmarks/peers/..."},
	{"github.com/spf13/cobra", "internal/cli/..."},
	{"k8s.io", "resources/kubernetes resources/resourcetest stacks/kubernetes internal/kube charts"},
}

// pureLibraries are those that words and pure packages may import: they compute and touch nothing.
var pureLibraries = "go.yaml.in/yaml/v3"

// only names the packages that may be imported by one other package alone.
var only = map[string]string{
	"pipelines/beam": "cmd/weir-beam",
}

// lean names the packages that reach the standard library and words alone, over however many steps, and why.
var lean = map[string]string{
	"cmd/weir-shim":  "it starts in a millisecond",
	"resources/shim": "weir-shim links it",
}

// alone names the packages that import nothing of Weir, and why.
var alone = map[string]string{
	"internal/flightstruth": "it is there to disagree with the engine",
	"internal/fault":        "every ring may import it",
}

// The most lines that a main and a file may have.
const (
	maxMain = 25 // all of cmd/weir
	maxFile = 600
)

// ringOf is empty for a package that the table does not know.
func ringOf(pkg string) Ring {
	for _, row := range rings {
		if listed(row.packages, pkg) {
			return row.ring
		}
	}
	return ""
}

// listed says whether a list of packages names pkg.
func listed(list, pkg string) bool {
	for _, p := range strings.Fields(list) {
		if below, tree := strings.CutSuffix(p, "/..."); tree && (pkg == below || strings.HasPrefix(pkg, below+"/")) || p == pkg {
			return true
		}
	}
	return false
}

// wing is the first folder of a path.
func wing(pkg string) string {
	w, _, _ := strings.Cut(pkg, "/")
	return w
}
