package connect

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/weir-project/weir/connectors/cassandra"
	"github.com/weir-project/weir/connectors/kafka"
	"github.com/weir-project/weir/connectors/nats"
	"github.com/weir-project/weir/pipelines/physical"
)

// Pool keeps one client for each way to reach a service. All slots of a process share it. A lock guards the map below it; a Cassandra session and a NATS
// connection are opened under theirs, so that slots which start together open one, and nobody waits for a service that he does not use.
type Pool struct {
	client string
	id     string // drawn for this process

	mu     sync.Mutex
	kafkas map[string]*kafka.Client

	cassandraMu sync.Mutex
	cassandra   map[string]*cassandra.Session

	natsMu sync.Mutex
	nats   map[string]*nats.Client

	// Dialer makes the connections to a Cassandra; nil is the network. It is set before anything is opened.
	Dialer cassandra.Dialer
	// Beam is the path of the program that runs jobs on Beam; empty is the one beside this program.
	Beam string
}

// NewPool makes an empty pool; client is the name by which brokers know this process.
func NewPool(client string) *Pool {
	return &Pool{client: client, id: rand.Text(), kafkas: map[string]*kafka.Client{}, cassandra: map[string]*cassandra.Session{}, nats: map[string]*nats.Client{}}
}

// key tells connections apart by where they lead and as whom: a password or a certificate that was changed opens a new client.
func key(c physical.Connection) string {
	return strings.Join(c.Servers, ",") + "\x00" + c.User + "\x00" + c.Password + "\x00" + string(c.Cert) + "\x00" + string(c.CA) + "\x00" + string(c.Credentials)
}

func (p *Pool) kafkaClient(c physical.Connection) (*kafka.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.kafkas[key(c)]; k != nil {
		return k, nil
	}
	k, err := kafka.Dial(c, p.client)
	if err != nil {
		return nil, fmt.Errorf("connect to kafka %v: %w", c.Servers, err)
	}
	p.kafkas[key(c)] = k
	return k, nil
}

func (p *Pool) cassandraSession(ctx context.Context, c physical.Connection) (*cassandra.Session, error) {
	p.cassandraMu.Lock()
	defer p.cassandraMu.Unlock()
	if s := p.cassandra[key(c)]; s != nil {
		return s, nil
	}
	if ctx.Err() != nil { // ended while another tried
		return nil, context.Cause(ctx)
	}
	s, err := cassandra.DialThrough(ctx, c, p.Dialer)
	if err != nil {
		return nil, err
	}
	p.cassandra[key(c)] = s
	return s, nil
}

func (p *Pool) natsClient(ctx context.Context, c physical.Connection) (*nats.Client, error) {
	p.natsMu.Lock()
	defer p.natsMu.Unlock()
	old := p.nats[key(c)]
	if old != nil && !old.Closed() {
		return old, nil
	}
	if ctx.Err() != nil { // ended while another tried
		return nil, context.Cause(ctx)
	}
	n, err := nats.Dial(ctx, c, p.client)
	if err != nil {
		return nil, err
	}
	p.nats[key(c)] = n
	if old != nil {
		if err := old.Close(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Close ends all clients.
func (p *Pool) Close() error {
	for _, l := range []sync.Locker{&p.mu, &p.cassandraMu, &p.natsMu} {
		l.Lock()
		defer l.Unlock()
	}
	var errs []error
	for _, k := range p.kafkas {
		errs = append(errs, k.Close())
	}
	for _, s := range p.cassandra {
		s.Close()
	}
	for _, n := range p.nats {
		errs = append(errs, n.Close())
	}
	clear(p.nats)
	clear(p.kafkas)
	clear(p.cassandra)
	return errors.Join(errs...)
}
