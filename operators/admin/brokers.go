package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-project/weir/operators"
)

// Do carries out a call of a Kafka's plan. Each is idempotent: done again it changes nothing.
func (k Kafka) Do(ctx context.Context, a operators.Admin) error {
	switch a.Kind {
	case operators.EnsureTopics:
		return k.EnsureTopics(ctx, a.Topics)
	case operators.CordonBroker:
		return k.Cordon(ctx, a.Broker, true)
	case operators.UncordonBroker:
		return k.Cordon(ctx, a.Broker, false)
	case operators.MoveReplicas:
		return k.Move(ctx, a.Moves)
	case operators.ElectLeaders:
		return k.ElectLeaders(ctx, a.Moves)
	case operators.UnregisterBroker:
		return k.Unregister(ctx, a.Broker)
	}
	return fmt.Errorf("a Kafka has no call %q", a.Kind)
}

// with logs in and calls.
func (k Kafka) with(ctx context.Context, what string, call func(*kafka.Client) error) error {
	if err := k.Login(ctx); err != nil {
		return err
	}
	c, done, err := k.client()
	if err != nil {
		return err
	}
	defer done()
	if err := call(c); err != nil {
		return k.failed(what, err)
	}
	return nil
}

// Cordon closes all directories of a broker to new replicas, or opens them. It outlives the broker's registration.
func (k Kafka) Cordon(ctx context.Context, broker int, closed bool) error {
	change, what := kafka.IncrementalAlterConfigsRequestConfig{Name: cordon, ConfigOperation: kafka.ConfigOperationDelete}, "lift the cordon of broker "
	if closed {
		change.Value, change.ConfigOperation, what = "*", kafka.ConfigOperationSet, "cordon broker "
	}
	id := strconv.Itoa(broker)
	return k.with(ctx, what+id, func(c *kafka.Client) error {
		answer, err := c.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeBroker, ResourceName: id,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{change},
		}}})
		if err != nil {
			return err
		}
		for _, r := range answer.Resources {
			if r.Error != nil {
				return r.Error
			}
		}
		return nil
	})
}

// Move begins to move replicas, and does not wait for the copies. The controller, who alone knows, refuses what would change how many a partition
// has: what the caller looked at may be of the past.
func (k Kafka) Move(ctx context.Context, moves []operators.Move) error {
	if len(moves) == 0 {
		return nil
	}
	request := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	request.TimeoutMillis, request.AllowReplicationFactorChange = 10_000, false
	for _, m := range moves {
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition = int32(m.Partition)
		for _, id := range m.Replicas {
			p.Replicas = append(p.Replicas, int32(id))
		}
		i := slices.IndexFunc(request.Topics, func(t kmsg.AlterPartitionAssignmentsRequestTopic) bool { return t.Topic == m.Topic })
		if i < 0 {
			t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
			t.Topic, i = m.Topic, len(request.Topics)
			request.Topics = append(request.Topics, t)
		}
		request.Topics[i].Partitions = append(request.Topics[i].Partitions, p)
	}
	return k.with(ctx, fmt.Sprintf("move the replicas of %d partitions", len(moves)), func(c *kafka.Client) error {
		answer, err := ask[*kmsg.AlterPartitionAssignmentsResponse](ctx, c, anyBroker, request, 1)
		if err != nil {
			return err
		}
		all := []error{refusal(answer.ErrorCode, answer.ErrorMessage)}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				if err := refusal(p.ErrorCode, p.ErrorMessage); err != nil {
					all = append(all, fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err))
				}
			}
		}
		return errors.Join(all...)
	})
}

// ElectLeaders makes the first replica of each partition lead it, where that one is in sync.
func (k Kafka) ElectLeaders(ctx context.Context, partitions []operators.Move) error {
	byTopic := map[string][]int{}
	var topics []string
	for _, m := range partitions {
		if _, ok := byTopic[m.Topic]; !ok {
			topics = append(topics, m.Topic)
		}
		byTopic[m.Topic] = append(byTopic[m.Topic], m.Partition)
	}
	return k.with(ctx, "elect leaders", func(c *kafka.Client) error {
		for _, topic := range topics {
			answer, err := c.ElectLeaders(ctx, &kafka.ElectLeadersRequest{Topic: topic, Partitions: byTopic[topic], Timeout: 10 * time.Second})
			if err == nil {
				err = answer.Error
			}
			if err != nil {
				return fmt.Errorf("topic %s: %w", topic, err)
			}
			for _, r := range answer.PartitionResults {
				if r.Error != nil && !errors.Is(r.Error, kafka.ElectionNotNeeded) {
					return fmt.Errorf("%s/%d: %w", topic, r.Partition, r.Error)
				}
			}
		}
		return nil
	})
}

// Unregister takes a broker that has ended out of the cluster. Kafka itself refuses nothing here, and would take the replicas of a broker that
// holds some offline: so what is on it is looked at once more, straight before (I5).
func (k Kafka) Unregister(ctx context.Context, broker int) error {
	return k.with(ctx, fmt.Sprintf("unregister broker %d", broker), func(c *kafka.Client) error {
		m, err := k.metadata(ctx, c, anyBroker)
		if err != nil {
			return err
		}
		if slices.Contains(m.brokers, broker) {
			return errors.New("it serves; stop it first")
		}
		for _, p := range m.partitions {
			if slices.Contains(p.Replicas, broker) {
				return fmt.Errorf("partition %s has a replica on it; move that first", p.Name())
			}
		}
		request := kmsg.NewPtrUnregisterBrokerRequest()
		request.BrokerID = int32(broker)
		answer, err := ask[*kmsg.UnregisterBrokerResponse](ctx, c, anyBroker, request, 0)
		if err != nil {
			return err
		}
		err = refusal(answer.ErrorCode, answer.ErrorMessage)
		if errors.Is(err, kafka.BrokerIDNotRegistered) {
			return nil // done before
		}
		return err
	})
}
