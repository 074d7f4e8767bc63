package admin

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/cassandra"
	"github.com/weir-project/weir/operators/kafka"
)

// serviceCertificate is how long a service's certificate lives. Kafka and Cassandra read theirs at their start, and each launch gets a new one.
const serviceCertificate = 365 * 24 * time.Hour

// KafkaCredentials are made once for a service and kept sealed (C1): the cluster keeps the passwords that it was formatted with.
type KafkaCredentials struct {
	ClusterID      string `json:"cluster_id"`
	BrokerPassword string `json:"broker_password"`
	BrokerSalt     []byte `json:"broker_salt"`
	ClientPassword string `json:"client_password"` // of kafka.ClientUser
	ClientSalt     []byte `json:"client_salt"`
}

// NewKafkaCredentials draws them.
func NewKafkaCredentials(random io.Reader) (KafkaCredentials, error) {
	id := make([]byte, 16)
	if _, err := io.ReadFull(random, id); err != nil {
		return KafkaCredentials{}, fmt.Errorf("draw a cluster id: %w", err)
	}
	id[0] &= 0x7f // its text must not begin with "-", which would be an option to the format
	return KafkaCredentials{
		ClusterID:      base64.RawURLEncoding.EncodeToString(id),
		BrokerPassword: security.Password(random), BrokerSalt: security.Salt(random),
		ClientPassword: security.Password(random), ClientSalt: security.Salt(random),
	}, nil
}

// Secrets are what a broker's files hold, with a certificate for the address of its placement.
func (c KafkaCredentials) Secrets(ca *security.CA, pod string, at operators.Placement, now time.Time) (kafka.Secrets, error) {
	s := kafka.Secrets{ClusterID: c.ClusterID, BrokerPassword: c.BrokerPassword, ControllerName: pod}
	var err error
	if s.BrokerScram, err = security.KafkaScram(kafka.BrokerUser, c.BrokerPassword, c.BrokerSalt, security.ScramIterations); err != nil {
		return s, err
	}
	if s.ClientScram, err = security.KafkaScram(kafka.ClientUser, c.ClientPassword, c.ClientSalt, security.ScramIterations); err != nil {
		return s, err
	}
	b, err := service(ca, pod, security.RoleKafka, at, now)
	s.NodePEM, s.CAPEM = b.JavaPEM(), b.CAPEM
	return s, err
}

// CassandraCredentials are made once for a service and kept sealed (C1).
type CassandraCredentials struct {
	AdminPassword   string `json:"admin_password"`   // of cassandra.AdminRole
	DefaultPassword string `json:"default_password"` // what the default account's is changed to
}

// NewCassandraCredentials draws them.
func NewCassandraCredentials(random io.Reader) CassandraCredentials {
	return CassandraCredentials{AdminPassword: security.Password(random), DefaultPassword: security.Password(random)}
}

// CassandraSecrets are what a node's files hold: a certificate for the address of its placement.
func CassandraSecrets(ca *security.CA, pod string, at operators.Placement, now time.Time) (cassandra.Secrets, error) {
	b, err := service(ca, pod, security.RoleCassandra, at, now)
	return cassandra.Secrets{NodePEM: b.JavaPEM(), CAPEM: b.CAPEM}, err
}

// service: a node proves itself to its peers in both directions.
func service(ca *security.CA, pod string, role security.Role, at operators.Placement, now time.Time) (security.Bundle, error) {
	ip := net.ParseIP(at.Address)
	if ip == nil {
		return security.Bundle{}, fmt.Errorf("issue a certificate for %s: its placement's address %q is no IP address", pod, at.Address)
	}
	return ca.Issue(security.Request{
		CN: pod, Role: role, IPs: []net.IP{ip}, NotBefore: now, NotAfter: now.Add(serviceCertificate), ClientAuth: true, ServerAuth: true,
	})
}
