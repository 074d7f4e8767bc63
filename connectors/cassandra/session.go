package cassandra

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/gocql/gocql"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/physical"
)

const (
	// requestTimeout is above the server's own 2 s for writes and 5 s for reads, so that the server's answer comes first.
	requestTimeout = 8 * time.Second
	connectTimeout = 5 * time.Second

	// RetryFor is how long one request is tried again before its error is returned.
	RetryFor = 60 * time.Second
)

// Session is a pool of connections to one Cassandra. Any number of goroutines may use it.
type Session struct {
	cql     *gocql.Session
	servers []string
	pause   func(ctx context.Context, attempt int) error
	now     func() time.Time
}

// Dial connects with mutual TLS (the server's certificate must be of the connection's authority and hold the address that is dialled) and a
// password. It tries once; the driver reconnects afterwards.
func Dial(ctx context.Context, c physical.Connection) (*Session, error) {
	return DialThrough(ctx, c, nil)
}

// Dialer makes a connection, as net.Dialer does.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// DialThrough is Dial where the network is reached through d; nil is the network itself.
func DialThrough(ctx context.Context, c physical.Connection, d Dialer) (*Session, error) {
	config, err := cluster(c)
	if err != nil {
		return nil, fmt.Errorf("connect to cassandra %v: %w", c.Servers, err)
	}
	if d != nil {
		config.Dialer = d
	}
	if ctx.Err() != nil { // CreateSession takes no context; its own timeouts bound it
		return nil, context.Cause(ctx)
	}
	s, err := config.CreateSession()
	if err != nil {
		return nil, fmt.Errorf("connect to cassandra %v as %q: %w", c.Servers, c.User, err)
	}
	return &Session{cql: s, servers: c.Servers, pause: pause, now: time.Now}, nil
}

// Close ends all connections. Sources and sinks made of it end with errors.
func (s *Session) Close() { s.cql.Close() }

func cluster(c physical.Connection) (*gocql.ClusterConfig, error) {
	if len(c.CA) == 0 || len(c.Cert) == 0 { // a Cassandra without mutual TLS is none of ours (D12)
		return nil, errors.New("mutual TLS takes an authority and a certificate, and the connection lacks one")
	}
	tls, err := security.ServiceTLS(security.Bundle{CAPEM: c.CA, CertPEM: c.Cert, KeyPEM: c.Key})
	if err != nil {
		return nil, err
	}
	if len(c.Servers) == 0 {
		return nil, errors.New("no servers")
	}
	config := gocql.NewCluster(c.Servers...)
	// Nodes that the first one names have no port in its tables: all listen on the same.
	_, port, err := net.SplitHostPort(c.Servers[0])
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	if config.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	config.ProtoVersion = 4 // 5 fails against Cassandra 5.0, automatic picks 4
	config.SslOpts = &gocql.SslOptions{Config: tls, EnableHostVerification: true}
	config.Authenticator = gocql.PasswordAuthenticator{Username: c.User, Password: c.Password}
	config.Timeout, config.WriteTimeout, config.ConnectTimeout = requestTimeout, requestTimeout, connectTimeout
	config.Consistency = gocql.LocalQuorum
	config.NumConns = 2
	config.DefaultTimestamp = false // ours are in the statements
	config.ReconnectInterval = 2 * time.Second
	config.Events.DisableSchemaEvents = true
	config.Logger = silent{}
	// A policy belongs to one session.
	policy := gocql.RoundRobinHostPolicy()
	if c.LocalDC != "" {
		policy = gocql.DCAwareRoundRobinPolicy(c.LocalDC)
	}
	config.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(policy)
	return config, nil
}

// tlsConfig expects in each server's certificate the address that is dialled: gocql fills in ServerName.
// silent: what the driver would log comes back as an error.
type silent struct{}

func (silent) Print(...any)          {}
func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

// retry runs f until it succeeds, fails for good, or has failed for RetryFor. f must be idempotent: after a timeout it may have happened.
func (s *Session) retry(ctx context.Context, f func() error) error {
	start := s.now()
	for attempt := 0; ; attempt++ {
		err := f()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !passing(err):
			return err
		case s.now().Sub(start) > RetryFor:
			return fmt.Errorf("%w (%d attempts in %s)", err, attempt+1, RetryFor)
		}
		// "no hosts available" comes at once and without end while a node is down: each attempt waits first.
		if err := s.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// backoff leaves half of each wait to chance, so that slots do not come back together.
var backoff = lifecycle.Backoff{Min: 50 * time.Millisecond, Max: 3 * time.Second, Jitter: 0.5}

func pause(ctx context.Context, attempt int) error {
	return lifecycle.Sleep(ctx, backoff.Next(attempt, rand.Float64()))
}

// passing reports whether an error may be gone in a while: all but the server's refusals of what was asked, and our own mistakes.
func passing(err error) bool {
	var own *valueError
	if errors.As(err, &own) || errors.Is(err, gocql.ErrSessionClosed) || errors.Is(err, gocql.ErrQueryArgLength) {
		return false
	}
	var refused gocql.RequestError
	if !errors.As(err, &refused) {
		return true
	}
	switch refused.Code() {
	case gocql.ErrCodeServer, gocql.ErrCodeUnavailable, gocql.ErrCodeOverloaded, gocql.ErrCodeBootstrapping, gocql.ErrCodeWriteTimeout,
		gocql.ErrCodeReadTimeout, gocql.ErrCodeReadFailure, gocql.ErrCodeWriteFailure, gocql.ErrCodeUnprepared:
		return true
	}
	return false
}
