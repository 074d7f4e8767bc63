package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/weir-project/weir/operators"
)

// Kafka is how a Kafka is reached. Each call logs in anew: a cached connection or a cached answer would prove nothing.
type Kafka struct {
	Address  string // host:port of any broker
	User     string
	Password string
}

// settle is the pause between two looks at something that the cluster is about to know.
const settle = 50 * time.Millisecond

// Observe reads what Decide wants to know, at a time that the caller took before. What fails leaves its fact unknown, with the cause.
func (k Kafka) Observe(ctx context.Context, now time.Time) operators.KafkaFacts {
	if err := k.Login(ctx); err != nil {
		return unknownKafka(err)
	}
	c, done, err := k.client()
	if err != nil {
		return unknownKafka(err)
	}
	defer done()
	meta, err := k.metadata(ctx, c, anyBroker)
	if err != nil {
		return unknownKafka(k.failed("ask", err))
	}
	f := operators.KafkaFacts{Brokers: operators.Know(meta.brokers, now), Authenticated: operators.Know(true, now)}
	f.Registered = know[map[int]operators.BrokerFact](now)(k.registered(ctx, c, now))
	f.Quorum = know[operators.Quorum](now)(k.quorum(ctx, c))
	settings, err := k.describe(ctx, c, meta.partitions)
	if err != nil {
		f.Topics, f.Partitions = operators.Unknown[map[string]operators.Topic](err.Error()), operators.Unknown[[]operators.Partition](err.Error())
		return f
	}
	f.Topics = operators.Know(foreign(settings), now)
	f.Partitions = know[[]operators.Partition](now)(k.steady(ctx, c, meta, settings))
	return f
}

// Login connects, asks for the broker's versions and logs in, and ends at the first refusal: the Transport would go on trying.
func (k Kafka) Login(ctx context.Context) error {
	mechanism, err := k.mechanism()
	if err != nil {
		return err
	}
	d := kafka.Dialer{Timeout: 2 * time.Second, ClientID: "weir-admin", SASLMechanism: mechanism}
	conn, err := d.DialContext(ctx, "tcp", k.Address)
	if err != nil {
		return k.failed("log in", err)
	}
	if err := conn.Close(); err != nil {
		return k.failed("log in", err)
	}
	return nil
}

// EnsureTopics makes the topics that are missing, changes the settings that differ, and returns when a fresh look shows every one as it shall be.
// A topic whose partitions differ is an error: changing them would move keys.
func (k Kafka) EnsureTopics(ctx context.Context, want []operators.Topic) error {
	for {
		have, err := k.Topics(ctx)
		if err != nil {
			return err
		}
		again, err := k.bring(ctx, want, have)
		if err != nil || !again {
			return err
		}
		// The answer to CreateTopics precedes the topic's appearance in Metadata.
		select {
		case <-ctx.Done():
			return k.failed("wait for topics", context.Cause(ctx))
		case <-time.After(settle):
		}
	}
}

// Topics lists the topics that are not Kafka's own, with all their settings.
func (k Kafka) Topics(ctx context.Context) (map[string]operators.Topic, error) {
	if err := k.Login(ctx); err != nil {
		return nil, err
	}
	c, done, err := k.client()
	if err != nil {
		return nil, err
	}
	defer done()
	meta, err := k.metadata(ctx, c, anyBroker)
	if err != nil {
		return nil, k.failed("list topics", err)
	}
	all, err := k.describe(ctx, c, meta.partitions)
	return foreign(all), err
}

// bring does what is missing and says whether anything was.
func (k Kafka) bring(ctx context.Context, want []operators.Topic, have map[string]operators.Topic) (bool, error) {
	var create []kafka.TopicConfig
	var alter []kafka.IncrementalAlterConfigsRequestResource
	for _, t := range want {
		h, ok := have[t.Name]
		switch {
		case !ok:
			create = append(create, config(t))
		case h.Partitions != t.Partitions:
			return false, k.failed("ensure topic "+t.Name, errors.New(t.Differs(h)))
		case t.Differs(h) != "":
			alter = append(alter, changes(t))
		}
	}
	if len(create)+len(alter) == 0 {
		return false, nil
	}
	c, done, err := k.client()
	if err != nil {
		return false, err
	}
	defer done()
	if len(create) > 0 {
		made, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: create})
		if err != nil {
			return false, k.failed("create topics", err)
		}
		for name, err := range made.Errors {
			if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
				return false, k.failed("create topic "+name, err)
			}
		}
	}
	if len(alter) > 0 {
		changed, err := c.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: alter})
		if err != nil {
			return false, k.failed("set the settings of topics", err)
		}
		for _, r := range changed.Resources {
			if r.Error != nil {
				return false, k.failed("set the settings of topic "+r.ResourceName, r.Error)
			}
		}
	}
	return true, nil
}

func config(t operators.Topic) kafka.TopicConfig {
	c := kafka.TopicConfig{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.Replication}
	for name, value := range t.Settings {
		c.ConfigEntries = append(c.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	return c
}

func changes(t operators.Topic) kafka.IncrementalAlterConfigsRequestResource {
	r := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: t.Name}
	for name, value := range t.Settings {
		r.Configs = append(r.Configs, kafka.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet})
	}
	return r
}

// client logs in on first use. The Transport's pool keeps its answers for MetadataTTL, so that each call has one of its own.
func (k Kafka) client() (*kafka.Client, func(), error) {
	mechanism, err := k.mechanism()
	if err != nil {
		return nil, nil, err
	}
	t := &kafka.Transport{SASL: mechanism, DialTimeout: 2 * time.Second, MetadataTTL: 100 * time.Millisecond, ClientID: "weir-admin"}
	return &kafka.Client{Addr: kafka.TCP(k.Address), Transport: t, Timeout: 10 * time.Second}, t.CloseIdleConnections, nil
}

func (k Kafka) mechanism() (sasl.Mechanism, error) {
	m, err := scram.Mechanism(scram.SHA512, k.User, k.Password)
	if err != nil {
		return nil, k.failed("prepare the login", err)
	}
	return m, nil
}

func (k Kafka) failed(what string, err error) error {
	return fmt.Errorf("%s (kafka %s, user %s): %w", what, k.Address, k.User, err)
}
