package admin

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
)

// scramSHA512 is the client's side of SCRAM-SHA-512 (RFC 5802) for names and passwords of printable ASCII, which is what Weir makes. It
// checks the server's signature: a server that does not know the password is refused.
type scramSHA512 struct{ user, password string }

// maxIterations bounds what a server can make the client compute.
const maxIterations = 1 << 20

func (scramSHA512) Name() string { return "SCRAM-SHA-512" }

func (m scramSHA512) Start(context.Context) (sasl.StateMachine, []byte, error) {
	nonce := rand.Text()
	bare := "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(m.user) + ",r=" + nonce
	return &scramSession{password: m.password, nonce: nonce, bare: bare}, []byte("n,," + bare), nil
}

type scramSession struct {
	password, nonce, bare string
	signature             []byte // expected of the server; nil before the first challenge
}

func (s *scramSession) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	f := scramFields(string(challenge))
	if f["e"] != "" {
		return false, nil, fmt.Errorf("SCRAM: the server says %q", f["e"])
	}
	if s.signature != nil {
		got, err := base64.StdEncoding.DecodeString(f["v"])
		if err != nil || !hmac.Equal(got, s.signature) {
			return false, nil, errors.New("SCRAM: the server could not prove that it knows the password")
		}
		return true, nil, nil
	}
	salt, err := base64.StdEncoding.DecodeString(f["s"])
	if err != nil {
		return false, nil, fmt.Errorf("SCRAM: read the salt: %w", err)
	}
	n, err := strconv.Atoi(f["i"])
	if err != nil || n < 4096 || n > maxIterations || !strings.HasPrefix(f["r"], s.nonce) || f["r"] == s.nonce {
		return false, nil, fmt.Errorf("SCRAM: the server's challenge makes no sense (iterations %q)", f["i"])
	}
	salted, err := pbkdf2.Key(sha512.New, s.password, salt, n, sha512.Size)
	if err != nil {
		return false, nil, fmt.Errorf("SCRAM: salt the password: %w", err)
	}
	final := "c=biws,r=" + f["r"] // biws is "n,,": no channel binding
	message := s.bare + "," + string(challenge) + "," + final
	key := mac(salted, "Client Key")
	stored := sha512.Sum512(key)
	proof := mac(stored[:], message)
	for i := range proof {
		proof[i] ^= key[i]
	}
	s.signature = mac(mac(salted, "Server Key"), message)
	return false, []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha512.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

func scramFields(message string) map[string]string {
	out := map[string]string{}
	for _, part := range strings.Split(message, ",") {
		if k, v, ok := strings.Cut(part, "="); ok {
			out[k] = v
		}
	}
	return out
}
