package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/cassandra"
)

// Cassandra is how a Cassandra is reached: mutual TLS, then a role's password.
type Cassandra struct {
	Address  string // host:port of a node's client port
	TLS      *tls.Config
	User     string // our role
	Password string
}

// defaultRole is the account that every new Cassandra has, with its name for a password.
const defaultRole = "cassandra"

// Observe reads what Decide wants to know, at a time that the caller took before. Each call logs in anew, once.
func (c Cassandra) Observe(ctx context.Context, now time.Time) operators.CassandraFacts {
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return unknownCassandra(fmt.Errorf("read address %q: %w", c.Address, err))
	}
	conn, err := connect(ctx, c.Address, c.TLS, c.User, c.Password)
	if err != nil && !errors.Is(err, errRefused) {
		return unknownCassandra(c.failed("log in", err))
	}
	// A node that refuses a password is up: it has read its roles.
	f := unknownCassandra(errors.New("role " + c.User + " cannot log in yet"))
	f.Nodes = operators.Know(map[string]string{host: cassandra.Up}, now)
	f.Authenticated = operators.Know(err == nil, now)
	if err != nil {
		return f
	}
	defer conn.Close() // it has only been read from
	f.DefaultOff = fact(c, now, "read the default account", func() (bool, error) { return defaultOff(conn) })
	f.Keyspaces = fact(c, now, "read the keyspaces", func() (map[string]operators.Keyspace, error) { return readKeyspaces(conn) })
	f.Tables = fact(c, now, "read the tables", func() (map[string]operators.Table, error) { return readTables(conn) })
	return f
}

func fact[T any](c Cassandra, now time.Time, what string, read func() (T, error)) operators.Fact[T] {
	v, err := read()
	if err != nil {
		return operators.Unknown[T](c.failed(what, err).Error())
	}
	return operators.Know(v, now)
}

func unknownCassandra(err error) operators.CassandraFacts {
	why := err.Error()
	return operators.CassandraFacts{
		Nodes: operators.Unknown[map[string]string](why), Authenticated: operators.Unknown[bool](why), DefaultOff: operators.Unknown[bool](why),
		Keyspaces: operators.Unknown[map[string]operators.Keyspace](why), Tables: operators.Unknown[map[string]operators.Table](why),
	}
}

// defaultOff asks our own session, which costs no bcrypt; that a login is truly refused was proven when the account was turned off.
func defaultOff(conn io.ReadWriter) (bool, error) {
	all, err := query(conn, "SELECT can_login, is_superuser FROM system_auth.roles WHERE role = "+literal(defaultRole))
	if err != nil {
		return false, err
	}
	for _, row := range all {
		if isTrue(row[0]) || isTrue(row[1]) {
			return false, nil
		}
	}
	return true, nil
}

func isTrue(b []byte) bool { return len(b) == 1 && b[0] != 0 }

// CreateRole makes our role, a superuser, by the default account. Where the role can log in already nothing is done.
func (c Cassandra) CreateRole(ctx context.Context) error {
	err := login(ctx, c.Address, c.TLS, c.User, c.Password)
	if err == nil {
		return nil
	}
	if !errors.Is(err, errRefused) {
		return c.failed("log in", err)
	}
	first := c
	first.User, first.Password = defaultRole, defaultRole
	if err := first.appear(ctx); err != nil {
		return first.failed("create role "+c.User, err)
	}
	s, err := first.session(ctx)
	if err != nil {
		return first.failed("create role "+c.User, err)
	}
	defer s.Close()
	// An attempt that died in between, or a password that was drawn anew, finds the role there. It is altered only then: a password can be
	// changed once in 5 s.
	verb := "CREATE ROLE "
	if _, found, err := readRole(ctx, s, c.User); err != nil {
		return first.failed("read role "+c.User, err)
	} else if found {
		verb = "ALTER ROLE "
	}
	statement := verb + operators.Quote(c.User) + " WITH PASSWORD = " + literal(c.Password) + " AND LOGIN = true AND SUPERUSER = true"
	if err := s.Query(statement).WithContext(ctx).Exec(); err != nil {
		return first.failed("create role "+c.User, err)
	}
	if err := login(ctx, c.Address, c.TLS, c.User, c.Password); err != nil {
		return c.failed("log in as the role that was just created", err)
	}
	return nil
}

// appears is how long a new node is given to make its default account, which it does a moment after its port listens.
const appears = 5 * time.Second

// appear waits until the default account can log in.
func (c Cassandra) appear(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, appears, fmt.Errorf("neither our role nor the default account can log in (waited %s)", appears))
	defer cancel()
	for {
		err := login(ctx, c.Address, c.TLS, c.User, c.Password)
		if !errors.Is(err, errRefused) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(settle):
		}
	}
}

