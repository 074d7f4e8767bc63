package security

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"

	"golang.org/x/crypto/bcrypt"
)

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	// passwordLength gives 166 bits.
	passwordLength = 28
	// ScramIterations is Kafka's own number; its broker refuses fewer.
	ScramIterations = 4096
	// SaltSize is the number of bytes of a SCRAM salt.
	SaltSize = 16
)

// Password makes a password of 28 letters and digits, which needs quoting nowhere. It panics when random fails, as the
// standard library does for lack of randomness: there is no password to go on with.
func Password(random io.Reader) string {
	out := make([]byte, 0, passwordLength)
	var b [1]byte
	for len(out) < passwordLength {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			panic(fmt.Sprintf("draw password: %v", err))
		}
		// Bytes beyond the last whole multiple are drawn again, or some letters would come up more often.
		if limit := 256 / len(alphanumeric) * len(alphanumeric); int(b[0]) < limit {
			out = append(out, alphanumeric[int(b[0])%len(alphanumeric)])
		}
	}
	return string(out)
}

// Salt draws a SCRAM salt. It panics when random fails, as Password does.
func Salt(random io.Reader) []byte {
	salt := make([]byte, SaltSize)
	if _, err := io.ReadFull(random, salt); err != nil {
		panic(fmt.Sprintf("draw salt: %v", err))
	}
	return salt
}

// ScramSHA512 is the stored form of a password: base64 of the SaltedPassword of RFC 5802, PBKDF2-HMAC-SHA512. The password
// must be ASCII (Password makes such), since text beyond it would need SASLprep first.
func ScramSHA512(password string, salt []byte, iterations int) (string, error) {
	if password == "" || len(salt) == 0 || iterations < ScramIterations {
		return "", fmt.Errorf("salt password: %d bytes of password, %d of salt, %d iterations; at least 1, 1 and %d are needed",
			len(password), len(salt), iterations, ScramIterations)
	}
	for _, r := range password {
		if r < ' ' || r > '~' {
			return "", fmt.Errorf("salt password: it has a character beyond printable ASCII")
		}
	}
	key, err := pbkdf2.Key(sha512.New, password, salt, iterations, sha512.Size)
	if err != nil {
		return "", fmt.Errorf("salt password with %d iterations: %w", iterations, err)
	}
	return base64.StdEncoding.EncodeToString(key), nil
}

// KafkaScram is the value of kafka-storage's --add-scram option for one user. It allows to log in as that user, so it belongs
// into an argument file (0600) and never into an argument list.
func KafkaScram(user, password string, salt []byte, iterations int) (string, error) {
	if err := checkName(user); err != nil {
		return "", fmt.Errorf("make SCRAM credential: %w", err)
	}
	salted, err := ScramSHA512(password, salt, iterations)
	if err != nil {
		return "", fmt.Errorf("make SCRAM credential of %s: %w", user, err)
	}
	return fmt.Sprintf("SCRAM-SHA-512=[name=%s,salt=%s,saltedpassword=%s,iterations=%d]",
		user, base64.StdEncoding.EncodeToString(salt), salted, iterations), nil
}

// Bcrypt is the stored form of a password that Password made, for services that keep them so. Its cost is the least, as nobody guesses 166 bits at
// any: a login then takes a millisecond of the service's processor and not a tenth of a second.
func Bcrypt(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return string(hash), nil
}
