package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var errCut = errors.New("the connection was cut by the test")

// fault cuts a client's connections at a request: before it was sent, or after it was answered.
type fault struct {
	mu        sync.Mutex // guards all below
	armed     func(key int16) bool
	delivered bool   // the request reaches the broker, and its answer is thrown away
	then      func() // what else happens at that moment
	dead      bool
	fired     int
}

// injectInto puts the fault into every connection that the client opens from now on.
func injectInto(c *Client) *fault {
	f := &fault{}
	open := c.transport.Dial
	c.transport.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		f.mu.Lock()
		dead := f.dead
		f.mu.Unlock()
		if dead {
			return nil, errCut
		}
		conn, err := open(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &faultConn{Conn: conn, fault: f}, nil
	}
	return f
}

// arm cuts at the next request of a kind.
func (f *fault) arm(key kmsg.Key, delivered bool, then func()) {
	f.armIf(func(k int16) bool { return k == int16(key) }, delivered, then)
}

func (f *fault) armIf(is func(key int16) bool, delivered bool, then func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.delivered, f.then = is, delivered, then
}

// kill ends the client as the end of its process would.
func (f *fault) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

func (f *fault) hit(key int16) (hit, delivered bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.armed == nil || !f.armed(key) {
		return false, false
	}
	f.armed = nil
	f.fired++
	return true, f.delivered
}

// faultConn carries one request at a time, as kafka-go's connections do.
type faultConn struct {
	net.Conn
	fault   *fault
	within  bool // a request's later bytes, or its answer, are under way
	discard bool
}

func (c *faultConn) Write(b []byte) (int, error) {
	if c.within || len(b) < 6 {
		return c.Conn.Write(b)
	}
	c.within = true
	hit, delivered := c.fault.hit(int16(binary.BigEndian.Uint16(b[4:])))
	if !hit {
		return c.Conn.Write(b)
	}
	if delivered {
		c.discard = true
		return c.Conn.Write(b)
	}
	return 0, c.cut()
}

func (c *faultConn) cut() error {
	if c.fault.then != nil {
		c.fault.then()
	}
	_ = c.Conn.Close() // it is being cut
	return errCut
}

func (c *faultConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.discard && n > 0 {
		return 0, c.cut()
	}
	c.within = false
	return n, err
}
