package admin

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-project/weir/operators"
)

// two are two brokers with the topic a of three partitions.
func two(t *testing.T) (*kfake.Cluster, Kafka) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "weir", "right"), kfake.SeedTopics(3, "a"))
	must(t, err)
	t.Cleanup(c.Close)
	return c, Kafka{Address: c.ListenAddrs()[0], User: "weir", Password: "right"}
}

func TestPartitionsAreReadWithWhatMoves(t *testing.T) {
	c, k := two(t)
	f := k.Observe(t.Context(), time.Now())
	if !f.Partitions.Known || len(f.Partitions.Value) != 3 || f.Partitions.Value[0].MinISR < 1 || f.Partitions.Value[0].Moving() {
		t.Fatalf("got %+v", f.Partitions)
	}
	was := f.Partitions.Value[0]
	c.ControlKey(int16(kmsg.ListPartitionReassignments), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if len(request.(*kmsg.ListPartitionReassignmentsRequest).Topics) == 0 {
			t.Error("no topic is named: nothing would be listed")
		}
		answer := request.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
		answer.Topics = []kmsg.ListPartitionReassignmentsResponseTopic{{Topic: "a", Partitions: []kmsg.ListPartitionReassignmentsResponseTopicPartition{
			{Partition: 0, Replicas: []int32{7, int32(was.Replicas[0])}, AddingReplicas: []int32{7}, RemovingReplicas: []int32{int32(was.Replicas[0])}}}}}
		return answer, nil, true
	})
	f = k.Observe(t.Context(), time.Now())
	if p := f.Partitions.Value[0]; !p.Moving() || !slices.Equal(p.Goal(), []int{7}) {
		t.Errorf("got %+v, want it on its way to broker 7", p)
	}
}

func TestAMoveThatChangesTheReplicationIsForbiddenAndARefusalNamesThePartition(t *testing.T) {
	c, k := two(t)
	must(t, k.Move(t.Context(), []operators.Move{{Topic: "a", Partition: 1, Replicas: []int{1}}, {Topic: "a", Partition: 2, Replicas: []int{0}}}))
	c.ControlKey(int16(kmsg.AlterPartitionAssignments), func(request kmsg.Request) (kmsg.Response, error, bool) {
		r := request.(*kmsg.AlterPartitionAssignmentsRequest)
		if r.AllowReplicationFactorChange {
			t.Error("the controller is allowed to change the replication")
		}
		answer := r.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
		answer.Topics = []kmsg.AlterPartitionAssignmentsResponseTopic{{Topic: "a", Partitions: []kmsg.AlterPartitionAssignmentsResponseTopicPartition{{Partition: 1, ErrorCode: 38}}}}
		return answer, nil, true
	})
	if err := k.Move(t.Context(), []operators.Move{{Topic: "a", Partition: 1, Replicas: []int{0, 1}}}); err == nil || !strings.Contains(err.Error(), "a/1") {
		t.Errorf("got %v, want the partition", err)
	}
}

func TestReplicasOnWhichTheBrokersDisagreeAreUnknown(t *testing.T) {
	c, k := two(t)
	var asked atomic.Int32
	c.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if request.GetVersion() != 12 {
			return nil, nil, false // the Transport's own
		}
		answer := request.ResponseKind().(*kmsg.MetadataResponse)
		for i, at := range c.ListenAddrs() {
			host, port, err := net.SplitHostPort(at)
			if err != nil {
				return nil, err, true
			}
			n, err := strconv.Atoi(port)
			if err != nil {
				return nil, err, true
			}
			answer.Brokers = append(answer.Brokers, kmsg.MetadataResponseBroker{NodeID: int32(i), Host: host, Port: int32(n)})
		}
		replicas := []int32{0}
		if asked.Add(1)%2 == 0 {
			replicas = []int32{1, 0}
		}
		name := "a"
		answer.Topics = []kmsg.MetadataResponseTopic{{Topic: &name, Partitions: []kmsg.MetadataResponseTopicPartition{{Leader: 0, Replicas: replicas, ISR: []int32{0}}}}}
		return answer, nil, true
	})
	f := k.Observe(t.Context(), time.Now())
	if f.Partitions.Known || !strings.Contains(f.Partitions.Why, "not all brokers know the same replicas of a/0") {
		t.Errorf("got %+v", f.Partitions)
	}
	if !f.Topics.Known || !f.Authenticated.Known {
		t.Errorf("the rest is known all the same: %+v", f)
	}
}

func TestABrokerThatServesIsNotUnregistered(t *testing.T) {
	_, k := two(t)
	if err := k.Unregister(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "it serves; stop it first") {
		t.Errorf("got %v", err)
	}
}
