package kafka

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

func TestACommitIsFoundAgainAndReadByAnotherClient(t *testing.T) {
	k := cluster(t, 3)
	ctx, c := testContext(t), dial(t, k)
	l := logOf(c, 1)
	found, err := l.Recover(ctx, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if found.Progress != nil || found.Previous != nil || len(found.State) > 0 || len(found.Outbox) > 0 {
		t.Fatalf("a slot that never committed has %+v", found)
	}
	commit := commitOf(l, 1, 0, 1, 2, 3, 4, 5)
	commit.State = []checkpoint.KV{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b"), Value: []byte{}}, {Key: []byte("c"), Value: []byte("3")}}
	commit.Outbox = [][]byte{[]byte("box 0"), []byte("box 1")}
	done, err := l.Commit(ctx, commit)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int64{0, 1}; !slices.Equal(done.Offsets, want) {
		t.Errorf("outbox offsets %v, want %v", done.Offsets, want)
	}
	second := commitOf(l, 2, 6)
	second.State = []checkpoint.KV{{Key: []byte("c"), Value: nil}, {Key: []byte("a"), Value: []byte("2")}}
	second.Progress.OutboxApplied = 1
	if _, err := l.Commit(ctx, second); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range readAll(t, k.ListenAddrs(), outTopic, outParts) {
		got = append(got, r.value)
	}
	var want []string
	for i := range 7 {
		want = append(want, row(i))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("franz-go reads %q, want %q", got, want)
	}
	if found, err = logOf(dial(t, k), 1).Recover(ctx, 1, 2); err != nil {
		t.Fatal(err)
	}
	if found.Progress == nil || found.Progress.Epoch != 2 || found.Progress.Term != 2 || found.Progress.Positions["Read|0"].Offset != 2 {
		t.Errorf("progress %+v", found.Progress)
	}
	if want := []checkpoint.KV{{Key: []byte("a"), Value: []byte("2")}, {Key: []byte("b"), Value: []byte{}}}; !equalKV(found.State, want) {
		t.Errorf("state %q, want %q", found.State, want)
	}
	if len(found.Outbox) != 1 || found.Outbox[0].Offset != 1 || string(found.Outbox[0].Value) != "box 1" {
		t.Errorf("outbox %+v, want the entry at 1", found.Outbox)
	}
	// Partition 0 holds rows 0, 4 and a marker; 1: 1, 5, marker; 2: 2, marker, 6, marker; 3: 3, marker.
	if want := map[string]map[int32]int64{marks: {0: 2, 1: 2, 2: 3, 3: 1}}; !reflect.DeepEqual(found.Ends, want) {
		t.Errorf("ends %v, want %v", found.Ends, want)
	}
}

func equalKV(a, b []checkpoint.KV) bool {
	return slices.EqualFunc(a, b, func(x, y checkpoint.KV) bool {
		return string(x.Key) == string(y.Key) && string(x.Value) == string(y.Value)
	})
}

func TestThePublishedEndsAreThoseOfTheRecords(t *testing.T) {
	k := cluster(t, 3)
	ctx, c := testContext(t), dial(t, k)
	one, two := logOf(c, 0), logOf(c, 1)
	for i, l := range []*txnLog{one, two} {
		if _, err := l.Recover(ctx, 1, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for epoch := uint64(1); epoch <= 5; epoch++ {
		for i, l := range []*txnLog{one, two} {
			base := int(epoch)*100 + i*50
			if _, err := l.Commit(ctx, commitOf(l, epoch, base, base+1, base+6, base+10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What each writer wrote last in each partition, by the other client's reading.
	want := map[string]map[int32]int64{}
	for _, r := range readAll(t, k.ListenAddrs(), outTopic, outParts) {
		var id int
		if _, err := fmt.Sscan(r.key, &id); err != nil {
			t.Fatal(err)
		}
		writer := fmt.Sprintf("s/f0/%d", id%100/50)
		if want[writer] == nil {
			want[writer] = map[int32]int64{}
		}
		want[writer][r.partition] = max(want[writer][r.partition], r.offset+1)
	}
	w := Watermarks(c, marks, 0)
	var published []checkpoint.Published
	for len(published) < 10 {
		more, _, err := w.Poll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		published = append(published, more...)
	}
	got := map[string]map[int32]int64{}
	for _, p := range published {
		got[p.Writer] = p.Ends
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("published ends %v, want %v", got, want)
	}
}

func TestAZombieIsFencedAndLeavesNothingVisible(t *testing.T) {
	k := cluster(t, 3)
	ctx := testContext(t)
	old := logOf(dial(t, k), 0)
	if _, err := old.Recover(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Commit(ctx, commitOf(old, 1, 1)); err != nil {
		t.Fatal(err)
	}
	// The old owner has written, and not committed, when the new one arrives.
	zombie := &outgoing{place: place{outTopic, 0}, records: &checkpoint.Records{}}
	zombie.records.Append(nil, []byte(row(666)), 1)
	if err := old.producer.begin(ctx, []place{zombie.place}); err != nil {
		t.Fatal(err)
	}
	if err := old.producer.write(ctx, []*outgoing{zombie}); err != nil {
		t.Fatal(err)
	}
	heir := logOf(dial(t, k), 0)
	found, err := heir.Recover(ctx, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if found.Progress == nil || found.Progress.Epoch != 1 {
		t.Fatalf("the heir found %+v, want epoch 1", found.Progress)
	}
	if _, err := old.Commit(ctx, commitOf(old, 2, 666)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("the zombie's commit: %v, want %v", err, checkpoint.ErrFenced)
	}
	if _, err := old.Recover(ctx, 1, 1); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("the zombie's recovery: %v, want %v", err, checkpoint.ErrFenced)
	}
	if _, err := heir.Commit(ctx, commitOf(heir, 2, 2)); err != nil {
		t.Errorf("the zombie's recovery harmed the heir: %v", err)
	}
	for _, r := range readAll(t, k.ListenAddrs(), outTopic, outParts) {
		if r.value != row(1) && r.value != row(2) {
			t.Errorf("visible: %s", r.value)
		}
	}
	if got := readRows(t, dial(t, k), 2); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("our reader shows %v, want [1 2]", got)
	}
}

// readRows reads n rows of the channel and then up to the end of each partition: their ids, sorted.
func readRows(t *testing.T, c *Client, n int) []int64 {
	t.Helper()
	ctx := testContext(t)
	s := Channel(c, outChannel)
	splits, err := s.Splits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, split := range splits {
		ids = append(ids, readSplit(t, c, s, split)...)
	}
	slices.Sort(ids)
	if len(ids) != n {
		t.Errorf("our reader shows %d rows, want %d", len(ids), n)
	}
	return ids
}

func readSplit(t *testing.T, c *Client, s connectors.Source, split connectors.Split) []int64 {
	t.Helper()
	ctx := testContext(t)
	var p int32
	if _, err := fmt.Sscan(split.ID, &p); err != nil {
		t.Fatal(err)
	}
	end, err := c.Latest(ctx, outTopic, p)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(ctx, split, checkpoint.Position{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	b := column.NewBatch(&rowSchema, 16)
	for at := int64(0); at < end; {
		b.Reset()
		pos, err := r.Read(ctx, b, 3)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		at = pos.Offset
		b.Rows(func(i int) {
			ids = append(ids, b.Cols[0].Ints[i])
			if want := fmt.Sprintf("row %d", b.Cols[0].Ints[i]); string(b.Cols[1].At(i)) != want {
				t.Errorf("row %d has text %q", b.Cols[0].Ints[i], b.Cols[1].At(i))
			}
			if want := (1000 + b.Cols[0].Ints[i]) * 1000; b.Times[i] != want && b.Cols[0].Ints[i] != 666 {
				t.Errorf("row %d has event time %d, want %d", b.Cols[0].Ints[i], b.Times[i], want)
			}
		})
	}
	return ids
}

func TestAnAnswerThatWasLostIsFoundOut(t *testing.T) {
	for _, committed := range []bool{false, true} {
		t.Run(fmt.Sprintf("committed=%t", committed), func(t *testing.T) {
			k := cluster(t, 1)
			ctx := testContext(t)
			c := dial(t, k)
			l, fault := logOf(c, 2), injectInto(c)
			if _, err := l.Recover(ctx, 1, 1); err != nil {
				t.Fatal(err)
			}
			fault.arm(kmsg.EndTxn, committed, nil)
			if _, err := l.Commit(ctx, commitOf(l, 1, 7)); err == nil || !strings.Contains(err.Error(), "not known") {
				t.Fatalf("a commit without an answer: %v", err)
			}
			if _, err := l.Commit(ctx, commitOf(l, 1, 7)); err == nil || !strings.Contains(err.Error(), "recover it first") {
				t.Fatalf("a commit after it: %v", err)
			}
			found, err := l.Recover(ctx, 1, 1)
			if err != nil {
				t.Fatal(err)
			}
			if got := found.Progress != nil; got != committed {
				t.Errorf("recovered %+v, and the commit happened: %t", found.Progress, committed)
			}
			want := 0
			if committed {
				want = 1
			}
			if got := readAll(t, k.ListenAddrs(), outTopic, outParts); len(got) != want {
				t.Errorf("visible %v, want %d", got, want)
			}
		})
	}
}

func TestARunThatIsNewStartsFromNothing(t *testing.T) {
	k := cluster(t, 1)
	ctx, c := testContext(t), dial(t, k)
	l := logOf(c, 0)
	if _, err := l.Recover(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	commit := commitOf(l, 9, 1)
	commit.State = []checkpoint.KV{{Key: []byte("old"), Value: []byte("1")}}
	commit.Outbox = [][]byte{[]byte("left")}
	if _, err := l.Commit(ctx, commit); err != nil {
		t.Fatal(err)
	}
	for term := uint64(2); term < 4; term++ { // twice: the claim of the new run keeps what the old one left
		found, err := l.Recover(ctx, 2, term)
		if err != nil {
			t.Fatal(err)
		}
		if found.Progress != nil || len(found.State) > 0 || len(found.Ends) > 0 {
			t.Errorf("term %d of the new run found %+v", term, found)
		}
		if found.Previous == nil || found.Previous.Run != 1 || found.Previous.Epoch != 9 {
			t.Errorf("term %d: previous %+v, want epoch 9 of run 1", term, found.Previous)
		}
		if len(found.Outbox) != 1 || string(found.Outbox[0].Value) != "left" {
			t.Errorf("term %d: outbox %+v", term, found.Outbox)
		}
	}
	if _, err := l.Recover(ctx, 1, 9); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("the old run comes back: %v, want %v", err, checkpoint.ErrFenced)
	}
	if _, err := l.Recover(ctx, 2, 4); err != nil {
		t.Fatal(err)
	}
	commit = commitOf(l, 1, 2)
	commit.State = []checkpoint.KV{{Key: []byte("new"), Value: []byte("2")}}
	commit.Progress.OutboxApplied = 1
	if _, err := l.Commit(ctx, commit); err != nil {
		t.Fatal(err)
	}
	last := map[string]string{}
	for _, r := range readAll(t, k.ListenAddrs(), changes, slotCount) {
		last[r.key] = r.value
	}
	if v, ok := last["sold"]; !ok || v != "" {
		t.Errorf("the old run's state is %q in the changelog (written: %t), want a tombstone", v, ok)
	}
	found, err := l.Recover(ctx, 2, 5)
	if err != nil {
		t.Fatal(err)
	}
	if !equalKV(found.State, []checkpoint.KV{{Key: []byte("new"), Value: []byte("2")}}) || found.Previous != nil || len(found.Outbox) > 0 {
		t.Errorf("run 2 found %+v", found)
	}
}

func TestStateThatIsLargerThanABatchIsSplit(t *testing.T) {
	k := cluster(t, 1)
	ctx, c := testContext(t), dial(t, k)
	l := logOf(c, 0)
	if _, err := l.Recover(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	commit := commitOf(l, 1)
	var want []checkpoint.KV
	for i := range 30 {
		want = append(want, checkpoint.KV{Key: []byte(fmt.Sprintf("%02d", i)), Value: []byte(strings.Repeat("x", 100_000+i))})
	}
	commit.State = want
	if _, err := l.Commit(ctx, commit); err != nil {
		t.Fatal(err)
	}
	found, err := l.Recover(ctx, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !equalKV(found.State, want) || found.Progress.Epoch != 1 {
		t.Errorf("%d keys and progress %+v came back, want %d", len(found.State), found.Progress, len(want))
	}
}

func TestATransactionThatTimedOutIsNoTakeover(t *testing.T) {
	k := cluster(t, 1)
	ctx, c := testContext(t), dial(t, k)
	l := NewLog(c, LogConfig{Install: "test", Slot: slot(0), Changelog: changes, TxnTimeout: 100 * time.Millisecond}).(*txnLog)
	if _, err := l.Recover(ctx, 1, 5); err != nil {
		t.Fatal(err)
	}
	late := &outgoing{place: place{outTopic, 0}, records: &checkpoint.Records{}}
	late.records.Append(nil, []byte(row(1)), 1)
	if err := l.producer.begin(ctx, []place{late.place}); err != nil {
		t.Fatal(err)
	}
	if err := l.producer.write(ctx, []*outgoing{late}); err != nil {
		t.Fatal(err)
	}
	for end := int64(0); end == 0; { // until the broker has aborted it
		var err error
		if end, err = c.Latest(ctx, outTopic, 0); err != nil {
			t.Fatal(err)
		}
	}
	_, err := l.Commit(ctx, commitOf(l, 1, 1))
	if err == nil || errors.Is(err, checkpoint.ErrFenced) || !strings.Contains(err.Error(), "recover again") {
		t.Fatalf("the commit after the timeout: %v", err)
	}
	if _, err := l.Recover(ctx, 1, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(ctx, commitOf(l, 1, 2)); err != nil {
		t.Fatal(err)
	}
	if got := readRows(t, c, 1); !slices.Equal(got, []int64{2}) {
		t.Errorf("visible: %v, want [2]", got)
	}
}

func TestACommitMayBeCompressed(t *testing.T) {
	for _, pack := range packers {
		k := cluster(t, 1)
		ctx, c := testContext(t), dial(t, k)
		l := NewLog(c, LogConfig{Install: "test", Slot: slot(0), Changelog: changes, Outbox: boxes, Compression: pack}).(*txnLog)
		if _, err := l.Recover(ctx, 1, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Commit(ctx, commitOf(l, 1, ids(100)...)); err != nil {
			t.Fatal(err)
		}
		if wrong := mistakes(t, k.ListenAddrs(), 100); len(wrong) > 0 {
			t.Errorf("codec %d: %v", pack, wrong)
		}
		if got := readRows(t, c, 100); len(got) != 100 || got[99] != 99 {
			t.Errorf("codec %d: our reader shows %v", pack, got)
		}
		if found, err := l.Recover(ctx, 1, 1); err != nil || found.Progress == nil || found.Progress.Epoch != 1 {
			t.Errorf("codec %d: recovered %+v, %v", pack, found, err)
		}
	}
}
