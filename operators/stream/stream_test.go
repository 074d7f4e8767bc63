package stream

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

// graph has one stage of n slots that may use at most max workers.
func graph(n, max int) physical.Graph {
	return physical.Graph{Pipeline: "p", Stages: []physical.Stage{{Name: "s", MaxWorkers: max, Fragments: []physical.Fragment{{Name: "f0", Slots: n, Changelog: "_weir.p.s.f0.changelog"}}}}}
}

func run(g physical.Graph) Run {
	return Run{PipelineRun: physical.PipelineRun{UID: "u", Run: 1, Graph: g}, Ended: map[string]bool{}}
}

func assign(r Run, before State, workers ...string) State {
	return Assign(Request{Runs: []Run{r}, Workers: workers, Previous: before})
}

func TestAStageUsesAtMostItsWorkersAndKeepsToThem(t *testing.T) {
	r := run(graph(6, 2))
	first := assign(r, State{}, "w1", "w2", "w3")
	if c := first.Count(); len(c) != 2 || c["w1"] != 3 || c["w2"] != 3 {
		t.Fatalf("two of three workers shall have three slots each: %v", c)
	}
	if next := assign(r, first, "w0", "w1", "w2", "w3"); next.Revision != first.Revision {
		t.Errorf("a new worker moved slots of a stage that has its two: %v", next.Slots)
	}
	if c := assign(r, first, "w2", "w3").Count(); c["w2"] != 3 || c["w3"] != 3 {
		t.Errorf("after w1 died: %v", c)
	}
}

func TestANewRunAndAReturnGetTheNextTerm(t *testing.T) {
	r := run(graph(1, 0))
	s := assign(r, State{}, "w1")
	nobody := assign(r, s)
	back := assign(r, nobody, "w1")
	r.PipelineRun.Run = 2
	rerun := assign(r, back, "w1")
	got := []uint64{s.Slots[0].Term, nobody.Slots[0].Term, back.Slots[0].Term, rerun.Slots[0].Term}
	if !slices.Equal(got, []uint64{1, 1, 2, 3}) || nobody.Slots[0].Task != "" || rerun.Slots[0].Run != 2 {
		t.Errorf("terms %v (nobody: %+v, rerun: %+v)", got, nobody.Slots[0], rerun.Slots[0])
	}
	r.Paused = true
	if paused := assign(r, rerun, "w1"); paused.Slots[0].Task != "" || paused.Slots[0].Term != 3 {
		t.Errorf("paused: %+v", paused.Slots[0])
	}
}

func TestFragmentsAreSpreadOverWorkersThatHaveLess(t *testing.T) {
	g := graph(1, 0)
	for _, name := range []string{"b", "c", "d"} {
		s := g.Stages[0]
		s.Name = name
		g.Stages = append(g.Stages, s)
	}
	if c := assign(run(g), State{}, "w1", "w2").Count(); c["w1"] != 2 || c["w2"] != 2 {
		t.Errorf("four stages of one slot over two workers: %v", c)
	}
}

func TestEachWorkerGetsItsSlotsWithTheirSplits(t *testing.T) {
	r := run(graph(2, 0))
	for i := range 5 {
		r.Splits = map[string][]physical.SplitOf{"s/f0": append(r.Splits["s/f0"], physical.SplitOf{Node: "Read", ID: fmt.Sprint(i)})}
	}
	s := assign(r, State{}, "w1", "w2")
	m := s.Messages([]Run{r}, []string{"w1", "w2", "w3"}, nil, "install")
	if len(m) != 3 || len(m["w3"].Slots) != 0 || m["w3"].Revision != 1 {
		t.Fatalf("three workers get a message each, the third an empty one: %+v", m)
	}
	var ids [2]string
	for _, w := range []string{"w1", "w2"} {
		slot := m[w].Slots[0]
		for _, split := range slot.Splits {
			ids[slot.Slot.Index] += split.ID
		}
		if len(m[w].Pipelines) != 1 || m[w].Pipelines[0].UID != "u" || m[w].Install != "install" {
			t.Errorf("%s: %+v", w, m[w].Pipelines)
		}
	}
	if ids != [2]string{"024", "13"} {
		t.Errorf("splits by slot: %v, want index mod 2", ids)
	}
}

