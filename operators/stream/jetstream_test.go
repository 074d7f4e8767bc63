package stream

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/pipelines/physical"
)

func node(t *testing.T, op physical.Op, config string) physical.Node {
	t.Helper()
	raw := json.RawMessage(config)
	if !json.Valid(raw) {
		t.Fatalf("%s is no JSON", config)
	}
	return physical.Node{Path: "N", Op: op, Config: raw}
}

func TestStreamsThatAreWrittenAreMadeAndThoseThatAreReadAreNot(t *testing.T) {
	g := physical.Graph{Pipeline: "p", Stages: []physical.Stage{{Name: "s", Fragments: []physical.Fragment{{Name: "f0", Nodes: []physical.Node{
		node(t, physical.OpRead, `{"connector": "nats", "config": {"service": "far", "stream": "READ", "subject": "a.>"}}`),
		node(t, physical.OpWrite, `{"connector": "nats", "config": {"service": "bus", "stream": "OUT", "subject": "b"}}`),
		node(t, physical.OpWrite, `{"connector": "nats", "config": {"service": "bus", "stream": "OUT", "subject": "a"}}`),
		node(t, physical.OpWrite, `{"connector": "nats", "config": {"service": "bus", "stream": "ALSO", "subject": "c"}}`),
		node(t, physical.OpWrite, `{"connector": "nats", "config": {"url": "nats://elsewhere", "stream": "THEIRS", "subject": "d"}}`),
		node(t, physical.OpWrite, `{"connector": "file", "config": {"path": "/x"}}`),
	}}}}}}
	spec := operators.ServiceSpec{Name: "bus", Operator: operators.Nats, StorageMiB: 10}
	got := Channels([]physical.Graph{g, g}, map[string]operators.ServiceSpec{"bus": spec})
	part := int64(10) << 20 / 10 * 9 / 3
	want := []operators.JetStream{{Name: "ALSO", Subjects: []string{"c"}, Duplicates: 2 * time.Minute, MaxBytes: part}, {Name: "OUT", Subjects: []string{"a", "b"}, Duplicates: 2 * time.Minute, MaxBytes: part}}
	if len(got) != 1 || !reflect.DeepEqual(got["bus"].Streams, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if s := Services(&g); !reflect.DeepEqual(s, []string{"bus", "far"}) {
		t.Errorf("the services are %v", s)
	}
	g.Stages[0].Fragments[0].Home = "events"
	if s := Services(&g); !reflect.DeepEqual(s, []string{"bus", "events", "far"}) {
		t.Errorf("with a Kafka that holds its log, the services are %v", s)
	}
}

func TestAStreamIsMissingUntilItTakesItsSubjects(t *testing.T) {
	want := []operators.JetStream{{Name: "S", Subjects: []string{"a.b"}, Duplicates: 2 * time.Minute}}
	have := func(s ...operators.JetStream) operators.Fact[map[string]operators.JetStream] {
		m := map[string]operators.JetStream{}
		for _, x := range s {
			m[x.Name] = x
		}
		return operators.Know(m, time.Now())
	}
	for _, c := range []struct {
		fact operators.Fact[map[string]operators.JetStream]
		want string
	}{
		{operators.Unknown[map[string]operators.JetStream]("no answer"), "its streams are unknown: no answer"},
		{have(), "S is missing"},
		{have(operators.JetStream{Name: "S", Subjects: []string{"a", "a.b.>"}, Duplicates: time.Hour}), "S: it takes a, a.b.> and not a.b"},
		{have(operators.JetStream{Name: "S", Subjects: []string{"a.*"}, Duplicates: time.Second}), "S: its duplicate window is 1s and should be 2m0s"},
		{have(operators.JetStream{Name: "S", Subjects: []string{"x", ">"}, Duplicates: time.Hour}), ""},
	} {
		if got := streamsMissing(want, c.fact); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
