package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
)

func TestTheLogSyncsEveryWriteAndListensNowhere(t *testing.T) {
	s := openTest(t)
	config := s.journal.server.JetStreamConfig()
	if config == nil || !config.SyncAlways {
		t.Errorf("JetStream runs with %+v", config)
	}
	if a := s.journal.server.Addr(); a != nil {
		t.Errorf("the embedded log listens on %v", a)
	}
	if a := s.journal.server.MonitorAddr(); a != nil {
		t.Errorf("the embedded log's monitor listens on %v", a)
	}
}

func openTest(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A write behind the view's back stands for a write whose answer was lost.
func (s *Store) smuggle(t *testing.T, key, value string) {
	t.Helper()
	m := nats.NewMsg(subjectOf(key))
	m.Data = []byte(value)
	if _, err := s.journal.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestTheLogItselfRefusesAStaleWrite(t *testing.T) {
	s := openTest(t)
	s.smuggle(t, "other", "x")
	// The view still says 0, so only the log can know.
	_, err := s.Put(t.Context(), 0, "k", []byte("v"))
	var stale ErrStale
	if !errors.As(err, &stale) || stale.At != 0 || stale.Now != 1 {
		t.Fatalf("got %v", err)
	}
	if _, _, ok := s.Get("other"); !ok || s.Revision() != 1 {
		t.Error("the view did not follow the log after the refusal")
	}
}

func TestAnUnansweredWriteIsLookedFor(t *testing.T) {
	lost := errors.New("no answer")
	t.Run("it landed", func(t *testing.T) {
		s := openTest(t)
		s.smuggle(t, "k", "v")
		rev, err := s.settle(t.Context(), 0, Entry{Key: "k", Value: []byte("v")}, lost)
		if err != nil || rev != 1 || s.unsure {
			t.Errorf("settled as %d, %v", rev, err)
		}
	})
	t.Run("it did not land", func(t *testing.T) {
		s := openTest(t)
		if _, err := s.settle(t.Context(), 0, Entry{Key: "k", Value: []byte("v")}, lost); !errors.Is(err, lost) {
			t.Errorf("settled as %v", err)
		}
		if rev, err := s.Put(t.Context(), 0, "k", []byte("v")); err != nil || rev != 1 {
			t.Errorf("the next write: %d, %v", rev, err)
		}
	})
	t.Run("nobody can say", func(t *testing.T) {
		s := openTest(t)
		s.journal.conn.Close()
		if _, err := s.Put(t.Context(), 0, "k", []byte("v")); err == nil || !s.unsure {
			t.Errorf("a write without a log: %v", err)
		}
		if _, err := s.Put(t.Context(), 0, "k", []byte("v")); err == nil {
			t.Error("a write on an unsure view was made")
		}
	})
}

func TestDeletionsDoNotFillTheLog(t *testing.T) {
	s := openTest(t)
	const rounds = 3 * maxGraves
	for i := range rounds {
		key := "k/" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		if _, err := s.Put(t.Context(), s.Revision(), key, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delete(t.Context(), s.Revision(), key); err != nil {
			t.Fatal(err)
		}
	}
	info, err := s.journal.stream.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs > maxGraves+1 || info.State.LastSeq != 2*rounds {
		t.Errorf("after %d deletions the log has %d messages and ends at %d", rounds, info.State.Msgs, info.State.LastSeq)
	}
}
