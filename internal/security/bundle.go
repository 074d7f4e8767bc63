package security

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY" // PKCS#8, the only form that Java reads from PEM
)

// Bundle is what a peer needs to prove itself and to check others: a certificate, its PKCS#8 key, and the authority that both
// sides trust, each in PEM.
type Bundle struct {
	CertPEM, KeyPEM, CAPEM []byte
}

// JavaPEM is key, certificate and authority in one PEM, which Kafka and Cassandra take as a PEM keystore.
func (b Bundle) JavaPEM() []byte {
	return bytes.Join([][]byte{b.KeyPEM, b.CertPEM, b.CAPEM}, nil)
}

// TLSCertificate is the certificate with its key for crypto/tls.
func (b Bundle) TLSCertificate() (tls.Certificate, error) {
	cert, err := tls.X509KeyPair(b.CertPEM, b.KeyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read certificate and key of bundle: %w", err)
	}
	return cert, nil
}

// NotAfter is when the certificate ends.
func (b Bundle) NotAfter() (time.Time, error) {
	cert, err := b.TLSCertificate()
	if err != nil {
		return time.Time{}, err
	}
	return cert.Leaf.NotAfter, nil
}

func (b Bundle) pool() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b.CAPEM) {
		return nil, errors.New("read authority of bundle: no certificate in its PEM")
	}
	return pool, nil
}

// Save writes the bundle as one file (0600) of the state directory.
func (b Bundle) Save(root *os.Root, name string) error {
	if _, err := b.TLSCertificate(); err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	return WriteFile(root, name, b.JavaPEM(), 0o600)
}

// LoadBundle reads what Save wrote; a file that others can read is refused. A missing file is os.ErrNotExist.
func LoadBundle(root *os.Root, name string) (Bundle, error) {
	data, err := readPrivate(root, name)
	if err != nil {
		return Bundle{}, fmt.Errorf("load certificate: %w", err)
	}
	b, err := parseBundle(data)
	if err == nil && len(b.CAPEM) == 0 {
		err = errors.New("no certificate of an authority in its PEM")
	}
	if err == nil {
		_, err = b.TLSCertificate()
	}
	if err != nil {
		return Bundle{}, fmt.Errorf("load certificate from %s: %w", name, err)
	}
	return b, nil
}

// parseBundle splits a PEM of one key, one certificate, and any number of authorities after it.
func parseBundle(data []byte) (Bundle, error) {
	var b Bundle
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		text := pem.EncodeToMemory(block)
		switch {
		case block.Type == pemKey && b.KeyPEM == nil:
			b.KeyPEM = text
		case block.Type == pemCertificate && b.CertPEM == nil:
			b.CertPEM = text
		case block.Type == pemCertificate:
			b.CAPEM = append(b.CAPEM, text...)
		default:
			return Bundle{}, fmt.Errorf("unexpected PEM block %q", block.Type)
		}
	}
	if b.KeyPEM == nil || b.CertPEM == nil {
		return Bundle{}, errors.New("its PEM lacks a PKCS#8 key or a certificate")
	}
	return b, nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemKey {
		return nil, errors.New("no PKCS#8 PRIVATE KEY block in its PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key is a %T, not ECDSA", key)
	}
	return private, nil
}
