package security

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/weir-project/weir/internal/fault"
)

const (
	sealFile    = "seal.key"
	sealKeySize = 32
	// sealVersion is the first byte of every sealed value, so that the form can change.
	sealVersion = 1
	sealDomain  = "weir sealed value 1\x00"
)

// Sealer encrypts secrets at rest with AES-256-GCM. It is safe for use by several goroutines.
type Sealer struct{ aead cipher.AEAD }

// OpenSealer reads the key from file seal.key of the state directory, or makes it there (0600). Two processes that do it at
// the same time get the same key. A key file that others can read is refused.
func OpenSealer(root *os.Root) (*Sealer, error) {
	key, err := readPrivate(root, sealFile)
	if errors.Is(err, os.ErrNotExist) {
		key = make([]byte, sealKeySize)
		rand.Read(key) // never fails: the program ends when the system has no randomness
		if err = createFile(root, sealFile, key, 0o600); err == nil || errors.Is(err, os.ErrExist) {
			key, err = readPrivate(root, sealFile)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open sealing key: %w", err)
	}
	return NewSealer(key)
}

// NewSealer uses a key of 32 bytes that the caller keeps.
func NewSealer(key []byte) (*Sealer, error) {
	if len(key) != sealKeySize {
		return nil, fmt.Errorf("open sealing key: it has %d bytes, not %d", len(key), sealKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("open sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("open sealing key: %w", err)
	}
	return &Sealer{aead: aead}, nil
}

// Seal encrypts plain and binds it to name: a sealed value that is moved to another name does not open.
func (s *Sealer) Seal(name string, plain []byte) []byte {
	out := make([]byte, 1, 1+len(plain)+s.aead.Overhead())
	out[0] = sealVersion
	return s.aead.Seal(out, nil, plain, sealed(name))
}

// Unseal decrypts what Seal made for the same name. A value that was changed, moved, or sealed with another key is
// fault.Denied.
func (s *Sealer) Unseal(name string, data []byte) ([]byte, error) {
	if len(data) == 0 || data[0] != sealVersion {
		return nil, fault.Invalid("E-SEAL", "unseal", name, fault.Causef("its form is unknown (this program knows form %d)", sealVersion))
	}
	plain, err := s.aead.Open(nil, nil, data[1:], sealed(name))
	if err != nil {
		return nil, fault.Denied("E-SEAL", "unseal", name, fault.Cause(err),
			fault.Hintf("restore the %s that sealed it, or set the secret again", sealFile))
	}
	return plain, nil
}

func sealed(name string) []byte { return []byte(sealDomain + name) }
