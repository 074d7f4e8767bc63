package admin

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// longest answer that is read: metadata of some hundred thousand partitions.
const longest = 64 << 20

// anyBroker is whoever is connected already, or the address that was given.
const anyBroker = -1

// correlation numbers requests, so that an answer to another request is noticed.
var correlation atomic.Int32

// exchange carries one of kmsg's requests through kafka-go's Transport, which has no type for it or loses something of its answer: its Metadata
// takes brokers that are down for broker 0. The controller's business is forwarded by whichever broker is asked.
type exchange struct {
	broker   int32 // who is asked
	request  kmsg.Request
	response kmsg.Response
}

// ApiKey is the request's. The Transport only passes it on.
func (e *exchange) ApiKey() protocol.ApiKey { return protocol.ApiKey(e.request.Key()) }

// Broker routes it: -1 is any.
func (e *exchange) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: e.broker}, nil
}

func (e *exchange) Required(map[protocol.ApiKey]int16) bool { return true }

func (e *exchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	id := correlation.Add(1)
	if _, err := rw.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("weir-admin")).AppendRequest(nil, e.request, id)); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, err
	}
	size, got := int32(binary.BigEndian.Uint32(head[:4])), int32(binary.BigEndian.Uint32(head[4:]))
	if got != id || size < 4 || size > longest {
		return nil, fmt.Errorf("an answer of %d bytes to request %d instead of %d", size, got, id)
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(rw, body); err != nil {
		return nil, err
	}
	if e.response.IsFlexible() {
		if len(body) == 0 || body[0] != 0 {
			return nil, fmt.Errorf("an answer to request %d with unknown tags in its header", e.request.Key())
		}
		body = body[1:]
	}
	return e, e.response.ReadFrom(body)
}

// ask sends a request of a version that Kafka 4.3 speaks and returns its answer, whose own error codes are the caller's to read.
func ask[T kmsg.Response](ctx context.Context, c *kafka.Client, broker int, request kmsg.Request, version int16) (T, error) {
	request.SetVersion(version)
	e := &exchange{broker: int32(broker), request: request, response: request.ResponseKind()}
	e.response.SetVersion(version)
	var none T
	if _, err := c.Transport.RoundTrip(ctx, c.Addr, e); err != nil {
		return none, fmt.Errorf("%s: %w", kmsg.NameForKey(request.Key()), err)
	}
	answer, ok := e.response.(T)
	if !ok {
		return none, fmt.Errorf("%s: the answer is a %T", kmsg.NameForKey(request.Key()), e.response)
	}
	return answer, nil
}

// refusal is an error code with the message that came with it; nil for none.
func refusal(code int16, message *string) error {
	switch {
	case code == 0:
		return nil
	case message != nil && *message != "":
		return fmt.Errorf("%w: %s", kafka.Error(code), *message)
	}
	return kafka.Error(code)
}
