package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/physical"
)

// Client speaks to one Kafka cluster. It may be used by many goroutines: requests run side by side, each on a connection of its own.
type Client struct {
	transport *kafkago.Transport
	bootstrap net.Addr
	clientID  string
	view      view
	stop      context.CancelFunc
}

// requestTimeout bounds one request and its answer, the server's own waiting not counted.
const requestTimeout = 10 * time.Second

// retryFor bounds the repetitions of one call; a broker that was killed is back after 6 s with the settings of ours.
const retryFor = 20 * time.Second

// Dial makes a client; nothing is sent before the first call. With a user it authenticates by SCRAM-SHA-512, with a CA it speaks TLS, and with a
// certificate it shows it. clientID is what the broker's logs and quotas call this client.
func Dial(conn physical.Connection, clientID string) (*Client, error) {
	if len(conn.Servers) == 0 {
		return nil, errors.New("connect to kafka: the connection names no server")
	}
	config, err := security.ServiceTLS(security.Bundle{CAPEM: conn.CA, CertPEM: conn.Cert, KeyPEM: conn.Key})
	if err != nil {
		return nil, fmt.Errorf("connect to kafka at %v: %w", conn.Servers, err)
	}
	login, err := mechanism(conn)
	if err != nil {
		return nil, fmt.Errorf("connect to kafka at %v: %w", conn.Servers, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t := &kafkago.Transport{
		Dial:           (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		ClientID:       clientID,
		TLS:            config,
		SASL:           login,
		IdleTimeout:    30 * time.Second,
		MetadataTTL:    2 * time.Second, // the transport is asked for brokers only: leaders are this package's own cache
		MetadataTopics: []string{},
		Context:        ctx,
	}
	return &Client{transport: t, bootstrap: kafkago.TCP(conn.Servers...), clientID: clientID, stop: stop,
		view: view{brokers: map[int32]string{}, topics: map[string][]partition{}, coordinators: map[string]int32{}}}, nil
}

// mechanism is none without a user. One for all connections: it keeps what the password became with the server's salt, thousands of hashes.
func mechanism(conn physical.Connection) (sasl.Mechanism, error) {
	if conn.User == "" {
		return nil, nil
	}
	return scram.Mechanism(scram.SHA512, conn.User, conn.Password)
}

// Close gives the connections back; calls under way fail.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	c.stop()
	return nil
}

// backoff of repetitions: quick at first, because a transaction's markers are written within 2 to 30 ms (measured).
var backoff = lifecycle.Backoff{Min: 4 * time.Millisecond, Max: 500 * time.Millisecond, Jitter: 0.5}

// retry calls f until it succeeds, fails for good, or limit has passed; heal is told each error that will be tried again.
func retry(ctx context.Context, limit time.Duration, heal func(error), f func(context.Context) error) error {
	deadline := time.Now().Add(limit)
	for attempt := 0; ; attempt++ {
		err := f(ctx)
		if err == nil || !retriable(err) {
			return err
		}
		heal(err)
		wait := backoff.Next(attempt, rand.Float64())
		if time.Now().Add(wait).After(deadline) {
			return fmt.Errorf("%w (given up after %d attempts in %s)", err, attempt+1, limit)
		}
		if lifecycle.Sleep(ctx, wait) != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// view is what the client believes of the cluster.
type view struct {
	mu           sync.Mutex // guards the maps; never held over a request
	brokers      map[int32]string
	topics       map[string][]partition
	coordinators map[string]int32
}

// partition is where one is led; leader -1 is nowhere at the moment.
type partition struct {
	leader int32
	err    int16
}
