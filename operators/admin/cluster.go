package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-project/weir/operators"
)

// cordon is the setting of a broker that closes directories to new replicas (from metadata version 4.3 on).
const cordon = "cordoned.log.dirs"

// know makes a fact of what was read, or of why it could not be.
func know[T any](now time.Time) func(T, error) operators.Fact[T] {
	return func(v T, err error) operators.Fact[T] {
		if err != nil {
			return operators.Unknown[T](err.Error())
		}
		return operators.Know(v, now)
	}
}

func unknownKafka(err error) operators.KafkaFacts {
	why := err.Error()
	return operators.KafkaFacts{
		Brokers: operators.Unknown[[]int](why), Authenticated: operators.Unknown[bool](why), Topics: operators.Unknown[map[string]operators.Topic](why),
		Registered: operators.Unknown[map[int]operators.BrokerFact](why), Partitions: operators.Unknown[[]operators.Partition](why),
		Quorum: operators.Unknown[operators.Quorum](why),
	}
}

// metadata is what Metadata says: who serves, and every partition.
type metadata struct {
	brokers    []int
	partitions []operators.Partition
}

// metadata lists a broker from when the controller has let it in; from then on topics can be made. (A CreateTopics that only validates would
// tell the same, but the Transport then waits for the topic to appear.)
func (k Kafka) metadata(ctx context.Context, c *kafka.Client, broker int) (metadata, error) {
	var m metadata
	answer, err := ask[*kmsg.MetadataResponse](ctx, c, broker, kmsg.NewPtrMetadataRequest(), 12)
	if err != nil {
		return m, err
	}
	if len(answer.Brokers) == 0 {
		return m, errors.New("no broker is registered yet")
	}
	for _, b := range answer.Brokers {
		m.brokers = append(m.brokers, int(b.NodeID))
	}
	slices.Sort(m.brokers)
	for _, t := range answer.Topics {
		if err := refusal(t.ErrorCode, nil); err != nil || t.Topic == nil {
			return m, fmt.Errorf("a topic in the answer to Metadata: %w", err)
		}
		for _, p := range t.Partitions {
			// Its error code says that it has no leader, or that a replica's broker is down; both are seen below.
			m.partitions = append(m.partitions, operators.Partition{
				Topic: *t.Topic, Index: int(p.Partition), Leader: int(p.Leader), Replicas: ints(p.Replicas), ISR: ints(p.ISR),
			})
		}
	}
	slices.SortFunc(m.partitions, func(a, b operators.Partition) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return a.Index - b.Index
	})
	return m, nil
}

func ints(all []int32) []int {
	out := make([]int, len(all))
	for i, n := range all {
		out[i] = int(n)
	}
	return out
}

// registered lists the brokers that the controller knows, those that are down too, and asks each for its cordon: none answers for another.
func (k Kafka) registered(ctx context.Context, c *kafka.Client, now time.Time) (map[int]operators.BrokerFact, error) {
	request := kmsg.NewPtrDescribeClusterRequest()
	request.IncludeFencedBrokers = true
	answer, err := ask[*kmsg.DescribeClusterResponse](ctx, c, anyBroker, request, 2)
	if err == nil {
		err = refusal(answer.ErrorCode, answer.ErrorMessage)
	}
	if err != nil {
		return nil, k.failed("list the registered brokers", err)
	}
	out := map[int]operators.BrokerFact{}
	for _, b := range answer.Brokers {
		f := operators.BrokerFact{Endpoint: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), Fenced: b.IsFenced}
		if f.Fenced {
			f.Cordoned = operators.Unknown[bool](fmt.Sprintf("broker %d does not serve", b.NodeID))
		} else {
			f.Cordoned = know[bool](now)(k.cordoned(ctx, c, int(b.NodeID)))
		}
		out[int(b.NodeID)] = f
	}
	return out, nil
}

func (k Kafka) cordoned(ctx context.Context, c *kafka.Client, broker int) (bool, error) {
	what := fmt.Sprintf("read the cordon of broker %d", broker)
	answer, err := c.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeBroker, ResourceName: strconv.Itoa(broker), ConfigNames: []string{cordon}}}})
	if err != nil {
		return false, k.failed(what, err)
	}
	for _, r := range answer.Resources {
		if r.Error != nil {
			return false, k.failed(what, r.Error)
		}
		for _, e := range r.ConfigEntries {
			if e.ConfigName == cordon {
				return strings.TrimSpace(e.ConfigValue) != "", nil
			}
		}
	}
	return false, k.failed(what, fmt.Errorf("it has no setting %s", cordon))
}

// quorum: just after an election some of the answer is -1. Who votes is not among it, and a leader of -1 is no error.
func (k Kafka) quorum(ctx context.Context, c *kafka.Client) (operators.Quorum, error) {
	const what = "describe the controllers' quorum"
	request := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic, topic.Partitions = "__cluster_metadata", []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}}
	request.Topics = append(request.Topics, topic)
	answer, err := ask[*kmsg.DescribeQuorumResponse](ctx, c, anyBroker, request, 1)
	if err == nil {
		err = refusal(answer.ErrorCode, nil)
	}
	if err != nil {
		return operators.Quorum{}, k.failed(what, err)
	}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := refusal(p.ErrorCode, nil); err != nil {
				return operators.Quorum{}, k.failed(what, err)
			}
			q := operators.Quorum{Leader: int(p.LeaderID)}
			for _, v := range p.CurrentVoters {
				q.Voters = append(q.Voters, int(v.ReplicaID))
			}
			if len(q.Voters) > 0 {
				return q, nil
			}
		}
	}
	return operators.Quorum{}, k.failed(what, errors.New("it names no voter"))
}

