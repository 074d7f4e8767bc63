package security

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/weir-project/weir/internal/fault"
)

// Role says what the holder of a certificate is; it is carried as the certificate's only organizational unit.
type Role string

// The roles. They are compared exactly, never by prefix.
const (
	RoleServer    Role = "server"
	RoleAgent     Role = "agent"
	RoleWorker    Role = "worker"
	RoleAdmin     Role = "admin"
	RoleKafka     Role = "kafka"
	RoleCassandra Role = "cassandra"
	RoleNats      Role = "nats"
)

// Roles are all the roles that can be issued.
var Roles = []Role{RoleServer, RoleAgent, RoleWorker, RoleAdmin, RoleKafka, RoleCassandra, RoleNats}

const (
	organization = "weir"
	caLifetime   = 10 * 365 * 24 * time.Hour
	// clockSkew is how far a host's clock may be behind the issuer's without refusing a new certificate.
	clockSkew = time.Minute
	caFile    = "ca.pem"
)

// CA is a certificate authority: ECDSA P-256, and no authority below it.
type CA struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	certPEM []byte
	random  io.Reader
}

// NewCA makes an authority that is valid for ten years from now. random gives serial numbers; keys always come from the
// operating system's generator, as the standard library wants it.
func NewCA(name string, now time.Time, random io.Reader) (*CA, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key of certificate authority %s: %w", name, err)
	}
	serial, err := serialNumber(random)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{organization}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate authority %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back certificate authority %s: %w", name, err)
	}
	return &CA{cert: cert, key: key, certPEM: certificatePEM(der), random: random}, nil
}

// LoadCA reads an authority from the PEM forms of its certificate and its PKCS#8 key, and checks that they belong together.
func LoadCA(certPEM, keyPEM []byte, random io.Reader) (*CA, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != pemCertificate {
		return nil, errors.New("load certificate authority: no CERTIFICATE block in its PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("load certificate authority %s: %w", cert.Subject.CommonName, err)
	}
	if !cert.IsCA || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("load certificate authority %s: key and certificate do not belong together", cert.Subject.CommonName)
	}
	return &CA{cert: cert, key: key, certPEM: certificatePEM(block.Bytes), random: random}, nil
}

// EnsureCA loads the authority from file ca.pem of the state directory, or makes and stores it there (0600). Two processes
// that do it at the same time get the same one.
func EnsureCA(root *os.Root, name string, now time.Time, random io.Reader) (*CA, error) {
	ca, err := readCA(root, random)
	if !errors.Is(err, os.ErrNotExist) {
		return ca, err
	}
	ca, err = NewCA(name, now, random)
	if err != nil {
		return nil, err
	}
	key, err := ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	err = createFile(root, caFile, append(key, ca.certPEM...), 0o600)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("store certificate authority %s: %w", name, err)
	}
	return readCA(root, random)
}

func readCA(root *os.Root, random io.Reader) (*CA, error) {
	data, err := readPrivate(root, caFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	b, err := parseBundle(data)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority from %s: %w", caFile, err)
	}
	return LoadCA(b.CertPEM, b.KeyPEM, random)
}

// CertPEM is the authority's certificate: what a peer trusts.
func (ca *CA) CertPEM() []byte { return append([]byte(nil), ca.certPEM...) }

// KeyPEM is the authority's key in PKCS#8. Whoever has it can be anyone.
func (ca *CA) KeyPEM() ([]byte, error) { return keyPEM(ca.key) }

// NotAfter is when the authority ends; no certificate that it issues lives longer.
func (ca *CA) NotAfter() time.Time { return ca.cert.NotAfter }

// Request asks for one certificate.
type Request struct {
	CN         string // letters, digits, '.', '_' and '-', at most 64; the name of the peer
	Role       Role
	DNS        []string
	IPs        []net.IP
	NotBefore  time.Time // a minute is taken off for clocks that are behind
	NotAfter   time.Time
	ClientAuth bool // may present itself as a client
	ServerAuth bool // may present itself as a server
}

func (r Request) check(ca *CA) error {
	if err := checkName(r.CN); err != nil {
		return err
	}
	known := false
	for _, role := range Roles {
		known = known || role == r.Role
	}
	switch {
	case !known:
		return fmt.Errorf("unknown role %q (roles: %v)", r.Role, Roles)
	case !r.ClientAuth && !r.ServerAuth:
		return errors.New("it is for neither a client nor a server; set ClientAuth or ServerAuth")
	case r.ServerAuth && len(r.DNS)+len(r.IPs) == 0:
		return errors.New("a server's certificate needs a DNS name or an address")
	case r.NotBefore.IsZero() || !r.NotAfter.After(r.NotBefore):
		return fmt.Errorf("it would live from %s to %s", r.NotBefore.Format(time.RFC3339), r.NotAfter.Format(time.RFC3339))
	case r.NotAfter.After(ca.cert.NotAfter):
		return fmt.Errorf("it would end at %s, after its authority at %s",
			r.NotAfter.Format(time.RFC3339), ca.cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// Issue makes a key and signs its certificate. A request that makes no sense is fault.Invalid.
func (ca *CA) Issue(r Request) (Bundle, error) {
	if err := r.check(ca); err != nil {
		return Bundle{}, fault.Invalid("E-CERT", "issue certificate", fmt.Sprintf("%.80q", r.CN), fault.Cause(err))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Bundle{}, fmt.Errorf("make key of %s: %w", r.CN, err)
	}
	serial, err := serialNumber(ca.random)
	if err != nil {
		return Bundle{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// Kafka takes its principal from the beginning of the name as Java prints it, last part first: CN=…,OU=…,O=weir.
		Subject:   pkix.Name{CommonName: r.CN, OrganizationalUnit: []string{string(r.Role)}, Organization: []string{organization}},
		NotBefore: r.NotBefore.Add(-clockSkew), NotAfter: r.NotAfter,
		DNSNames: r.DNS, IPAddresses: r.IPs,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if r.ClientAuth {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if r.ServerAuth {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return Bundle{}, fmt.Errorf("sign certificate of %s: %w", r.CN, err)
	}
	private, err := keyPEM(key)
	if err != nil {
		return Bundle{}, err
	}
	return Bundle{CertPEM: certificatePEM(der), KeyPEM: private, CAPEM: ca.CertPEM()}, nil
}

// checkName keeps a common name to characters that mean the same in X.500 text, Kafka's mapping rules and a path.
func checkName(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("common name %.80q has %d bytes, not 1 to 64", name, len(name))
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
		default:
			return fmt.Errorf("common name %q has the character %q; use letters, digits, '.', '_' and '-'", name, r)
		}
	}
	return nil
}

func serialNumber(random io.Reader) (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("draw serial number of certificate: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40 // positive and of full length, as RFC 5280 wants
	return new(big.Int).SetBytes(b[:]), nil
}
