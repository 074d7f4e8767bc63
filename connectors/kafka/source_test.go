package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
)

// TestAbortedAndControlRecordsOfOthersAreNeverShown lets franz-go's producers interleave transactions, some aborted, in every codec and with
// headers, and compares our reading with franz-go's, row by row and with the positions.
func TestAbortedAndControlRecordsOfOthersAreNeverShown(t *testing.T) {
	k := cluster(t, 2)
	ctx := testContext(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	pack := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	var writers []*kgo.Client
	for i, codec := range pack {
		w, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.TransactionalID(fmt.Sprint("other ", i)), kgo.ProducerBatchCompression(codec),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		writers = append(writers, w)
	}
	id := 0
	for range 40 {
		open := writers[:1+rnd.IntN(len(writers))]
		for _, w := range open {
			if err := w.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 * len(open) {
			w := open[rnd.IntN(len(open))]
			r := &kgo.Record{Topic: outTopic, Partition: int32(rnd.IntN(outParts)), Value: []byte(row(id)), Timestamp: time.UnixMilli(int64(1000 + id)),
				Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("x")}}}
			if err := w.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			id++
		}
		rnd.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
		for _, w := range open {
			if err := w.EndTransaction(ctx, kgo.TransactionEndTry(rnd.IntN(3) > 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var want []int64
	for _, r := range readAll(t, k.ListenAddrs(), outTopic, outParts) {
		var n int64
		if _, err := fmt.Sscanf(r.value, `{"id":%d,`, &n); err != nil {
			t.Fatal(err)
		}
		want = append(want, n)
	}
	slices.Sort(want)
	if len(want) == id || len(want) == 0 {
		t.Fatalf("%d of %d records are visible: nothing was aborted, or all", len(want), id)
	}
	if got := readRows(t, dial(t, k), len(want)); !slices.Equal(got, want) {
		t.Errorf("our reader shows %v\nfranz-go's %v", got, want)
	}
}

// put produces records outside of any transaction.
func put(t *testing.T, servers []string, values ...string) {
	t.Helper()
	w, err := kgo.NewClient(kgo.SeedBrokers(servers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, v := range values {
		if err := w.ProduceSync(testContext(t), &kgo.Record{Topic: outTopic, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABadRecordIsNamedAfterTheRowsBeforeIt(t *testing.T) {
	k := cluster(t, 1)
	ctx := testContext(t)
	put(t, k.ListenAddrs(), row(1), row(2), `{"id":"x"`, row(4))
	r, err := Channel(dial(t, k), outChannel).Open(ctx, splitOf(0), checkpoint.Position{})
	if err != nil {
		t.Fatal(err)
	}
	b := column.NewBatch(&rowSchema, 16)
	var rows []int64
	for {
		b.Reset()
		pos, err := r.Read(ctx, b, 16)
		rows = append(rows, b.Cols[0].Ints...)
		if err == nil {
			continue
		}
		var bad *codec.RowError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "offset 2 of "+outTopic+"/0") {
			t.Errorf("error %v", err)
		}
		if b.N != 0 || len(b.Times) != 0 || pos.Offset != 2 {
			t.Errorf("with the error come %d rows, %d times and position %d, want 2", b.N, len(b.Times), pos.Offset)
		}
		break
	}
	if !slices.Equal(rows, []int64{1, 2}) {
		t.Errorf("rows %v, want [1 2]", rows)
	}
	if _, again := r.Read(ctx, b, 16); again == nil {
		t.Error("the bad record was passed over")
	}
}

func TestAPlaceThatIsNotKeptIsRefused(t *testing.T) {
	k := cluster(t, 1)
	ctx := testContext(t)
	put(t, k.ListenAddrs(), row(1))
	r, err := Channel(dial(t, k), outChannel).Open(ctx, splitOf(0), checkpoint.Position{Offset: 7})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Read(ctx, column.NewBatch(&rowSchema, 1), 1)
	if err == nil || !strings.Contains(err.Error(), "offset 7 is outside of the kept 0 to 1") || !strings.Contains(err.Error(), "lost records") {
		t.Errorf("error %v", err)
	}
}

func TestAReadEndsWithItsContextAndTheReaderGoesOn(t *testing.T) {
	k := cluster(t, 1)
	c := dial(t, k)
	r, err := Channel(c, outChannel).Open(testContext(t), splitOf(0), checkpoint.Position{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(testContext(t))
	why := errors.New("the slot stops")
	timer := time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	defer timer.Stop()
	b := column.NewBatch(&rowSchema, 1)
	if _, err := r.Read(ctx, b, 1); !errors.Is(err, why) {
		t.Errorf("a read whose context ended: %v, want %v", err, why)
	}
	put(t, k.ListenAddrs(), row(5))
	if pos, err := r.Read(testContext(t), b, 1); err != nil || pos.Offset != 1 || b.N != 1 {
		t.Errorf("the read after it: %d rows, position %d, %v", b.N, pos.Offset, err)
	}
}

func TestWatermarksAreFollowedFromAPlace(t *testing.T) {
	k := cluster(t, 1)
	ctx, c := testContext(t), dial(t, k)
	l := logOf(c, 0)
	if _, err := l.Recover(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	w := Watermarks(c, marks, 0)
	var place int64
	for e := uint64(1); e <= 3; e++ {
		if _, err := l.Commit(ctx, commitOf(l, e, int(e))); err != nil {
			t.Fatal(err)
		}
		published, next, err := w.Poll(ctx)
		if err != nil || len(published) != 1 || published[0].Epoch != e || next <= place {
			t.Fatalf("epoch %d: %+v, place %d after %d, %v", e, published, next, place, err)
		}
		if e == 1 {
			place = next
		}
	}
	published, _, err := Watermarks(c, marks, place).Poll(ctx)
	if err != nil || len(published) != 2 || published[0].Epoch != 2 {
		t.Errorf("from place %d: %+v, %v", place, published, err)
	}
}
