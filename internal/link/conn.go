package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-project/weir/internal/security"
)

// Options are the settings of one side; the zero value gives the defaults.
type Options struct {
	Ping     time.Duration // between pings; 2 s
	Dead     time.Duration // silence after which the peer counts as dead; 8 s
	MaxFrame int           // bytes; MaxFrame
	Queue    int           // frames that wait in each direction before Send blocks and reading stops; 64
	Linger   time.Duration // how long Close waits for queued frames to leave and for the peer to end; 1 s
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&o.Ping, 2*time.Second)
	set(&o.Dead, 8*time.Second)
	set(&o.Linger, time.Second)
	if o.MaxFrame <= 0 {
		o.MaxFrame = MaxFrame
	}
	if o.Queue <= 0 {
		o.Queue = 64
	}
	return o
}

// ErrClosed is returned to the side that closed the link; the other side gets io.EOF.
var ErrClosed = errors.New("link is closed")

// transport is what a Conn needs of HTTP: two directions, and a way to break both so that no call stays blocked.
type transport struct {
	in       io.Reader
	out      io.Writer
	flush    func() error
	closeOut func() error // says that nothing more will be written
	abort    func()       // makes blocked reads and writes fail; may be called more than once
}

// Conn is one open link. Send and Recv may be called by several goroutines at the same time; the order of frames is the order
// of the Send calls. Three goroutines belong to it (reader, writer, watchdog); Close waits for them.
type Conn struct {
	opts Options
	peer security.Identity
	t    transport

	out      chan []byte
	in       chan Frame
	closing  chan struct{} // closed by Close: the writer says bye and ends
	readEnd  chan struct{} // closed when the reader has ended
	writeEnd chan struct{} // closed when the writer has ended
	failed   chan struct{} // closed by fail
	wg       sync.WaitGroup

	closeOnce sync.Once
	failOnce  sync.Once
	cause     error // why it failed; written before failed is closed, read after

	saidBye atomic.Bool  // the writer has sent everything, so that whatever the peer does next loses nothing of ours
	heard   atomic.Int64 // UnixNano of the last frame from the peer, or of the end of a delivery
	// delivering is set while the reader waits for the consumer of Recv: it cannot hear the peer then, which is back-pressure
	// and not silence.
	delivering atomic.Bool
}

func newConn(t transport, peer security.Identity, opts Options) *Conn {
	c := &Conn{
		opts: opts, peer: peer, t: t,
		out: make(chan []byte, opts.Queue), in: make(chan Frame, opts.Queue),
		closing: make(chan struct{}), readEnd: make(chan struct{}), writeEnd: make(chan struct{}), failed: make(chan struct{}),
	}
	c.heard.Store(time.Now().UnixNano())
	c.wg.Go(c.readLoop)
	c.wg.Go(c.writeLoop)
	c.wg.Go(c.watch)
	return c
}

// Peer is who the other side proved to be.
func (c *Conn) Peer() security.Identity { return c.peer }

// Done is closed when the link has failed or was closed; Err then says why.
func (c *Conn) Done() <-chan struct{} { return c.failed }

// Err is nil while the link stands, ErrClosed after Close, io.EOF after the peer's Close, else why it broke.
func (c *Conn) Err() error {
	select {
	case <-c.failed:
		return c.cause
	default:
		return nil
	}
}

// Send queues one frame and blocks while the queue is full. A nil error means that the frame was queued, not that it arrived.
// A frame that is too large is refused with TooLargeError and leaves the link as it was.
func (c *Conn) Send(ctx context.Context, f Frame) error {
	if reserved(f.Type) {
		return fmt.Errorf("send frame: type %q is reserved for the link", f.Type)
	}
	data, err := encode(f, c.opts.MaxFrame)
	if err != nil {
		return fmt.Errorf("send frame %s to %s: %w", f.Type, c.peer, err)
	}
	select {
	case <-c.closing:
		return fmt.Errorf("send frame %s to %s: %w", f.Type, c.peer, ErrClosed)
	case <-c.failed:
		return fmt.Errorf("send frame %s to %s: %w", f.Type, c.peer, c.cause)
	default:
	}
	select {
	case c.out <- data:
		return nil
	case <-c.closing:
		return fmt.Errorf("send frame %s to %s: %w", f.Type, c.peer, ErrClosed)
	case <-c.failed:
		return fmt.Errorf("send frame %s to %s: %w", f.Type, c.peer, c.cause)
	case <-ctx.Done():
		return fmt.Errorf("send frame %s to %s: %w", f.Type, c.peer, context.Cause(ctx))
	}
}

// SendBody is NewFrame and Send.
func (c *Conn) SendBody(ctx context.Context, kind string, version int, body any) error {
	f, err := NewFrame(kind, version, body)
	if err != nil {
		return err
	}
	return c.Send(ctx, f)
}

// Recv waits for the next frame. After the peer has closed it returns the frames that came before and then io.EOF itself; on a
// broken link the frames that came before and then the cause.
func (c *Conn) Recv(ctx context.Context, f *Frame) error {
	select {
	case got, ok := <-c.in:
		return c.received(f, got, ok)
	default:
	}
	select {
	case got, ok := <-c.in:
		return c.received(f, got, ok)
	case <-c.failed:
	case <-ctx.Done():
		return fmt.Errorf("receive frame from %s: %w", c.peer, context.Cause(ctx))
	}
	// The reader may have delivered a frame before it failed.
	<-c.readEnd
	got, ok := <-c.in
	return c.received(f, got, ok)
}

