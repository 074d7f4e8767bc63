package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

const (
	outTopic  = "p.out"
	marks     = "_weir.p.out.watermarks"
	changes   = "_weir.p.s.f0.changelog"
	boxes     = "_weir.p.s.f0.outbox"
	outParts  = 4
	slotCount = 3
)

var rowSchema = column.Schema{Fields: []column.Field{{Name: "id", Kind: column.Int64}, {Name: "text", Kind: column.String}}}

var outChannel = physical.Channel{Name: "out", Schema: rowSchema, Kafka: &physical.KafkaChannel{Topic: outTopic, Watermarks: marks, Partitions: outParts}}

// cluster starts a kfake of n brokers with the topics of the tests.
func cluster(t testing.TB, n int) *kfake.Cluster {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(n), kfake.SeedTopics(outParts, outTopic), kfake.SeedTopics(slotCount, changes, boxes), kfake.SeedTopics(1, marks))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func dial(t testing.TB, k *kfake.Cluster) *Client {
	t.Helper()
	return dialTo(t, physical.Connection{Operator: "kafka", Servers: k.ListenAddrs()})
}

func dialTo(t testing.TB, conn physical.Connection) *Client {
	t.Helper()
	c, err := Dial(conn, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func slot(i int) checkpoint.Slot {
	return checkpoint.Slot{Pipeline: "p", UID: "u1", Stage: "s", Fragment: "f0", Index: i}
}

func logOf(c *Client, i int) *txnLog {
	return NewLog(c, LogConfig{Install: "test", Slot: slot(i), Changelog: changes, Outbox: boxes}).(*txnLog)
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// rec is one record as the other client read it.
type rec struct {
	partition int32
	offset    int64
	key       string
	value     string
}

// readAll reads a topic's committed records with franz-go up to its last stable offsets: the reader is not the writer.
func readAll(t testing.TB, servers []string, topic string, partitions int, opts ...kgo.Opt) []rec {
	t.Helper()
	ctx := testContext(t)
	c, err := Dial(physical.Connection{Servers: servers}, "ends")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ends := map[int32]int64{}
	for p := range int32(partitions) {
		end, err := c.Latest(ctx, topic, p)
		if err != nil {
			t.Fatal(err)
		}
		ends[p] = end
	}
	return readTo(ctx, t, servers, topic, ends, opts...)
}

func readTo(ctx context.Context, t testing.TB, servers []string, topic string, ends map[int32]int64, opts ...kgo.Opt) []rec {
	t.Helper()
	at := map[int32]kgo.Offset{}
	for p, end := range ends {
		if end > 0 {
			at[p] = kgo.NewOffset().AtStart()
		}
	}
	if len(at) == 0 {
		return nil
	}
	if len(servers) > 0 {
		opts = append(opts, kgo.SeedBrokers(servers...))
	}
	opts = append([]kgo.Opt{kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: at})}, opts...)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var out []rec
	for len(at) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s back: %v", topic, err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				if !r.Attrs.IsControl() {
					out = append(out, rec{r.Partition, r.Offset, string(r.Key), string(r.Value)})
				}
				if r.Offset >= ends[r.Partition]-1 {
					delete(at, r.Partition)
				}
			}
		})
	}
	return out
}

func row(id int) string { return fmt.Sprintf(`{"id":%d,"text":"row %d"}`, id, id) }

func ids(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// commitOf is a commit of epoch e that writes the rows ids, spread over the partitions.
func commitOf(l *txnLog, epoch uint64, ids ...int) *checkpoint.Commit {
	out := map[int32]*checkpoint.Records{}
	for _, id := range ids {
		p := int32(id % outParts)
		if out[p] == nil {
			out[p] = &checkpoint.Records{}
		}
		out[p].Append([]byte(fmt.Sprint(id)), []byte(row(id)), int64(1000+id))
	}
	return &checkpoint.Commit{
		Outputs:   map[string]map[int32]*checkpoint.Records{outTopic: out},
		Published: map[string]*checkpoint.Published{marks: {Run: l.run, Writer: fmt.Sprintf("s/f0/%d", l.partition), Writers: slotCount, Epoch: epoch, Term: l.term}},
		Sources:   map[string]string{outTopic: marks},
		Progress:  checkpoint.Progress{Run: l.run, Term: l.term, Epoch: epoch, Positions: map[string]checkpoint.Position{"Read|0": {Offset: int64(epoch)}}},
	}
}

func splitOf(p int32) connectors.Split { return connectors.Split{ID: fmt.Sprint(p)} }
