package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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

// Observe reads what Decide wants to know, at a time that the caller took before. A session that is kept from
// the call before must answer first.
func (c Cassandra) Observe(ctx context.Context, now time.Time) operators.CassandraFacts {
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return unknownCassandra(fmt.Errorf("read address %q: %w", c.Address, err))
	}
	s, back, err := c.borrow(ctx)
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
	defer back()
	f.DefaultOff = fact(c, now, "read the default account", func() (bool, error) { return defaultOff(ctx, s) })
	f.Keyspaces = fact(c, now, "read the keyspaces", func() (map[string]operators.Keyspace, error) { return readKeyspaces(ctx, s) })
	f.Tables = fact(c, now, "read the tables", func() (map[string]operators.Table, error) { return readTables(ctx, s) })
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

// defaultOff asks over our own login: trying the default account at each look would cost the node one more bcrypt. That its login is truly
// refused was proven when it was turned off.
func defaultOff(ctx context.Context, s session) (bool, error) {
	off, found, err := readRole(ctx, s, defaultRole)
	return off || !found, err
}

// readRole reports whether a role exists and, if so, whether it can neither log in nor do what a superuser can.
func readRole(ctx context.Context, s session, role string) (off, found bool, err error) {
	var login, super bool
	err = s.Query("SELECT can_login, is_superuser FROM system_auth.roles WHERE role = ?", role).WithContext(ctx).Scan(&login, &super)
	if errors.Is(err, gocql.ErrNotFound) {
		return false, false, nil
	}
	return !login && !super, err == nil, err
}

func execute(ctx context.Context, s session, statement string) error {
	return s.Query(statement).WithContext(ctx).Exec()
}

// CreateRole makes our role, a superuser, by the default account. Where the role can log in already nothing is done.
func (c Cassandra) CreateRole(ctx context.Context) error {
	err := c.login(ctx)
	if err == nil {
		return nil
	}
	if !errors.Is(err, errRefused) {
		return c.failed("log in", err)
	}
	first := c.as(defaultRole, defaultRole)
	s, err := first.appear(ctx)
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
	if err := execute(ctx, s, verb+operators.Quote(c.User)+" WITH PASSWORD = "+literal(c.Password)+" AND LOGIN = true AND SUPERUSER = true"); err != nil {
		return first.failed("create role "+c.User, err)
	}
	if err := c.login(ctx); err != nil {
		return c.failed("log in as the role that was just created", err)
	}
	return nil
}

// appears is how long a new node is given to make its default account, which it does a moment after its port listens.
const appears = 5 * time.Second

// appear opens a session as soon as the default account can log in.
func (c Cassandra) appear(ctx context.Context) (session, error) {
	limit := time.NewTimer(appears)
	defer limit.Stop()
	for {
		s, err := c.open(ctx)
		if !errors.Is(err, errRefused) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return session{}, context.Cause(ctx)
		case <-limit.C:
			return session{}, fmt.Errorf("neither our role nor the default account can log in (waited %s)", appears)
		case <-time.After(settle):
		}
	}
}

// DisableDefault takes from the default account its password, its login and its rights, and proves it by a login that must be refused.
func (c Cassandra) DisableDefault(ctx context.Context, random string) error {
	s, back, err := c.borrow(ctx)
	if err != nil {
		return c.failed("disable the default account", err)
	}
	defer back()
	off, found, err := readRole(ctx, s, defaultRole)
	if err != nil {
		return c.failed("read the default account", err)
	}
	if found && !off {
		statement := "ALTER ROLE " + operators.Quote(defaultRole) + " WITH PASSWORD = " + literal(random) + " AND LOGIN = false AND SUPERUSER = false"
		if err := execute(ctx, s, statement); err != nil {
			return c.failed("disable the default account", err)
		}
	}
	switch err := c.as(defaultRole, defaultRole).login(ctx); {
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
	s, back, err := c.borrow(ctx)
	if err != nil {
		return c.failed("ensure tables", err)
	}
	defer back()
	for _, k := range keyspaces {
		if err := execute(ctx, s, k.DDL()); err != nil {
			return c.failed("create keyspace "+k.Name, err)
		}
	}
	for _, t := range tables {
		if err := execute(ctx, s, t.DDL()); err != nil {
			return c.failed("create table "+t.ID(), err)
		}
	}
	if err := s.AwaitSchemaAgreement(ctx); err != nil {
		return c.failed("wait until the nodes agree on the schema", err)
	}
	have, err := readTables(ctx, s)
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

func (c Cassandra) failed(what string, err error) error {
	return fmt.Errorf("%s (cassandra %s, role %s): %w", what, c.Address, c.User, err)
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
