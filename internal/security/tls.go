package security

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/weir-project/weir/internal/fault"
)

// ServerTLS is the configuration of a listener: TLS 1.3, a client certificate of the same authority required, HTTP/2 only.
// Sessions are not resumed, so that every connection shows its certificate.
func ServerTLS(b Bundle) (*tls.Config, error) {
	config, err := baseTLS(b)
	if err != nil {
		return nil, fmt.Errorf("configure TLS server: %w", err)
	}
	config.ClientCAs, err = b.pool()
	if err != nil {
		return nil, fmt.Errorf("configure TLS server: %w", err)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.SessionTicketsDisabled = true
	config.VerifyConnection = requireHTTP2
	return config, nil
}

// ClientTLS is the configuration of a client that expects serverName (a DNS name or an address) in the server's certificate.
func ClientTLS(b Bundle, serverName string) (*tls.Config, error) {
	if serverName == "" {
		return nil, errors.New("configure TLS client: no server name to expect")
	}
	config, err := baseTLS(b)
	if err != nil {
		return nil, fmt.Errorf("configure TLS client for %s: %w", serverName, err)
	}
	config.RootCAs, err = b.pool()
	if err != nil {
		return nil, fmt.Errorf("configure TLS client for %s: %w", serverName, err)
	}
	config.ServerName = serverName
	return config, nil
}

// ServiceTLS is the configuration of a client of a service that is not Weir's own program: a Kafka, a Cassandra, a NATS. TLS 1.2 or later, the
// address that is dialled is expected in the server's certificate, and the bundle's own certificate is shown where it has one. Without an
// authority it is nil: the service is spoken to without TLS.
func ServiceTLS(b Bundle) (*tls.Config, error) {
	if len(b.CAPEM) == 0 {
		if len(b.CertPEM) > 0 {
			return nil, errors.New("a client certificate is given, and no authority to check the server with")
		}
		return nil, nil
	}
	pool, err := b.pool()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	if len(b.CertPEM) > 0 {
		cert, err := b.TLSCertificate()
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}

// requireHTTP2 closes crypto/tls's fallback, which lets a client in that offers HTTP/1.1 alone, or no protocol at all.
func requireHTTP2(state tls.ConnectionState) error {
	if state.NegotiatedProtocol != "h2" {
		return fmt.Errorf("refuse connection: the client does not offer HTTP/2 (negotiated protocol %q)", state.NegotiatedProtocol)
	}
	return nil
}

func baseTLS(b Bundle) (*tls.Config, error) {
	cert, err := b.TLSCertificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"h2"},
	}, nil
}

// Identity is who a peer proved to be.
type Identity struct {
	Name string // the certificate's common name
	Role Role   // its only organizational unit
}

// String prints "role/name".
func (id Identity) String() string { return string(id.Role) + "/" + id.Name }

// Is reports whether the identity has one of the roles.
func (id Identity) Is(roles ...Role) bool {
	for _, r := range roles {
		if id.Role == r {
			return true
		}
	}
	return false
}

// PeerIdentity reads who the peer is from a finished handshake. A connection without TLS, without a verified certificate, or
// with a certificate that is not of our form is fault.Denied.
func PeerIdentity(state *tls.ConnectionState) (Identity, error) {
	refuse := func(why string) (Identity, error) {
		return Identity{}, fault.Denied("E-PEER", "identify peer", "", fault.Causef("%s", why),
			fault.Hint("connect with a certificate of this server's authority"))
	}
	if state == nil || !state.HandshakeComplete {
		return refuse("the connection has no TLS")
	}
	// PeerCertificates alone is what the peer claims; only a verified chain is proof.
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return refuse("no verified certificate")
	}
	subject := state.VerifiedChains[0][0].Subject
	if len(subject.OrganizationalUnit) != 1 || subject.CommonName == "" {
		return refuse(fmt.Sprintf("certificate %q does not name one peer and one role", subject))
	}
	return Identity{Name: subject.CommonName, Role: Role(subject.OrganizationalUnit[0])}, nil
}
