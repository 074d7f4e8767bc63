package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/store"
)

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, s) })
	return s
}

func shut(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func put(t *testing.T, s *store.Store, key, value string) store.Revision {
	t.Helper()
	rev, err := s.Put(t.Context(), s.Revision(), key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func text(entries []store.Entry) string {
	var words []string
	for _, e := range entries {
		words = append(words, fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Revision))
	}
	return strings.Join(words, " ")
}

func TestReopenKeepsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	if s.Revision() != 0 || len(s.List("")) != 0 {
		t.Fatalf("a new store is at %d with %v", s.Revision(), s.List(""))
	}
	put(t, s, "plans/smack", "1")
	put(t, s, "plans/smack-2", "2")
	put(t, s, "plans/smack", "3")
	put(t, s, "gone", "4")
	if _, err := s.Delete(t.Context(), s.Revision(), "gone"); err != nil {
		t.Fatal(err)
	}
	const want = "plans/smack=3@3 plans/smack-2=2@2"
	for i := range 3 {
		if got := text(s.List("")); got != want || s.Revision() != 5 {
			t.Errorf("open %d: %s at %d, want %s at 5", i, got, s.Revision(), want)
		}
		if _, _, ok := s.Get("gone"); ok {
			t.Errorf("open %d: a deleted key is there", i)
		}
		shut(t, s)
		began := time.Now()
		s = open(t, dir)
		took := time.Since(began)
		t.Logf("opened in %s", took)
		if took > 5*time.Second {
			t.Errorf("open took %s", took)
		}
	}
	if got := text(s.List("plans/smack")); got != "plans/smack=3@3" {
		t.Errorf("a prefix is whole segments: %s", got)
	}
	if rev := put(t, s, "gone", "again"); rev != 6 {
		t.Errorf("the next write is %d", rev)
	}
}

func TestAStaleWriteIsRefusedWhateverKeyChanged(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	at := put(t, s, "a", "1")
	put(t, s, "b", "1")
	for name, write := range map[string]func() (store.Revision, error){
		"put":           func() (store.Revision, error) { return s.Put(t.Context(), at, "a", []byte("2")) },
		"delete":        func() (store.Revision, error) { return s.Delete(t.Context(), at, "a") },
		"put at zero":   func() (store.Revision, error) { return s.Put(t.Context(), 0, "c", []byte("2")) },
		"in the future": func() (store.Revision, error) { return s.Put(t.Context(), 9, "c", []byte("2")) },
	} {
		_, err := write()
		var stale store.ErrStale
		if !errors.As(err, &stale) || stale.Now != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := text(s.List("")); got != "a=1@1 b=1@2" || s.Revision() != 2 {
		t.Errorf("a refused write left %s at %d", got, s.Revision())
	}
}

func TestOfTwoWritersExactlyOneWins(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	const rounds = 50
	for range rounds {
		at := s.Revision()
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i := range errs {
			wg.Go(func() { _, errs[i] = s.Put(t.Context(), at, fmt.Sprintf("w%d", i), []byte{byte(at)}) })
		}
		wg.Wait()
		var stale store.ErrStale
		won := slices.Index(errs, nil)
		if won < 0 || !errors.As(errs[1-won], &stale) {
			t.Fatalf("at %d: %v", at, errs)
		}
		if s.Revision() != at+1 {
			t.Fatalf("two writes at %d led to %d", at, s.Revision())
		}
	}
}

func TestUpdateLosesNoIncrement(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	const writers, each = 4, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := s.Update(t.Context(), "n", func(old []byte) ([]byte, error) { return append(old, '.'), nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if v, _, _ := s.Get("n"); len(v) != writers*each {
		t.Errorf("%d of %d increments are there", len(v), writers*each)
	}
	rev := s.Revision()
	if err := s.Update(t.Context(), "n", func(old []byte) ([]byte, error) { return old, nil }); err != nil || s.Revision() != rev {
		t.Errorf("an update to the same value wrote (%v)", err)
	}
	no := errors.New("no")
	if err := s.Update(t.Context(), "n", func([]byte) ([]byte, error) { return nil, no }); err != no {
		t.Errorf("got %v", err)
	}
}

func TestKeysAndValuesAreBounded(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	for _, key := range []string{"", "/", "a/", "/a", "a//b", "a.b", "a b", "*", ">", "ä", "a\n", "../x", strings.Repeat("k", 513)} {
		if _, err := s.Put(t.Context(), s.Revision(), key, nil); fault.ExitCode(err) != fault.ExitInvalid {
			t.Errorf("key %q: %v", key, err)
		}
	}
	large := bytes.Repeat([]byte("x"), store.MaxValue)
	key := strings.Repeat("k/", 255) + "kk"
	if _, err := s.Put(t.Context(), s.Revision(), key, large); err != nil {
		t.Errorf("largest key and value: %v", err)
	}
	if got, _, ok := s.Get(key); !ok || !bytes.Equal(got, large) {
		t.Error("the largest value came back changed")
	}
	if _, err := s.Put(t.Context(), s.Revision(), "k", append(large, 'x')); fault.ExitCode(err) != fault.ExitInvalid {
		t.Errorf("too large: %v", err)
	}
	if _, err := s.Put(t.Context(), s.Revision(), "empty", nil); err != nil {
		t.Error(err)
	}
	if v, _, ok := s.Get("empty"); !ok || len(v) != 0 {
		t.Errorf("an empty value is %q, %v", v, ok)
	}
}

func TestValuesAreTheCallersOwn(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	mine := []byte("one")
	if _, err := s.Put(t.Context(), 0, "k", mine); err != nil {
		t.Fatal(err)
	}
	mine[0] = 'X'
	got, _, _ := s.Get("k")
	got[1] = 'X'
	s.List("")[0].Value[2] = 'X'
	if again, _, _ := s.Get("k"); string(again) != "one" {
		t.Errorf("somebody changed the value to %q", again)
	}
}

func TestOneProcessHasTheStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	if _, err := store.Open(dir); fault.ExitCode(err) != fault.ExitDenied {
		t.Errorf("opened twice: %v", err)
	}
	shut(t, s)
	if _, err := s.Put(t.Context(), s.Revision(), "k", nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("wrote to a closed store: %v", err)
	}
	if _, ok := <-s.Watch(t.Context(), ""); ok {
		t.Error("a closed store is watched")
	}
	open(t, dir)
}

func TestALostLogIsNotTakenForAnEmptyOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	put(t, s, "a", "1")
	shut(t, s)
	log := filepath.Join(dir, "jetstream")
	if err := os.Rename(log, log+".lost"); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(dir)
	if !fault.HasCode(err, "E-STORE-LOST") {
		t.Fatalf("got %v", err)
	}
	if err := os.RemoveAll(log); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(log+".lost", log); err != nil {
		t.Fatal(err)
	}
	if got := text(open(t, dir).List("")); got != "a=1@1" {
		t.Errorf("after the files came back: %s", got)
	}
}

func TestADamagedLogIsNotTakenForAYoungerOne(t *testing.T) {
	for name, index := range map[string]bool{"with its index": true, "without, as after kill -9": false} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s := open(t, dir)
			for i := range 10 {
				put(t, s, fmt.Sprintf("k%d", i), "value")
			}
			shut(t, s)
			messages := filepath.Join(dir, "jetstream", "$G", "streams", "weir-state", "msgs")
			block, err := os.ReadFile(filepath.Join(messages, "1.blk"))
			if err != nil {
				t.Fatal(err)
			}
			block[len(block)/2] ^= 1
			if err := os.WriteFile(filepath.Join(messages, "1.blk"), block, 0o600); err != nil {
				t.Fatal(err)
			}
			if !index {
				if err := os.Remove(filepath.Join(messages, "index.db")); err != nil {
					t.Fatal(err)
				}
			}
			s, err = store.Open(dir)
			if !fault.HasCode(err, "E-STORE-LOST") && !fault.HasCode(err, "E-STORE-READ") {
				t.Errorf("opened %v with %v", s, err)
			}
		})
	}
}