// describe reads the settings of all topics, Kafka's own too.
func (k Kafka) describe(ctx context.Context, c *kafka.Client, partitions []operators.Partition) (map[string]operators.Topic, error) {
	out := map[string]operators.Topic{}
	for _, p := range partitions {
		t := out[p.Topic]
		t.Name, t.Settings, t.Partitions = p.Topic, map[string]string{}, t.Partitions+1
		if p.Index == 0 {
			t.Replication = len(p.Replicas)
		}
		out[p.Topic] = t
	}
	req := &kafka.DescribeConfigsRequest{}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: name})
	}
	if len(req.Resources) == 0 {
		return out, nil
	}
	resp, err := c.DescribeConfigs(ctx, req)
	if err != nil {
		return nil, k.failed("read the settings of topics", err)
	}
	for _, r := range resp.Resources {
		if r.Error != nil {
			return nil, k.failed("read the settings of topic "+r.ResourceName, r.Error)
		}
		for _, e := range r.ConfigEntries {
			out[r.ResourceName].Settings[e.ConfigName] = e.ConfigValue
		}
	}
	return out, nil
}

// foreign leaves out the topics that are Kafka's own.
func foreign(all map[string]operators.Topic) map[string]operators.Topic {
	out := maps.Clone(all)
	maps.DeleteFunc(out, func(name string, _ operators.Topic) bool {
		return name == "__consumer_offsets" || name == "__transaction_state" || name == "__share_group_state"
	})
	return out
}

// looks is how often the partitions are read until all agree.
const looks = 3

// steady reads the partitions with what moves. Metadata shows where replicas are and where they come to alike, the list of moves is another
// request, and a broker's Metadata may be behind the controller, who answers that list: a move that ended meanwhile would look like more
// replicas than there are, or a broker like an empty one. So after the list every broker that serves is asked, and all must say what was read
// before. A broker knows of a replica of its own before the controller counts it in sync: what it does not name and does not move is not on it.
func (k Kafka) steady(ctx context.Context, c *kafka.Client, before metadata, settings map[string]operators.Topic) ([]operators.Partition, error) {
	changed := ""
	for range looks {
		all, err := k.underway(ctx, c, before.partitions)
		if err != nil {
			return nil, err
		}
		after := before
		changed = ""
		for _, id := range before.brokers {
			if after, err = k.metadata(ctx, c, id); err != nil {
				return nil, k.failed(fmt.Sprintf("ask broker %d", id), err)
			}
			if changed = differs(before.partitions, after.partitions); changed != "" {
				break
			}
		}
		if changed == "" {
			return all, least(all, settings)
		}
		before = after
	}
	return nil, k.failed("read the partitions", fmt.Errorf("not all brokers know the same replicas of %s yet", changed))
}

// differs names a partition that two looks show with other replicas; empty where there is none.
func differs(a, b []operators.Partition) string {
	if len(a) != len(b) {
		return "all topics"
	}
	for i := range a {
		if a[i].Name() != b[i].Name() || !slices.Equal(a[i].Replicas, b[i].Replicas) {
			return a[i].Name()
		}
	}
	return ""
}

// least adds the min ISR of their topics. One that was made since the settings were read is left for the next look.
func least(all []operators.Partition, settings map[string]operators.Topic) error {
	for i, p := range all {
		n, err := strconv.Atoi(settings[p.Topic].Settings["min.insync.replicas"])
		if err != nil {
			return fmt.Errorf("read min.insync.replicas of topic %s: %w", p.Topic, err)
		}
		all[i].MinISR = n
	}
	return nil
}

// underway is the partitions with what moves. The list is asked for by name: without names kafka-go asks for none, and a drain would look
// finished.
func (k Kafka) underway(ctx context.Context, c *kafka.Client, partitions []operators.Partition) ([]operators.Partition, error) {
	const what = "list the replicas that move"
	req := &kafka.ListPartitionReassignmentsRequest{Topics: map[string]kafka.ListPartitionReassignmentsRequestTopic{}, Timeout: 5 * time.Second}
	out, index := slices.Clone(partitions), map[string]int{}
	for i, p := range out {
		index[p.Name()] = i
		t := req.Topics[p.Topic]
		t.PartitionIndexes = append(t.PartitionIndexes, p.Index)
		req.Topics[p.Topic] = t
	}
	if len(out) == 0 {
		return out, nil
	}
	answer, err := c.ListPartitionReassignments(ctx, req)
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return nil, k.failed(what, err)
	}
	for topic, t := range answer.Topics {
		for _, p := range t.Partitions {
			i, ok := index[operators.Partition{Topic: topic, Index: p.PartitionIndex}.Name()]
			if !ok {
				return nil, k.failed(what, fmt.Errorf("the answer holds %s/%d, which was not asked for", topic, p.PartitionIndex))
			}
			out[i].Replicas, out[i].Adding, out[i].Removing = p.Replicas, p.AddingReplicas, p.RemovingReplicas
		}
	}
	return out, nil
}
