package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/physical"
)

const (
	// callTimeout bounds one call and its answer.
	callTimeout = 3 * time.Second
	// dialFor is how long a first connection is tried: a server that restarts is back by then, and who mistyped an address waits no longer.
	dialFor = 5 * time.Second
	// RetryFor is how long a call is tried again before its error is returned; a server that was killed is back within seconds.
	RetryFor = 20 * time.Second
)

// Client is a connection to one NATS. Any number of goroutines may use it; it reconnects by itself.
type Client struct {
	conn    *nats.Conn
	js      jetstream.JetStream
	servers []string
	stop    context.CancelFunc
	ctx     context.Context //nolint:containedctx // ends with Close, for readers that wait
}

// Dial connects, with a password where the connection has a user, TLS where it has an authority, and a certificate where it has one. name is
// what the server's lists call this client.
func Dial(ctx context.Context, c physical.Connection, name string) (*Client, error) {
	config, err := security.ServiceTLS(security.Bundle{CAPEM: c.CA, CertPEM: c.Cert, KeyPEM: c.Key})
	if err != nil {
		return nil, fmt.Errorf("connect to nats %v: %w", c.Servers, err)
	}
	if len(c.Servers) == 0 {
		return nil, errors.New("connect to nats: no servers")
	}
	options := []nats.Option{
		nats.Name(name), nats.Timeout(callTimeout), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 100*time.Millisecond), nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2),
		// What is published while the connection is down fails at once: a buffer would send it later, out of order.
		nats.ReconnectBufSize(-1),
		// A write that a server does not take holds the whole connection, and knows no context.
		nats.FlusherTimeout(callTimeout),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // what fails comes back from the call
	}
	if c.User != "" {
		options = append(options, nats.UserInfo(c.User, c.Password))
	}
	if c.Credentials != nil {
		options = append(options, nats.UserCredentialBytes(c.Credentials))
	}
	if config != nil { // tls:// alone is checked with the system's authorities, by nats.go
		options = append(options, nats.Secure(config))
	}
	var conn *nats.Conn
	err = retryFor(ctx, dialFor, func() (err error) {
		conn, err = nats.Connect(strings.Join(urls(c.Servers), ","), options...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to nats %v%s: %w", c.Servers, as(c.User), err)
	}
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(callTimeout))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to nats %v: %w", c.Servers, err)
	}
	own, stop := context.WithCancel(context.Background())
	return &Client{conn: conn, js: js, servers: c.Servers, stop: stop, ctx: own}, nil
}

// urls: an address without a scheme is one of a stack's services.
func urls(servers []string) []string {
	out := make([]string, len(servers))
	for i, s := range servers {
		if out[i] = s; !strings.Contains(s, "://") {
			out[i] = "nats://" + s
		}
	}
	return out
}

func as(user string) string {
	if user == "" {
		return ""
	}
	return fmt.Sprintf(" as %q", user)
}

// Close ends the connection; sources and sinks made of it end with errors. Twice is fine.
func (c *Client) Close() error {
	c.stop()
	c.conn.Close()
	return nil
}

// stream asks for a stream as it is now.
func (c *Client) stream(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, &lasting{fmt.Errorf("there is no stream %q at %v: it was deleted, or never made; `nats stream ls` lists what is there, and a pipeline that writes it from a stack's service makes it", name, c.servers)}
	}
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// takes asks whether a stream takes what is published to a subject.
func (c *Client) takes(ctx context.Context, stream, subject string) error {
	info, err := c.stream(ctx, stream)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch name, err := c.js.StreamNameBySubject(ctx, subject); {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return &lasting{fmt.Errorf("stream %s takes the subjects %v, and %s is none of them; run `nats stream edit %s --subjects …`", stream, info.Config.Subjects, subject, stream)}
	case err != nil:
		return err
	case name != stream:
		return &lasting{fmt.Errorf("subject %s belongs to stream %s and not to %s (which takes %v)", subject, name, stream, info.Config.Subjects)}
	}
	return nil
}

// lasting is an error that trying again does not help.
type lasting struct{ error }

func (l *lasting) Unwrap() error { return l.error }

// passing reports whether an error may be gone in a while: all but refusals of what was asked.
func passing(err error) bool {
	var last *lasting
	var refused *jetstream.APIError
	var unknown *tls.CertificateVerificationError
	var alert *net.OpError
	switch {
	case errors.As(err, &unknown), errors.As(err, &alert) && alert.Op == "remote error": // a certificate, ours or theirs; crypto/tls calls an alert so
		return false
	case errors.As(err, &last), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrPermissionViolation), errors.Is(err, nats.ErrMaxPayload):
		return false
	case errors.As(err, &refused):
		return refused.Code >= 500
	}
	return true
}

var backoff = lifecycle.Backoff{Min: 20 * time.Millisecond, Max: time.Second, Jitter: 0.5}

// retry calls f until it succeeds, fails for good, or has failed for RetryFor.
func retry(ctx context.Context, f func() error) error { return retryFor(ctx, RetryFor, f) }

func retryFor(ctx context.Context, limit time.Duration, f func() error) error {
	for began, attempt := time.Now(), 0; ; attempt++ {
		err := f()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !passing(err):
			return err
		case time.Since(began) > limit:
			return fmt.Errorf("%w (%d attempts in %s)", err, attempt+1, limit)
		}
		if err := lifecycle.Sleep(ctx, backoff.Next(attempt, rand.Float64())); err != nil {
			return err
		}
	}
}

// Closed reports whether the connection has ended for good: by Close, or since the server refused the login twice when it was made anew.
func (c *Client) Closed() bool { return c.conn.IsClosed() }
