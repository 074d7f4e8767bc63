package kafka

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/segmentio/kafka-go/sasl"
)

// scramSHA512 is the client side of RFC 5802 with SHA-512, Kafka's SCRAM-SHA-512: no channel binding, no authorisation identity.
type scramSHA512 struct {
	user, password string
	last           *salting
}

// salting keeps what the password became with the salt that the server gave last: thousands of hashes that each new connection would repeat.
type salting struct {
	mu         sync.Mutex // guards all below
	salt       []byte
	iterations int
	salted     []byte
}

func newScram(user, password string) scramSHA512 { return scramSHA512{user, password, &salting{}} }

func (scramSHA512) Name() string { return "SCRAM-SHA-512" }

func (m scramSHA512) salt(salt []byte, iterations int) ([]byte, error) {
	l := m.last
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.salted != nil && l.iterations == iterations && bytes.Equal(l.salt, salt) {
		return l.salted, nil
	}
	salted, err := pbkdf2.Key(sha512.New, m.password, salt, iterations, sha512.Size)
	if err != nil {
		return nil, fmt.Errorf("SCRAM: salt the password: %w", err)
	}
	l.salt, l.iterations, l.salted = salt, iterations, salted
	return salted, nil
}

// maxIterations bounds the work that a false server can ask for; Kafka's own default is 4096.
const maxIterations = 1 << 20

func (m scramSHA512) Start(context.Context) (sasl.StateMachine, []byte, error) {
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, nil, fmt.Errorf("make a SCRAM nonce: %w", err)
	}
	s := &scramSession{scramSHA512: m, nonce: base64.RawStdEncoding.EncodeToString(nonce)}
	s.first = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(m.user) + ",r=" + s.nonce
	return s, []byte("n,," + s.first), nil
}

type scramSession struct {
	scramSHA512
	nonce, first string
	signature    []byte // that the server must show; set after the first challenge
}

// Next answers a challenge. Its errors end the call: the password will not become right.
func (s *scramSession) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if s.signature != nil {
		if err := s.verify(challenge); err != nil {
			return false, nil, malformed{err}
		}
		return true, nil, nil
	}
	answer, err := s.answer(challenge)
	if err != nil {
		return false, nil, malformed{err}
	}
	return false, answer, nil
}

func (s *scramSession) answer(challenge []byte) ([]byte, error) {
	fields := scramFields(challenge)
	nonce := fields["r"]
	if !strings.HasPrefix(nonce, s.nonce) || len(nonce) == len(s.nonce) {
		return nil, errors.New("SCRAM: the server's nonce does not continue ours")
	}
	salt, err := base64.StdEncoding.DecodeString(fields["s"])
	if err != nil || len(salt) == 0 {
		return nil, fmt.Errorf("SCRAM: the server's salt is not base64: %q", fields["s"])
	}
	iterations, err := strconv.Atoi(fields["i"])
	if err != nil || iterations < 4096 || iterations > maxIterations {
		return nil, fmt.Errorf("SCRAM: %q iterations are not between 4096 and %d", fields["i"], maxIterations)
	}
	return s.prove(nonce, string(challenge), salt, iterations)
}

func (s *scramSession) prove(nonce, serverFirst string, salt []byte, iterations int) ([]byte, error) {
	salted, err := s.salt(salt, iterations)
	if err != nil {
		return nil, err
	}
	final := "c=biws,r=" + nonce // biws is "n,,"
	message := s.first + "," + serverFirst + "," + final
	key := mac(salted, "Client Key")
	stored := sha512.Sum512(key)
	proof := make([]byte, len(key))
	subtle.XORBytes(proof, key, mac(stored[:], message))
	s.signature = mac(mac(salted, "Server Key"), message)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func (s *scramSession) verify(challenge []byte) error {
	fields := scramFields(challenge)
	if e, ok := fields["e"]; ok {
		return fmt.Errorf("SCRAM: the server refuses: %s", e)
	}
	got, err := base64.StdEncoding.DecodeString(fields["v"])
	if err != nil || !hmac.Equal(got, s.signature) {
		return errors.New("SCRAM: the server does not know the password: its signature is wrong")
	}
	return nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha512.New, key)
	h.Write([]byte(message)) //nolint:errcheck // a hash never fails
	return h.Sum(nil)
}

func scramFields(b []byte) map[string]string {
	out := map[string]string{}
	for _, f := range bytes.Split(b, []byte(",")) {
		if len(f) > 1 && f[1] == '=' {
			out[string(f[:1])] = string(f[2:])
		}
	}
	return out
}
