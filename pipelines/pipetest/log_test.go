package pipetest_test

import (
	"errors"
	"testing"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/pipetest"
)

var slot = checkpoint.Slot{Pipeline: "p", UID: "u", Stage: "s", Fragment: "f0"}

func open(t *testing.T, w *pipetest.World, term uint64) (checkpoint.Log, *checkpoint.Recovered) {
	t.Helper()
	l, err := w.Log(t.Context(), slot, physical.Fragment{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Recover(t.Context(), 1, term)
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

func commitOf(epoch uint64) *checkpoint.Commit {
	r := &checkpoint.Records{}
	r.Append([]byte("k"), []byte(`{"v":1}`), 5)
	return &checkpoint.Commit{Outputs: map[string]map[int32]*checkpoint.Records{"out": {2: r}}, Sources: map[string]string{"out": "marks"},
		Published: map[string]*checkpoint.Published{"marks": {Run: 1, Writer: "w", Writers: 1, Ends: map[int32]int64{}}},
		State:     []checkpoint.KV{{Key: []byte("a"), Value: []byte("1")}}, Outbox: [][]byte{[]byte("e1"), []byte("e2")}, Progress: checkpoint.Progress{Run: 1, Epoch: epoch}}
}

func TestACommitIsWholeOrNothing(t *testing.T) {
	w := pipetest.NewWorld()
	l, _ := open(t, w, 1)
	w.Fault = pipetest.At(pipetest.CommitBefore, 1)
	if _, err := l.Commit(t.Context(), commitOf(1)); !errors.Is(err, pipetest.ErrInjected) {
		t.Fatalf("error is %v", err)
	}
	if n := len(w.Records("out")) + len(w.Published("marks")) + w.StateKeys(slot); n != 0 || w.Progress(slot) != nil {
		t.Errorf("%d things of a commit that failed are there", n)
	}
	w.Fault = pipetest.At(pipetest.CommitUnknown, 1)
	if _, err := l.Commit(t.Context(), commitOf(1)); !errors.Is(err, pipetest.ErrInjected) {
		t.Fatalf("error is %v", err)
	}
	_, r := open(t, w, 1)
	if len(w.Records("out")) != 1 || w.Published("marks")[0].Ends[2] != 1 || len(r.State) != 1 || len(r.Outbox) != 2 || r.Progress.Epoch != 1 || r.Ends["marks"][2] != 1 {
		t.Errorf("of a commit whose outcome was unknown was recovered %+v", r)
	}
}

func TestAnOwnerIsFencedByAHigherTerm(t *testing.T) {
	w := pipetest.NewWorld()
	old, _ := open(t, w, 1)
	open(t, w, 2)
	if _, err := old.Commit(t.Context(), commitOf(1)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("commit: %v", err)
	}
	if _, err := old.Recover(t.Context(), 1, 1); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("recover: %v", err)
	}
	if w.Progress(slot) != nil {
		t.Error("a fenced owner committed")
	}
}

func TestWhatWasAppliedIsNotRecovered(t *testing.T) {
	w := pipetest.NewWorld()
	l, _ := open(t, w, 1)
	done, err := l.Commit(t.Context(), commitOf(1))
	if err != nil {
		t.Fatal(err)
	}
	next := &checkpoint.Commit{Progress: checkpoint.Progress{Run: 1, Epoch: 2, OutboxApplied: done.Offsets[0] + 1}}
	if _, err := l.Commit(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if _, r := open(t, w, 1); len(r.Outbox) != 1 || string(r.Outbox[0].Value) != "e2" {
		t.Errorf("recovered %+v", r.Outbox)
	}
}