func (c *Conn) received(f *Frame, got Frame, ok bool) error {
	if ok {
		*f = got
		return nil
	}
	<-c.failed // the reader fails the link before it closes the channel
	if c.cause == io.EOF {
		return io.EOF
	}
	return fmt.Errorf("receive frame from %s: %w", c.peer, c.cause)
}

// Close sends what is queued, tells the peer, and waits up to Linger for both to end; then it breaks the link. After it
// returned no goroutine of the link is left. It may be called again. The error says that queued frames were lost.
func (c *Conn) Close() error {
	c.closeOnce.Do(func() { close(c.closing) })
	linger := time.NewTimer(c.opts.Linger)
	defer linger.Stop()
	select {
	case <-c.failed: // the peer has ended too, or the link is broken
	case <-linger.C:
		if !c.saidBye.Load() {
			c.fail(fmt.Errorf("the peer did not take the last frames within %s", c.opts.Linger))
		}
	}
	c.fail(ErrClosed)
	c.wg.Wait()
	if c.cause == ErrClosed || c.cause == io.EOF {
		return nil
	}
	return fmt.Errorf("close link to %s: %w", c.peer, c.cause)
}

// fail ends the link for good; only the first cause counts.
func (c *Conn) fail(cause error) {
	c.failOnce.Do(func() {
		c.cause = cause
		close(c.failed)
	})
}

func (c *Conn) readLoop() {
	defer close(c.readEnd)
	defer close(c.in)
	r := bufio.NewReaderSize(c.t.in, 32<<10)
	for {
		var f Frame
		if err := read(r, c.opts.MaxFrame, &f); err != nil {
			c.fail(c.readFailure(err))
			return
		}
		c.heard.Store(time.Now().UnixNano())
		switch {
		case f.Type == typePing:
		case f.Type == typeBye:
			c.peerClosed()
			return
		case !c.deliver(f):
			return
		}
	}
}

// readFailure says what the end of the stream means: after our bye the peer just hangs up; before it, our peers say bye, so
// that an end without it is a peer that was killed.
func (c *Conn) readFailure(err error) error {
	select {
	case <-c.closing:
		// The peer may hang up before the writer knows that its bye has left.
		select {
		case <-c.writeEnd:
		case <-c.failed:
		}
	default:
	}
	switch {
	case c.saidBye.Load():
		return ErrClosed
	case err == io.EOF:
		return fmt.Errorf("the peer ended without closing: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// peerClosed ends this side too. Frames that are still queued here have no reader any more.
func (c *Conn) peerClosed() {
	select {
	case <-c.closing:
		c.fail(ErrClosed)
	default:
		c.fail(io.EOF)
	}
}

// deliver hands a frame to Recv, waiting as long as its consumer needs.
func (c *Conn) deliver(f Frame) bool {
	select {
	case c.in <- f:
		return true
	default:
	}
	c.delivering.Store(true)
	defer func() {
		c.heard.Store(time.Now().UnixNano())
		c.delivering.Store(false)
	}()
	select {
	case c.in <- f:
		return true
	case <-c.closing:
		// Nobody will receive any more; keep reading for the peer's bye.
		return true
	case <-c.failed:
		return false
	}
}

func (c *Conn) writeLoop() {
	defer close(c.writeEnd)
	ping := time.NewTicker(c.opts.Ping)
	defer ping.Stop()
	w := bufio.NewWriterSize(c.t.out, 32<<10)
	pingFrame, byeFrame := control(typePing), control(typeBye)
	for {
		var err error
		select {
		case data := <-c.out:
			err = c.writeQueued(w, data)
		case <-ping.C:
			err = c.writeNow(w, pingFrame)
		case <-c.failed:
			return
		case <-c.closing:
			if err = c.drain(w, byeFrame); err == nil {
				c.saidBye.Store(true)
				err = c.t.closeOut()
			}
			if err == nil {
				return
			}
		}
		if err != nil {
			c.fail(fmt.Errorf("write to peer: %w", err))
			return
		}
	}
}

// writeQueued writes data and what has queued up behind it, and flushes once.
func (c *Conn) writeQueued(w *bufio.Writer, data []byte) error {
	for {
		if _, err := w.Write(data); err != nil {
			return err
		}
		select {
		case data = <-c.out:
		default:
			return c.writeNow(w, nil)
		}
	}
}

func (c *Conn) drain(w *bufio.Writer, bye []byte) error {
	for {
		select {
		case data := <-c.out:
			if _, err := w.Write(data); err != nil {
				return err
			}
		default:
			return c.writeNow(w, bye)
		}
	}
}

func (c *Conn) writeNow(w *bufio.Writer, data []byte) error {
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return c.t.flush()
}

// watch breaks the transport when the link has failed, so that reader and writer end, and fails it when the peer is silent.
func (c *Conn) watch() {
	tick := time.NewTicker(max(c.opts.Dead/8, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-c.failed:
			c.t.abort()
			return
		case <-tick.C:
			// In this order: a delivery that ends meanwhile has set heard before it is seen to be over.
			now := time.Now()
			if c.delivering.Load() {
				continue
			}
			if silent := now.Sub(time.Unix(0, c.heard.Load())); silent > c.opts.Dead {
				c.fail(fmt.Errorf("the peer has been silent for %s, longer than %s", silent.Round(time.Millisecond), c.opts.Dead))
			}
		}
	}
}

// control encodes one of the link's own frames, which cannot fail.
func control(kind string) []byte {
	data, err := encode(Frame{Type: kind}, MaxFrame)
	if err != nil {
		panic(err)
	}
	return data
}