func TestTheChangelogLivesWithWhatItsTransactionsWrite(t *testing.T) {
	g := graph(2, 0)
	services := map[string]operators.ServiceSpec{"a": {Operator: operators.Kafka, Size: 1}, "b": {Operator: operators.Kafka, Size: 3, StorageMiB: 1024}, "c": {Operator: operators.Cassandra, Size: 1}}
	if got := Home(g, g.Stages[0], services); got != "a" {
		t.Errorf("without channels: %q, want the first Kafka", got)
	}
	g.Channels = map[string]physical.Channel{
		"in":  {Readers: []string{"s"}, Kafka: &physical.KafkaChannel{Service: "a", Topic: "p.in", Watermarks: "_weir.p.in.watermarks", Partitions: 2}},
		"out": {Writers: []string{"s"}, Kafka: &physical.KafkaChannel{Service: "b", Topic: "p.out", Watermarks: "_weir.p.out.watermarks", Partitions: 4}},
		"table": {Writers: []string{"s"}, Cassandra: &physical.CassandraChannel{Service: "c", Keyspace: "p", Table: "t", PartitionKey: []string{"k"}},
			Schema: column.Schema{Fields: []column.Field{{Name: "k", Kind: column.String}, {Name: "v", Kind: column.Float64}, {Name: "b", Kind: column.Bool}, {Name: "raw", Kind: column.Bytes}, {Name: "at", Kind: column.Timestamp}, {Name: "n", Kind: column.Int64}}}},
	}
	if got := Home(g, g.Stages[0], services); got != "b" {
		t.Errorf("home is %q, want that of the channel it writes", got)
	}
	all := Channels([]physical.Graph{g}, services)
	var names []string
	for _, topic := range all["b"].Topics {
		names = append(names, fmt.Sprintf("%s/%d/%d", topic.Name, topic.Partitions, topic.Replication))
		if strings.HasSuffix(topic.Name, ".out") && topic.Settings["retention.bytes"] != fmt.Sprint(1024*mib/2/4) {
			t.Errorf("retention of a partition is %s, want half of the storage over 4 partitions", topic.Settings["retention.bytes"])
		}
	}
	if want := "_weir.p.out.watermarks/1/3 _weir.p.s.f0.changelog/2/3 p.out/4/3"; strings.Join(names, " ") != want {
		t.Errorf("topics of b: %v, want %s", names, want)
	}
	if got, want := all["c"].Tables[0].DDL(), `CREATE TABLE IF NOT EXISTS "p"."t" ("k" text, "v" double, "b" boolean, "raw" blob, "at" timestamp, "n" bigint, PRIMARY KEY (("k")))`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnUpdateReplacesOneWorkerAfterTheOther(t *testing.T) {
	spec := operators.ServiceSpec{Stack: "smack", Name: "workers", Operator: operators.Stream, Size: 2}
	o := operators.Observed{Tasks: map[string]operators.Task{}}
	for _, pod := range []string{"workers-0", "workers-1"} {
		o.Tasks[pod] = operators.Task{ID: resources.TaskID(pod), State: resources.Running, Revision: "older"}
	}
	p := Decide(spec, Input{Observed: o})
	got := p.Candidates(o.Now)
	if len(got) != 1 || got[0].ID != plan.StopID("workers-0") {
		t.Fatalf("candidates %v of\n%s", got, p)
	}
	o.Tasks["workers-0"] = operators.Task{ID: "workers-0", State: resources.Killed, Revision: "older"}
	if got = Decide(spec, Input{Observed: o}).Candidates(o.Now); len(got) != 1 || got[0].ID != plan.LaunchID("workers-0") {
		t.Fatalf("after the first ended: %v", got)
	}
}

func TestAWorkersCommandHasNoSecret(t *testing.T) {
	l := operators.Launch{Pod: operators.PodSpec{Service: "workers", MemMiB: 500}}
	task, err := Command(l, Env{Weir: "/bin/weir", Server: "https://127.0.0.1:1", Task: "t1", Identity: []byte("secret")})
	if err != nil {
		t.Fatal(err)
	}
	want := "/bin/weir worker --server https://127.0.0.1:1 --task t1 --certs {sandbox}"
	if got := strings.Join(task.Command.Argv, " "); got != want || strings.Contains(fmt.Sprint(task.Command), "secret") || task.Files[0].Mode != 0o600 {
		t.Errorf("got %q %v", got, task.Files)
	}
	if _, err := Command(l, Env{Weir: "/bin/weir"}); err == nil || !strings.Contains(err.Error(), `server ""`) {
		t.Errorf("without a server: %v", err)
	}
}

func TestIndexesBelongToTheirServiceAlone(t *testing.T) {
	for pod, want := range map[string]int{"workers-0": 0, "workers-12": 12, "workers-x": -1, "other-1": -1, "workers": -1, "workers-more-1": -1} {
		if i, ok := Index("workers", pod); ok != (want >= 0) || ok && i != want {
			t.Errorf("%s: %d %v", pod, i, ok)
		}
	}
}
