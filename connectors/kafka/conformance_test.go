package kafka

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/connectors/connectortest"
	"github.com/weir-project/weir/pipelines/physical"
)

var conformanceTopics atomic.Int64

// channelOf declares a channel's topic as a source: fill makes the topic, one partition, and restart ends the broker by kill -9 (nil: it has no process).
func channelOf(conn physical.Connection, fill func(t testing.TB, topic string) []kgo.Opt, restart func() error) connectortest.Source {
	return connectortest.Source{Ordered: true, Ahead: 12 << 20, Place: func(t testing.TB, rows []connectortest.Row) *connectortest.SourcePlace {
		topic := fmt.Sprintf("claims-%d", conformanceTopics.Add(1))
		writer, err := kgo.NewClient(append(fill(t, topic), kgo.DefaultProduceTopic(topic), kgo.AllowAutoTopicCreation())...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(writer.Close)
		write := func(values ...[]byte) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			records := make([]*kgo.Record, len(values))
			for i, v := range values {
				records[i] = &kgo.Record{Value: v}
			}
			return writer.ProduceSync(ctx, records...).FirstErr()
		}
		more := func(rows []connectortest.Row) error {
			values := make([][]byte, len(rows))
			for i, r := range rows {
				values[i] = r.JSON()
			}
			return write(values...)
		}
		if err := more(rows); err != nil {
			t.Fatal(err)
		}
		ch := physical.Channel{Name: "claims", Schema: connectortest.Schema, Kafka: &physical.KafkaChannel{Topic: topic, Partitions: 1}}
		return &connectortest.SourcePlace{
			Open:    func() (connectors.Source, error) { return Channel(dialTo(t, conn), ch), nil },
			More:    more,
			Garbage: func() error { return write([]byte(`{"id": `)) },
			Named:   fmt.Sprintf("offset %d", len(rows)),
			Restart: restart,
		}
	}}
}

func TestAChannelKeepsEveryClaim(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(1), kfake.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	fill := func(testing.TB, string) []kgo.Opt { return []kgo.Opt{kgo.SeedBrokers(k.ListenAddrs()...)} }
	connectortest.TestSource(t, channelOf(physical.Connection{Operator: "kafka", Servers: k.ListenAddrs()}, fill, nil))
}