func TestACancelledWriteIsNotMade(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	if _, err := s.Put(ctx, 0, "k", nil); !errors.Is(err, why) || s.Revision() != 0 {
		t.Errorf("%v at %d", err, s.Revision())
	}
}

func next(t *testing.T, c <-chan store.Entry) store.Entry {
	t.Helper()
	select {
	case e, ok := <-c:
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("the watch is silent")
	}
	return store.Entry{}
}

func TestWatchTellsWhatIsThenWhatChanges(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	put(t, s, "a/1", "x")
	put(t, s, "ab", "not under a")
	put(t, s, "a/2", "y")
	ctx, cancel := context.WithCancel(t.Context())
	c := s.Watch(ctx, "a")
	for _, want := range []string{"a/1=x@1", "a/2=y@3"} {
		if got := text([]store.Entry{next(t, c)}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	put(t, s, "a/3", "z")
	if got := text([]store.Entry{next(t, c)}); got != "a/3=z@4" {
		t.Errorf("got %s", got)
	}
	if _, err := s.Delete(t.Context(), s.Revision(), "a/1"); err != nil {
		t.Fatal(err)
	}
	if e := next(t, c); e.Key != "a/1" || !e.Deleted {
		t.Errorf("got %+v", e)
	}
	cancel()
	for range c { // ends because ctx did
	}
}

func TestASlowWatcherSeesTheLastValue(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	c := s.Watch(t.Context(), "")
	var last store.Revision
	for i := range 100 {
		last = put(t, s, fmt.Sprintf("k%d", i%2), fmt.Sprint(i))
	}
	seen := 0
	for e := next(t, c); e.Revision != last; e = next(t, c) {
		seen++
	}
	if seen > 5 {
		t.Errorf("%d entries waited for a watcher of two keys", seen)
	}
	shut(t, s)
	if e, ok := <-c; ok {
		t.Errorf("after Close: %+v", e)
	}
}

// The naive twin is a map with a counter.
func TestTheStoreIsAMapWithARevision(t *testing.T) {
	base := t.TempDir()
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		dir := filepath.Join(base, fmt.Sprint(round))
		s := open(t, dir)
		twin, rev := map[string]string{}, store.Revision(0)
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			key := rapid.SampledFrom([]string{"a", "a/b", "c"}).Draw(rt, "key")
			switch rapid.SampledFrom([]string{"put", "put", "delete", "delete", "stale", "reopen"}).Draw(rt, "do") {
			case "put":
				twin[key], rev = fmt.Sprint(rev), rev+1
				if got := put(t, s, key, twin[key]); got != rev {
					rt.Fatalf("put is %d, want %d", got, rev)
				}
			case "delete":
				delete(twin, key)
				rev++
				if got, err := s.Delete(t.Context(), rev-1, key); err != nil || got != rev {
					rt.Fatalf("delete is %d, %v, want %d", got, err, rev)
				}
			case "stale":
				if _, err := s.Put(t.Context(), rev+1, key, nil); err == nil {
					rt.Fatal("a stale write was made")
				}
			case "reopen":
				shut(t, s)
				s = open(t, dir)
			}
			if len(s.List("")) != len(twin) || s.Revision() != rev {
				rt.Fatalf("%s at %d, want %v at %d", text(s.List("")), s.Revision(), twin, rev)
			}
			for k, v := range twin {
				if got, _, ok := s.Get(k); !ok || string(got) != v {
					rt.Fatalf("%s is %q, want %q", k, got, v)
				}
			}
		}
		shut(t, s)
	})
}
