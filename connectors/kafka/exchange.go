package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// anyBroker routes a request to whichever bootstrap server answers.
const anyBroker int32 = -1

// correlation numbers requests, so that an answer to another request is noticed.
var correlation atomic.Int32

// direct sends one of kafka-go's messages at a fixed version to a broker that we chose. kafka-go's own routing looks the coordinator up
// for every transaction call, ignores an error of that, serves metadata from a cache that it cannot refresh, and knows leaders of up to 6 s ago.
type direct struct {
	broker   int32
	version  int16
	clientID string
	request  protocol.Message
}

func (d *direct) ApiKey() protocol.ApiKey { return d.request.ApiKey() }

func (d *direct) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: d.broker}, nil
}

func (d *direct) Required(map[protocol.ApiKey]int16) bool { return true }

func (d *direct) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	res, err := protocol.RoundTrip(rw, d.version, correlation.Add(1), d.clientID, d.request)
	if err != nil {
		return nil, err
	}
	return &answer{res}, nil
}

// answer hides the answer's type from the Transport, which takes one about metadata for an answer to a request of its own.
type answer struct{ protocol.Message }

// call sends a typed request and returns its typed answer. The broker's own waiting must stay below requestTimeout.
func call[T protocol.Message](ctx context.Context, c *Client, broker int32, version int16, request protocol.Message) (T, error) {
	m, err := c.roundTrip(ctx, &direct{broker, version, c.clientID, request})
	if err != nil {
		var none T
		return none, err
	}
	if a, ok := m.(*answer); ok {
		m = a.Message
	}
	res, ok := m.(T)
	if !ok {
		return res, malformed{fmt.Errorf("the answer to a %s request is a %T", request.ApiKey(), m)}
	}
	return res, nil
}

// errNoAnswer is the end of a request's own time: the network's fault, and not the caller's cancellation.
var errNoAnswer = errors.New("no answer")

func (c *Client) roundTrip(ctx context.Context, m protocol.Message) (protocol.Message, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	sub, cancel := context.WithTimeoutCause(ctx, requestTimeout, errNoAnswer)
	defer cancel()
	start := time.Now()
	res, err := c.transport.RoundTrip(sub, c.bootstrap, m)
	if err == nil {
		return res, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var timeout net.Error
	if sub.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		return nil, fmt.Errorf("%w within %s", errNoAnswer, time.Since(start).Round(time.Millisecond))
	}
	return nil, err
}

// through names a broker in errors.
func (c *Client) through(broker int32) string {
	if broker == anyBroker {
		return "bootstrap server " + c.bootstrap.String()
	}
	c.view.mu.Lock()
	defer c.view.mu.Unlock()
	return fmt.Sprintf("broker %d at %s", broker, c.view.brokers[broker])
}
