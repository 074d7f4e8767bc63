package store_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/internal/store"
)

func sealer(t *testing.T) *security.Sealer {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	s, err := security.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSecretsAreMadeOnceAndSealedAtRest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	seal := sealer(t)
	secrets := store.NewSecrets(s, seal)
	made := make([][]byte, 4)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			var err error
			made[i], err = secrets.Ensure(t.Context(), "smack/events/admin", func() ([]byte, error) {
				return []byte(security.Password(rand.Reader)), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, m := range made {
		if len(m) == 0 || !bytes.Equal(m, made[0]) {
			t.Fatalf("callers got different secrets")
		}
	}
	if err := secrets.Set(t.Context(), "tls", []byte("another")); err != nil {
		t.Fatal(err)
	}
	if got := secrets.Names(); !slices.Equal(got, []string{"smack/events/admin", "tls"}) {
		t.Errorf("names %v", got)
	}
	shut(t, s)
	if leaked := find(t, dir, made[0]); leaked != "" {
		t.Errorf("the secret stands in %s", leaked)
	}
	if find(t, dir, []byte("smack")) == "" {
		t.Error("the search finds not even the name, so it proves nothing")
	}
	s = open(t, dir)
	if got, err := store.NewSecrets(s, seal).Get("smack/events/admin"); err != nil || !bytes.Equal(got, made[0]) {
		t.Errorf("after a reopen: %v", err)
	}
	if _, err := store.NewSecrets(s, sealer(t)).Get("tls"); fault.ExitCode(err) != fault.ExitDenied {
		t.Errorf("with another key: %v", err)
	}
}

func TestSecretsSayWhatIsMissing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	secrets := store.NewSecrets(s, sealer(t))
	if err := secrets.Set(t.Context(), "events", []byte("x")); err != nil {
		t.Fatal(err)
	}
	_, err := secrets.Get("evnts")
	var f *fault.Error
	if !errors.As(err, &f) || f.Exit != fault.ExitNotFound || f.Hint != "did you mean events?" {
		t.Errorf("got %v", err)
	}
	// A sealed value that is moved to another name does not open there.
	sealed, _, _ := s.Get("secrets/events")
	if _, err := s.Put(t.Context(), s.Revision(), "secrets/stolen", sealed); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Get("stolen"); fault.ExitCode(err) != fault.ExitDenied {
		t.Errorf("a moved secret: %v", err)
	}
	for range 2 {
		if err := secrets.Delete(t.Context(), "events"); err != nil {
			t.Error(err)
		}
	}
	no := errors.New("no")
	if _, err := secrets.Ensure(t.Context(), "new", func() ([]byte, error) { return nil, no }); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if _, err := secrets.Ensure(t.Context(), "../x", func() ([]byte, error) { return nil, nil }); fault.ExitCode(err) != fault.ExitInvalid {
		t.Errorf("got %v", err)
	}
}

// find returns the file under dir that holds the bytes.
func find(t *testing.T, dir string, want []byte) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, want) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
