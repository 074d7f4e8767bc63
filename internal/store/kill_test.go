package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/weir-project/weir/internal/store"
)

const childDir = "WEIR_STORE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeForEver(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const childKeys = 16

// writeForEver puts n = revision into key n mod childKeys, deletes every 32nd, and prints each acknowledged revision.
func writeForEver(dir string) error {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	for {
		at := s.Revision()
		key, next := fmt.Sprintf("k/%d", (at+1)%childKeys), at+1
		if next%32 == 0 {
			_, err = s.Delete(context.Background(), at, key)
		} else {
			_, err = s.Put(context.Background(), at, key, fmt.Append(nil, next))
		}
		if err != nil {
			return err
		}
		fmt.Println(next)
	}
}

// What was acknowledged before a kill -9 is there after it. That the log syncs before it acknowledges cannot be seen this way,
// since the kernel keeps the pages of a killed process: TestTheLogSyncsEveryWrite looks at the setting.
func TestNoAcknowledgedWriteIsLostToKill9(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var before store.Revision
	for round := range 4 {
		acked := before + store.Revision(killAfter(t, dir, 60+17*round, before))
		s, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		now := s.Revision()
		// The write that was under way may or may not have landed; with one writer there is at most one.
		if now < acked || now > acked+1 {
			t.Errorf("round %d: revision %d was acknowledged, and the store is at %d", round, acked, now)
		}
		for k := range store.Revision(childKeys) {
			checkKey(t, s, k, now)
		}
		shut(t, s)
		before = now
	}
	t.Logf("four kills, %d revisions", before)
}

// checkKey says what the last write of key k up to revision now must have left.
func checkKey(t *testing.T, s *store.Store, k, now store.Revision) {
	t.Helper()
	if now < childKeys {
		return
	}
	last := now - (now-k)%childKeys
	value, rev, ok := s.Get(fmt.Sprintf("k/%d", k))
	if last%32 == 0 {
		if ok {
			t.Errorf("key %d was deleted at %d and is %q of %d", k, last, value, rev)
		}
		return
	}
	if !ok || rev != last || string(value) != strconv.FormatUint(uint64(last), 10) {
		t.Errorf("key %d is %q of %d (%v), want %d", k, value, rev, ok, last)
	}
}

// killAfter runs the child until it has acknowledged n writes, kills it, and returns how many it had acknowledged by then.
func killAfter(t *testing.T, dir string, n int, before store.Revision) int {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe)
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines, acked := bufio.NewScanner(out), 0
	for lines.Scan() {
		acked++
		if want := strconv.FormatUint(uint64(before)+uint64(acked), 10); lines.Text() != want {
			t.Errorf("acknowledged %s, want %s", lines.Text(), want)
		}
		if acked == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || acked < n {
		t.Fatalf("the child ended by itself after %d writes: %v", acked, err)
	}
	return acked
}
