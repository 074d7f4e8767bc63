package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gocql/gocql"
)

// errRefused is the node's answer to a wrong name or password, or to a role that may not log in.
var errRefused = errors.New("the login was refused")

const (
	dialTimeout = 2 * time.Second
	// answerTimeout is above the node's own 5 s for reads, so that its answer comes first.
	answerTimeout = 8 * time.Second
)

// session is a driver's session with one node as one role: a login for the control connection and one for the queries'. Whoever opens it
// closes it.
type session struct {
	*gocql.Session
	stop context.CancelFunc
}

// Close ends all connections.
func (s session) Close() {
	s.Session.Close()
	s.stop()
}

// open logs in. Its errors are errRefused, or say why the node could not be asked.
func (c Cassandra) open(ctx context.Context) (session, error) {
	life, stop := context.WithCancel(context.WithoutCancel(ctx)) // a session may outlive the call that opened it
	detach := context.AfterFunc(ctx, stop)
	var seen connects
	s, err := c.cluster(life, &seen).CreateSession()
	if err != nil {
		detach()
		stop()
		return session{}, seen.cause(ctx, err)
	}
	if !detach() {
		s.Close()
		return session{}, context.Cause(ctx)
	}
	return session{s, stop}, nil
}

// login proves that the role can log in, by one login: a session that lets no host in ends after its control connection.
func (c Cassandra) login(ctx context.Context) error {
	life, stop := context.WithCancel(ctx)
	defer stop()
	var seen connects
	config := c.cluster(life, &seen)
	config.HostFilter = gocql.DenyAllFilter()
	s, err := config.CreateSession()
	if err == nil {
		s.Close()
	}
	if seen.succeeded() {
		return nil
	}
	return seen.cause(ctx, err)
}

// as is the same node for another role.
func (c Cassandra) as(user, password string) Cassandra {
	c.User, c.Password = user, password
	return c
}

func (c Cassandra) cluster(life context.Context, seen *connects) *gocql.ClusterConfig {
	config := gocql.NewCluster(c.Address)
	config.ProtoVersion = 4                // 5 fails against Cassandra 5.0, automatic picks 4
	config.DisableInitialHostLookup = true // this node alone is asked
	config.Events.DisableSchemaEvents, config.Events.DisableTopologyEvents, config.Events.DisableNodeStatusEvents = true, true, true
	config.SslOpts = &gocql.SslOptions{Config: c.TLS, EnableHostVerification: true}
	config.Authenticator = gocql.PasswordAuthenticator{Username: c.User, Password: c.Password}
	config.Timeout, config.WriteTimeout, config.ConnectTimeout = answerTimeout, answerTimeout, answerTimeout
	config.Consistency = gocql.One
	config.DefaultTimestamp = false // roles are written with the node's own clock
	config.NumConns = 1             // each is a login, which costs the node a bcrypt
	config.ReconnectInterval, config.ReconnectionPolicy = 0, &gocql.ConstantReconnectionPolicy{MaxRetries: 1}
	config.Dialer, config.ConnectObserver = bound(life), seen
	config.Logger = silent{}
	return config
}

// refused reports whether the node has read its roles and said no. Cassandra gives the same code where it could not read them.
func refused(err error) bool {
	var answer gocql.RequestError
	return errors.As(err, &answer) && answer.Code() == gocql.ErrCodeCredentials && !strings.HasPrefix(answer.Message(), "Unable to perform authentication")
}

// dialer makes connections.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

// bound ends each connection with a context, since CreateSession takes none, and makes none after it: the driver would reconnect.
func bound(life context.Context) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if life.Err() != nil {
			return nil, context.Cause(life)
		}
		conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(life, func() { conn.Close() }) // the driver learns it by its next read
		return conn, nil
	}
}

// connects keeps how connections began: CreateSession tells causes as text, and here they are typed.
type connects struct {
	mu  sync.Mutex // guards all below: the driver connects in goroutines of its own
	in  bool       // a login succeeded
	err error      // of the last that failed
}

// ObserveConnect is the driver's call.
func (c *connects) ObserveConnect(o gocql.ObservedConnect) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Err == nil {
		c.in = true
	} else {
		c.err = o.Err
	}
}

func (c *connects) succeeded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in
}

// cause is why CreateSession failed with err.
func (c *connects) cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if refused(c.err) {
		return fmt.Errorf("%w: %w", errRefused, c.err)
	}
	if c.err != nil {
		return c.err
	}
	return err
}

// silent: what the driver would log comes back as an error.
type silent struct{}

func (silent) Print(...any)          {}
func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}
