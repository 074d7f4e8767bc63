// Command kafkago is the pass-through (w1) by kafka-go's Reader and Writer, as its documentation shows them, with large batches: at least once, since
// its Writer knows no transaction.
//
//	kafkago --connection FILE --topic in --to out --events 1000000 --group g
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/scram"
)

func main() {
	connection, topic, to := flag.String("connection", "", "file that says how to reach the broker"), flag.String("topic", "", "topic to read"), flag.String("to", "", "topic to write")
	events, group := flag.Int("events", 0, "how many"), flag.String("group", "", "consumer group")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := pass(ctx, *connection, *topic, *to, *group, *events); err != nil {
		log.Fatal(err)
	}
}

func pass(ctx context.Context, connection, topic, to, group string, events int) error {
	data, err := os.ReadFile(connection)
	if err != nil {
		return err
	}
	var c struct {
		Servers        []string
		User, Password string
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return err
	}
	var login sasl.Mechanism
	if c.User != "" {
		if login, err = scram.Mechanism(scram.SHA512, c.User, c.Password); err != nil {
			return err
		}
	}
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: c.Servers, GroupID: group, Topic: topic, StartOffset: kafka.FirstOffset, MinBytes: 1, MaxBytes: 4 << 20, QueueCapacity: 10_000,
		MaxWait: 100 * time.Millisecond, Dialer: &kafka.Dialer{Timeout: 10 * time.Second, DualStack: true, SASLMechanism: login}})
	defer r.Close() //nolint:errcheck // its offsets were committed
	w := &kafka.Writer{Addr: kafka.TCP(c.Servers...), Topic: to, BatchSize: 8_000, BatchBytes: 1_000_000, BatchTimeout: 5 * time.Millisecond, RequiredAcks: kafka.RequireAll,
		Transport: &kafka.Transport{SASL: login}, Balancer: &kafka.RoundRobin{}}
	batch := make([]kafka.Message, 0, 16_000)
	flush := func() error {
		out := make([]kafka.Message, len(batch))
		for i, m := range batch {
			out[i] = kafka.Message{Key: m.Key, Value: m.Value, Time: m.Time}
		}
		if err := w.WriteMessages(ctx, out...); err != nil {
			return err
		}
		err := r.CommitMessages(ctx, batch[len(batch)-1], firstOther(batch))
		batch = batch[:0]
		return err
	}
	for n := 0; n < events; n++ {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			return err
		}
		if batch = append(batch, m); len(batch) == cap(batch) || n == events-1 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

// firstOther is the newest message of another partition than the last one's: of two partitions, both have then been named. Without one it is the last.
func firstOther(batch []kafka.Message) kafka.Message {
	last := batch[len(batch)-1]
	for i := len(batch) - 1; i >= 0; i-- {
		if batch[i].Partition != last.Partition {
			return batch[i]
		}
	}
	return last
}
