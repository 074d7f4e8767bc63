package operators

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/resources"
)

func TestASizeChangesThePlansRevisionAndNoPods(t *testing.T) {
	a := ServiceSpec{Stack: "smack", Name: "workers", Operator: Stream, Size: 1, MemoryMiB: 512, Settings: map[string]string{"a": "1", "b": "2"}}
	b := a
	b.Size = 3
	if a.Revision() == b.Revision() || a.PodRevision() != b.PodRevision() {
		t.Errorf("size: plan %s and %s, pod %s and %s", a.Revision(), b.Revision(), a.PodRevision(), b.PodRevision())
	}
	for name, change := range map[string]func(*ServiceSpec){
		"memory": func(s *ServiceSpec) { s.MemoryMiB = 600 }, "port": func(s *ServiceSpec) { s.Port = 9092 }, "version": func(s *ServiceSpec) { s.Version = "4.3" },
		"cpus": func(s *ServiceSpec) { s.CPUs = 100 }, "settings": func(s *ServiceSpec) { s.Settings = map[string]string{"a": "1"} },
	} {
		c := a
		change(&c)
		if c.PodRevision() == a.PodRevision() {
			t.Errorf("a change of %s changes no pod's revision", name)
		}
	}
}

func TestBackoffDoublesFromHalfASecondToThirty(t *testing.T) {
	var got []string
	for i := range 9 {
		got = append(got, Backoff(i).String())
	}
	if want := "0s 500ms 1s 2s 4s 8s 16s 30s 30s"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestTheEndOfATaskIsCountedOnce(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := Attempt{}.Begin(now, "t1")
	end := Task{ID: "t1", State: resources.Failed, ExitCode: 137, Since: now.Add(time.Second)}
	once := a.Ended(end)
	if once.Failures != 1 || once.NotBefore != end.Since.Add(FirstBackoff) || once.Ended(end) != once {
		t.Errorf("got %+v, then %+v", once, once.Ended(end))
	}
	if other := a.Ended(Task{ID: "t0", State: resources.Failed}); other != a {
		t.Errorf("an older task's end was counted: %+v", other)
	}
	second := once.Begin(end.Since, "t2").Ended(Task{ID: "t2", State: resources.Failed, Since: end.Since.Add(time.Second)})
	if second.Failures != 2 || second.Total != 2 {
		t.Errorf("the second failure: %+v", second)
	}
	long := once.Begin(end.Since, "t2").Ended(Task{ID: "t2", State: resources.Failed, Since: end.Since.Add(Forget)})
	if long.Failures != 1 {
		t.Errorf("after a minute of running the count is %d, want 1", long.Failures)
	}
	if killed := once.Begin(end.Since, "t2").Ended(Task{ID: "t2", State: resources.Killed, Since: end.Since}); killed.Failures != 0 {
		t.Errorf("a kill by our hand was counted as a failure: %+v", killed)
	}
}

func TestATaskIsAdoptedByItsLabels(t *testing.T) {
	pod := PodSpec{Stack: "smack", Service: "events", Index: 2, Task: "kafka", Revision: "r1"}
	info := TaskSpec{}.Info(pod, Placement{Agent: "a1"}, 3, "n", nil)
	name, task, ok := TaskOf(resources.TaskStatus{Task: info.ID, State: resources.Running, Labels: info.Labels})
	if !ok || name != "events-2" || task.Attempt != 3 || task.Revision != "r1" || !task.Live() {
		t.Errorf("got %q %+v %v", name, task, ok)
	}
	if _, _, ok := TaskOf(resources.TaskStatus{Task: "x"}); ok {
		t.Error("a task without labels was taken for an operator's")
	}
}

func TestDifferencesNameBothSides(t *testing.T) {
	topic := Topic{Name: "t", Partitions: 4, Replication: 1, Settings: map[string]string{"retention.ms": "-1"}}
	for _, c := range []struct {
		have Topic
		want string
	}{
		{topic, ""},
		{Topic{Partitions: 4, Replication: 3, Settings: map[string]string{"retention.ms": "-1", "x": "y"}}, ""},
		{Topic{Partitions: 3, Replication: 1, Settings: map[string]string{"retention.ms": "5"}}, `partitions are 3 and should be 4; retention.ms is "5" and should be "-1"`},
	} {
		if got := topic.Differs(c.have); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	table := Table{Keyspace: "k", Name: "t", Columns: []Column{{"a", "text"}, {"b", "bigint"}}, PartitionKey: []string{"a"}}
	other := Table{Columns: []Column{{"a", "blob"}}, PartitionKey: []string{"b"}, ClusteringKey: []string{"a"}}
	want := `column "a" is blob and should be text; column "b" is missing; its partition key is [b] and should be [a]; its clustering key is [a] and should be []`
	if got := table.Differs(other); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestIdentifiersAreQuoted(t *testing.T) {
	table := Table{Keyspace: "Flights", Name: `odd"name`, Columns: []Column{{"select", "text"}, {"Hour", "timestamp"}}, PartitionKey: []string{"select"}, ClusteringKey: []string{"Hour"}}
	want := `CREATE TABLE IF NOT EXISTS "Flights"."odd""name" ("select" text, "Hour" timestamp, PRIMARY KEY (("select"), "Hour"))`
	if got := table.DDL(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := (Keyspace{Name: "k", Replication: 3, DC: "dc1"}).DDL(), `CREATE KEYSPACE IF NOT EXISTS "k" WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
