package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
)

const secretsRoot = "secrets"

// Secrets keeps values that are sealed at rest (C1). Names are keys, as in "smack/events/admin". A sealed value is bound to its
// name: one that was moved in the log does not open.
type Secrets struct {
	store  *Store
	sealer *security.Sealer
}

// NewSecrets keeps secrets in a store, sealed by sealer.
func NewSecrets(s *Store, sealer *security.Sealer) *Secrets {
	return &Secrets{store: s, sealer: sealer}
}

// Ensure returns the secret, made by generate and stored first if there is none. Of several callers all get the same value,
// and generate may be called by each of them.
func (s *Secrets) Ensure(ctx context.Context, name string, generate func() ([]byte, error)) ([]byte, error) {
	for {
		at := s.store.Revision()
		value, err := s.Get(name)
		if err == nil || fault.ExitCode(err) != fault.ExitNotFound {
			return value, err
		}
		if value, err = generate(); err != nil {
			return nil, fmt.Errorf("make secret %s: %w", name, err)
		}
		var stale ErrStale
		_, err = s.store.Put(ctx, at, secretKey(name), s.sealer.Seal(name, value))
		switch {
		case err == nil:
			return value, nil
		case !errors.As(err, &stale):
			return nil, fmt.Errorf("store secret %s: %w", name, err)
		}
	}
}

// Set stores a secret over whatever was there.
func (s *Secrets) Set(ctx context.Context, name string, value []byte) error {
	sealed := s.sealer.Seal(name, value)
	err := s.store.Update(ctx, secretKey(name), func([]byte) ([]byte, error) { return sealed, nil })
	if err != nil {
		return fmt.Errorf("store secret %s: %w", name, err)
	}
	return nil
}

// Get returns a secret; fault.NotFound if there is none, fault.Denied if it was sealed by another key or for another name.
func (s *Secrets) Get(name string) ([]byte, error) {
	sealed, _, ok := s.store.Get(secretKey(name))
	if !ok {
		return nil, fault.NotFound("E-SECRET", "get secret", name,
			fault.Hint(fault.DidYouMean(name, s.Names(), "list them with weir secret")))
	}
	value, err := s.sealer.Unseal(name, sealed)
	if err != nil {
		return nil, fmt.Errorf("get secret %s: %w", name, err)
	}
	return value, nil
}

// Delete removes a secret; removing none is no error.
func (s *Secrets) Delete(ctx context.Context, name string) error {
	for {
		at := s.store.Revision()
		if _, _, ok := s.store.Get(secretKey(name)); !ok {
			return nil
		}
		var stale ErrStale
		if _, err := s.store.Delete(ctx, at, secretKey(name)); !errors.As(err, &stale) {
			return err
		}
	}
}

// Names lists the names of all secrets, sorted.
func (s *Secrets) Names() []string {
	entries := s.store.List(secretsRoot)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimPrefix(e.Key, secretsRoot+"/")
	}
	return names
}

func secretKey(name string) string { return secretsRoot + "/" + name }