// DisableDefault takes from the default account its password, its login and its rights, and proves it by a login that must be refused.
func (c Cassandra) DisableDefault(ctx context.Context, random string) error {
	s, err := c.session(ctx)
	if err != nil {
		return c.failed("disable the default account", err)
	}
	defer s.Close()
	off, found, err := readRole(ctx, s, defaultRole)
	if err != nil {
		return c.failed("read the default account", err)
	}
	if found && off {
		return c.proveOff(ctx)
	}
	statement := "ALTER ROLE " + operators.Quote(defaultRole) + " WITH PASSWORD = " + literal(random) + " AND LOGIN = false AND SUPERUSER = false"
	if err := s.Query(statement).WithContext(ctx).Exec(); err != nil {
		return c.failed("disable the default account", err)
	}
	return c.proveOff(ctx)
}

// readRole reports whether a role exists and, if so, whether it can neither log in nor do what a superuser can.
func readRole(ctx context.Context, s *gocql.Session, role string) (off, found bool, err error) {
	var canLogin, superuser bool
	err = s.Query("SELECT can_login, is_superuser FROM system_auth.roles WHERE role = ?", role).WithContext(ctx).Scan(&canLogin, &superuser)
	if errors.Is(err, gocql.ErrNotFound) {
		return false, false, nil
	}
	return !canLogin && !superuser, true, err
}

// proveOff tries the default account, and is content with nothing but a refusal.
func (c Cassandra) proveOff(ctx context.Context) error {
	switch err := login(ctx, c.Address, c.TLS, defaultRole, defaultRole); {
	case errors.Is(err, errRefused):
		return nil
	case err != nil:
		return c.failed("prove that the default account is off", err)
	}
	return c.failed("prove that the default account is off", errors.New("it can still log in"))
}

// EnsureTables makes the keyspaces and tables that are missing, and returns when a fresh look shows each as it shall be. A table with other
// columns or keys is an error: it is never changed in place.
func (c Cassandra) EnsureTables(ctx context.Context, keyspaces []operators.Keyspace, tables []operators.Table) error {
	s, err := c.session(ctx)
	if err != nil {
		return c.failed("ensure tables", err)
	}
	defer s.Close()
	for _, k := range keyspaces {
		if err := s.Query(k.DDL()).WithContext(ctx).Exec(); err != nil {
			return c.failed("create keyspace "+k.Name, err)
		}
	}
	for _, t := range tables {
		if err := s.Query(t.DDL()).WithContext(ctx).Exec(); err != nil {
			return c.failed("create table "+t.ID(), err)
		}
	}
	if err := s.AwaitSchemaAgreement(ctx); err != nil {
		return c.failed("wait until the nodes agree on the schema", err)
	}
	have, err := c.tables(ctx)
	if err != nil {
		return c.failed("read the schema", err)
	}
	for _, t := range tables {
		h, ok := have[t.ID()]
		if !ok {
			return c.failed("verify table "+t.ID(), errors.New("it was created and is not there"))
		}
		if d := t.Differs(h); d != "" {
			return c.failed("verify table "+t.ID(), errors.New(d))
		}
	}
	return nil
}

// tables reads the schema over a connection of its own.
func (c Cassandra) tables(ctx context.Context) (map[string]operators.Table, error) {
	conn, err := connect(ctx, c.Address, c.TLS, c.User, c.Password)
	if err != nil {
		return nil, err
	}
	defer conn.Close() // it has only been read from
	return readTables(conn)
}

// session is a connection of the driver, without its pool's habits: one connection, no reconnection, no log.
func (c Cassandra) session(ctx context.Context) (*gocql.Session, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	cluster := gocql.NewCluster(host)
	if cluster.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("read address %s: %w", c.Address, err)
	}
	cluster.ProtoVersion = 4
	cluster.Authenticator = gocql.PasswordAuthenticator{Username: c.User, Password: c.Password}
	cluster.SslOpts = &gocql.SslOptions{Config: c.TLS, EnableHostVerification: true}
	cluster.ConnectTimeout, cluster.Timeout = 2*time.Second, 10*time.Second
	cluster.NumConns, cluster.ReconnectInterval = 1, 0
	cluster.DisableInitialHostLookup = true
	cluster.Consistency = gocql.LocalOne
	cluster.Events.DisableNodeStatusEvents, cluster.Events.DisableTopologyEvents, cluster.Events.DisableSchemaEvents = true, true, true
	cluster.Logger = silent{}
	// CreateSession takes no context; its own timeouts bound it.
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	return cluster.CreateSession()
}

// silent: what the driver would log comes back as an error.
type silent struct{}

func (silent) Print(...any)          {}
func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

func (c Cassandra) failed(what string, err error) error {
	return fmt.Errorf("%s (cassandra %s, role %s): %w", what, c.Address, c.User, err)
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
