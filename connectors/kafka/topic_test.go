package kafka

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

var payload = column.Schema{Fields: []column.Field{{Name: "payload", Kind: column.String}}}

// fill writes rows with another client: row i to partition i mod outParts.
func fill(t *testing.T, servers []string, from, to int) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(servers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := from; i < to; i++ {
		r := &kgo.Record{Topic: outTopic, Partition: int32(i % outParts), Value: []byte(row(i)), Timestamp: time.UnixMilli(int64(1000 + i))}
		if err := c.ProduceSync(testContext(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// drain reads all splits to their ends, each from a place between its rows too, and returns the values in the splits' order.
func drain(t *testing.T, c *Client, cfg TopicConfig, limit int) []string {
	t.Helper()
	ctx, src := testContext(t), Topic(c, cfg, physical.ReadConfig{Format: "raw", Schema: payload})
	splits, err := src.Splits(ctx)
	if err != nil || len(splits) != outParts {
		t.Fatalf("%d splits, %v", len(splits), err)
	}
	var out []string
	for _, sp := range splits {
		var pos checkpoint.Position
		for ended := false; !ended; {
			r, err := src.Open(ctx, sp, pos) // again for every read: from any position the rest is the same
			if err != nil {
				t.Fatal(err)
			}
			b := column.NewBatch(&payload, limit)
			next, err := r.Read(ctx, b, limit)
			if ended = errors.Is(err, io.EOF); err != nil && !ended || ended && (b.N > 0 || !next.Ended) {
				t.Fatalf("split %s at %d: %d rows, %+v, %v", sp.ID, pos.Offset, b.N, next, err)
			}
			for i := range b.N {
				out = append(out, string(b.Cols[0].At(i)))
			}
			if pos = next; r.Close() != nil {
				t.Fatal("it does not close")
			}
		}
	}
	return out
}

func rowsOf(from, to int) []string {
	var out []string
	for p := range outParts {
		for i := from; i < to; i++ {
			if i%outParts == p {
				out = append(out, row(i))
			}
		}
	}
	return out
}

func TestATopicIsReadToTheEndThatItHadAtTheStart(t *testing.T) {
	k := cluster(t, 1)
	c := dial(t, k)
	fill(t, k.ListenAddrs(), 0, 37)
	if got := drain(t, c, TopicConfig{Topic: outTopic, Earliest: true, Stop: true}, 3); !slices.Equal(got, rowsOf(0, 37)) {
		t.Errorf("got %v", got)
	}
	if got := drain(t, c, TopicConfig{Topic: outTopic, Stop: true}, 3); len(got) != 0 {
		t.Errorf("from the latest record on there was %v", got)
	}
	src := Topic(c, TopicConfig{Topic: outTopic, Earliest: true, Stop: true}, physical.ReadConfig{Format: "json", Schema: rowSchema})
	splits, err := src.Splits(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, k.ListenAddrs(), 37, 60) // comes too late
	r, err := src.Open(testContext(t), splits[1], checkpoint.Position{})
	if err != nil {
		t.Fatal(err)
	}
	b := column.NewBatch(&rowSchema, 100)
	for err = nil; err == nil; {
		_, err = r.Read(testContext(t), b, 100)
	}
	if !errors.Is(err, io.EOF) || b.N != 9 || b.Cols[0].Ints[8] != 33 || b.Times[8] != 1_033_000 {
		t.Errorf("%d rows, the last %v at %v, %v", b.N, b.Cols[0].Ints, b.Times, err)
	}
}

func TestATopicIsReadForSoLong(t *testing.T) {
	k := cluster(t, 1)
	c := dial(t, k)
	fill(t, k.ListenAddrs(), 0, 8)
	began := time.Now()
	// One partition after the other: the time is up after the first.
	if got := drain(t, c, TopicConfig{Topic: outTopic, Earliest: true, For: 300 * time.Millisecond}, 100); !slices.Equal(got, []string{row(0), row(4)}) || time.Since(began) < 300*time.Millisecond {
		t.Errorf("got %v after %s", got, time.Since(began))
	}
}

func TestATopicThatIsNotThereIsToldAtOnce(t *testing.T) {
	c := dial(t, cluster(t, 1))
	_, err := Topic(c, TopicConfig{Topic: "nowhere"}, physical.ReadConfig{}).Splits(testContext(t))
	if err == nil || !strings.HasPrefix(err.Error(), "there is no topic nowhere at ") {
		t.Errorf("got %v", err)
	}
}

func TestWrittenRowsAreFoundByTheirKeyAndTime(t *testing.T) {
	k := cluster(t, 2)
	ctx, c := testContext(t), dial(t, k)
	sink, err := NewTopicSink(c, TopicConfig{Topic: outTopic, Key: []string{"text"}}, physical.WriteConfig{Format: "json"}, rowSchema, "run-1")
	if err != nil {
		t.Fatal(err)
	}
	b := column.NewBatch(&rowSchema, 8)
	for i, text := range []string{"a", "b", "a", "c", "b", "a"} {
		b.Cols[0].AppendInt(int64(i))
		b.Cols[1].AppendString([]byte(text))
		b.AppendTime(column.Time(i) * 1000)
		b.N++
	}
	b.Times[5] = column.MinTime
	entries, err := sink.Stage(b, nil)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for range 2 { // a repeat writes them again: at least once
		if err := sink.Apply(ctx, entries); err != nil {
			t.Fatal(err)
		}
	}
	got := readAll(t, k.ListenAddrs(), outTopic, outParts)
	if len(got) != 12 {
		t.Fatalf("%d records", len(got))
	}
	byKey := map[string][]string{}
	for _, r := range got {
		if r.partition != codec.Partition([]byte(r.key), outParts) {
			t.Errorf("%+v is in the wrong partition", r)
		}
		byKey[r.key] = append(byKey[r.key], r.value)
	}
	once := []string{`{"id":0,"text":"a"}`, `{"id":2,"text":"a"}`, `{"id":5,"text":"a"}`}
	if !slices.Equal(byKey["a"], slices.Concat(once, once)) {
		t.Errorf("rows of a: %v", byKey["a"])
	}
}

func TestAnEntryThatIsCutOrOfAnotherVersionIsRefused(t *testing.T) {
	k := cluster(t, 1)
	sink, err := NewTopicSink(dial(t, k), TopicConfig{Topic: outTopic}, physical.WriteConfig{Format: "raw"}, payload, "run-2")
	if err != nil {
		t.Fatal(err)
	}
	b := column.NewBatch(&payload, 1)
	b.Cols[0].AppendString([]byte("hello"))
	b.AppendTime(0)
	b.N = 1
	entries, err := sink.Stage(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := entries[0]
	bad := [][]byte{nil, {9}, append([]byte{2}, whole[1:]...)}
	for n := 2; n < len(whole); n++ {
		bad = append(bad, whole[:n])
	}
	for _, e := range bad {
		if err := sink.Apply(testContext(t), [][]byte{e}); err == nil {
			t.Errorf("%d bytes %v were taken", len(e), e)
		}
	}
	if err := sink.Apply(testContext(t), entries); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, k.ListenAddrs(), outTopic, outParts); len(got) != 1 || got[0].value != "hello" {
		t.Errorf("got %v", got)
	}
	if _, err := NewTopicSink(dial(t, k), TopicConfig{Topic: outTopic, Key: []string{"no"}}, physical.WriteConfig{}, payload, "run-3"); err == nil {
		t.Error("a key that is no column was taken")
	}
}
