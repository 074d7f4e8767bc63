package link_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
)

type authority struct{ *security.CA }

func newAuthority(t *testing.T) authority {
	t.Helper()
	ca, err := security.NewCA("weir", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return authority{ca}
}

func (a authority) bundle(t *testing.T, r security.Request) security.Bundle {
	t.Helper()
	r.NotBefore, r.NotAfter = time.Now(), time.Now().Add(time.Hour)
	b, err := a.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (a authority) client(t *testing.T) *tls.Config {
	t.Helper()
	config, err := security.ClientTLS(a.bundle(t, security.Request{CN: "agent-1", Role: security.RoleAgent, ClientAuth: true}), "weir")
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// serve runs a server on loopback for the test and returns its address.
func (a authority) serve(t *testing.T, role security.Role, handler http.HandlerFunc) string {
	t.Helper()
	config, err := security.ServerTLS(a.bundle(t, security.Request{CN: "server", Role: role, DNS: []string{"weir"}, ServerAuth: true}))
	if err != nil {
		t.Fatal(err)
	}
	srv, err := link.NewServer(link.ServerConfig{TLS: config, Handler: handler})
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server ended: %v", err)
		}
	})
	return l.Addr().String()
}

// accept serves links with one function, and reports what it returned.
func accept(t *testing.T, opts link.Options, session func(context.Context, *link.Conn) error) (http.HandlerFunc, <-chan error) {
	results := make(chan error, 16)
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := link.Accept(w, r, opts)
		if err != nil {
			results <- err
			return
		}
		err = session(r.Context(), c)
		results <- errors.Join(err, c.Close())
	}, results
}

func dial(t *testing.T, address string, config *tls.Config, opts link.Options) *link.Conn {
	t.Helper()
	c, err := link.Dial(t.Context(), "https://"+address+"/link", config, nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // tests that care check their own Close
	return c
}

func result(t *testing.T, results <-chan error) error {
	t.Helper()
	select {
	case err := <-results:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the session did not end within 20 s")
		return nil
	}
}

type count struct{ N int }

// exchange sends n numbers and at the same time receives n, in order.
func exchange(ctx context.Context, c *link.Conn, n int) error {
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := c.SendBody(ctx, "count", 1, count{i}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	var err error
	for i := 0; i < n && err == nil; i++ {
		var f link.Frame
		var got count
		if err = c.Recv(ctx, &f); err == nil {
			err = f.Decode(&got)
		}
		if err == nil && (f.Type != "count" || f.Version != 1 || got.N != i) {
			err = fmt.Errorf("frame %d came as %+v", i, f)
		}
	}
	return errors.Join(err, <-sent)
}

func TestTenThousandFramesGoBothWaysAtOnceInOrder(t *testing.T) {
	const n = 10_000
	a := newAuthority(t)
	var peer security.Identity
	handler, results := accept(t, link.Options{}, func(ctx context.Context, c *link.Conn) error {
		peer = c.Peer()
		return exchange(ctx, c, n)
	})
	c := dial(t, a.serve(t, security.RoleServer, handler), a.client(t), link.Options{})
	began := time.Now()
	if err := exchange(t.Context(), c, n); err != nil {
		t.Error(err)
	}
	t.Logf("%d frames each way in %s", n, time.Since(began))
	if err := result(t, results); err != nil {
		t.Errorf("server: %v", err)
	}
	if peer.String() != "agent/agent-1" || c.Peer().String() != "server/server" {
		t.Errorf("peers: %v and %v", peer, c.Peer())
	}
}

func TestCloseDeliversWhatWasSentAndEndsTheOtherSide(t *testing.T) {
	a := newAuthority(t)
	const n = 500
	closer := func(ctx context.Context, c *link.Conn) error {
		for i := range n {
			if err := c.SendBody(ctx, "count", 1, count{i}); err != nil {
				return err
			}
		}
		return c.Close()
	}
	drainer := func(ctx context.Context, c *link.Conn) error {
		var f link.Frame
		for i := range n {
			if err := c.Recv(ctx, &f); err != nil {
				return fmt.Errorf("frame %d: %w", i, err)
			}
		}
		if err := c.Recv(ctx, &f); err != io.EOF {
			return fmt.Errorf("after the last frame: %v, want io.EOF", err)
		}
		if err := c.Send(ctx, link.Frame{Type: "late"}); !errors.Is(err, io.EOF) {
			return fmt.Errorf("send to a closed peer: %v", err)
		}
		return c.Close()
	}
	for name, side := range map[string][2]func(context.Context, *link.Conn) error{
		"client closes": {drainer, closer}, "server closes": {closer, drainer},
	} {
		t.Run(name, func(t *testing.T) {
			handler, results := accept(t, link.Options{}, side[0])
			c := dial(t, a.serve(t, security.RoleServer, handler), a.client(t), link.Options{})
			if err := side[1](t.Context(), c); err != nil {
				t.Errorf("client: %v", err)
			}
			if err := result(t, results); err != nil {
				t.Errorf("server: %v", err)
			}
			if err := c.Send(t.Context(), link.Frame{Type: "x"}); err == nil {
				t.Error("sent on a closed link")
			}
		})
	}
}

// proxy is a wire that can be cut or frozen.
type proxy struct {
	address string
	mu      sync.Mutex // guards conns
	conns   []net.Conn
	frozen  chan struct{}
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: l.Addr().String(), frozen: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				t.Error(err)
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			wg.Go(func() { p.copy(in, out) })
			wg.Go(func() { p.copy(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // the errors of closing a wire that tests cut are of no interest
		p.cut()
		wg.Wait()
	})
	return p
}

func (p *proxy) copy(dst, src net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-p.frozen:
			continue
		default:
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut resets every connection, as the kernel does for a process that was killed.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

func TestBothSidesSeeAPeerThatDies(t *testing.T) {
	fast := link.Options{Ping: 20 * time.Millisecond, Dead: 300 * time.Millisecond, Linger: 50 * time.Millisecond}
	for name, kill := range map[string]func(*proxy){
		"cut":    (*proxy).cut,
		"frozen": func(p *proxy) { close(p.frozen) }, // a host that lost its power sends no reset
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			handler, results := accept(t, fast, func(ctx context.Context, c *link.Conn) error {
				if err := c.SendBody(ctx, "hello", 1, nil); err != nil {
					return err
				}
				var f link.Frame
				return c.Recv(context.WithoutCancel(ctx), &f)
			})
			p := newProxy(t, a.serve(t, security.RoleServer, handler))
			c := dial(t, p.address, a.client(t), fast)
			var f link.Frame
			if err := c.Recv(t.Context(), &f); err != nil || f.Type != "hello" {
				t.Fatalf("first frame %+v, %v", f, err)
			}
			began := time.Now()
			kill(p)
			if err := c.Recv(t.Context(), &f); err == nil || err == io.EOF {
				t.Errorf("client: %v, want a broken link", err)
			}
			if err := result(t, results); err == nil || err == io.EOF {
				t.Errorf("server: %v, want a broken link", err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s to notice", took)
			}
			if c.Err() == nil || c.Close() == nil {
				t.Error("a broken link closed as if nothing had been")
			}
		})
	}
}

// The clock is the bubble's: however busy the machine is, only the link's own waits pass time.
func TestASlowConsumerIsNotADeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := link.Options{Ping: time.Second, Dead: 5 * time.Second, Queue: 1}
		from, to := link.Pair(opts, opts)
		const n = 40
		results := make(chan error, 1)
		go func() {
			for range n {
				if err := from.SendBody(t.Context(), "some", 1, nil); err != nil {
					results <- errors.Join(err, from.Close())
					return
				}
			}
			results <- from.Close()
		}()
		// The consumer rests for several times the deadline: that is what this test is about.
		select {
		case <-time.After(10 * opts.Dead):
		case <-to.Done():
			t.Errorf("broken by back-pressure: %v", to.Err())
		case <-from.Done():
			t.Errorf("the sender was broken by back-pressure: %v", from.Err())
		}
		var f link.Frame
		for i := range n {
			if err := to.Recv(t.Context(), &f); err != nil {
				t.Errorf("frame %d: %v", i, err)
				break
			}
		}
		if err := to.Recv(t.Context(), &f); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
		if err := errors.Join(<-results, to.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestASilentPeerIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet, waits := link.Pair(link.Options{Ping: time.Hour}, link.Options{Dead: 5 * time.Second})
		began := time.Now()
		<-waits.Done()
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second || !strings.Contains(waits.Err().Error(), "silent") {
			t.Errorf("after %s: %v, want the peer's silence to be noticed within 6 s", took, waits.Err())
		}
		if err := errors.Join(quiet.Close(), waits.Close()); err == nil {
			t.Error("a broken link closed as if nothing had been")
		}
	})
}

func TestOversizeFramesAreRefused(t *testing.T) {
	a := newAuthority(t)
	handler, results := accept(t, link.Options{MaxFrame: 1000}, func(ctx context.Context, c *link.Conn) error {
		var f link.Frame
		return c.Recv(ctx, &f)
	})
	c := dial(t, a.serve(t, security.RoleServer, handler), a.client(t), link.Options{MaxFrame: 2000})
	var large *link.TooLargeError
	if err := c.SendBody(t.Context(), "big", 1, bytes.Repeat([]byte("x"), 2000)); !errors.As(err, &large) || large.Limit != 2000 {
		t.Errorf("sender: %v", err)
	}
	if c.Err() != nil {
		t.Fatalf("a refused Send broke the link: %v", c.Err())
	}
	if err := c.SendBody(t.Context(), "big", 1, bytes.Repeat([]byte("x"), 900)); err != nil {
		t.Fatal(err)
	}
	if err := result(t, results); !errors.As(err, &large) || large.Limit != 1000 {
		t.Errorf("receiver: %v", err)
	}
	if err := c.Send(t.Context(), link.Frame{Type: "_ping"}); err == nil {
		t.Error("a reserved type was sent")
	}
}

func TestStrangersGetNoLink(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	handler, results := accept(t, link.Options{}, func(context.Context, *link.Conn) error { return nil })
	address := a.serve(t, security.RoleServer, handler)
	kafka := a.serve(t, security.RoleKafka, handler)
	good := a.client(t)
	without := good.Clone()
	without.Certificates = nil
	mixed := foreign.client(t)
	mixed.RootCAs = good.RootCAs
	for name, c := range map[string]struct {
		address string
		config  *tls.Config
	}{
		"no certificate":                 {address, without},
		"certificate of another CA":      {address, mixed},
		"server of another CA":           {address, foreign.client(t)},
		"a Kafka that poses as a server": {kafka, good},
	} {
		if conn, err := link.Dial(t.Context(), "https://"+c.address+"/link", c.config, nil, link.Options{}); err == nil {
			t.Errorf("%s: linked to %v", name, conn.Peer())
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	// Only the posing Kafka's handler ran: its client has a good certificate.
	_ = result(t, results)
	select {
	case err := <-results:
		t.Errorf("a stranger reached the handler, which ended with %v", err)
	default:
	}
	l, err := link.Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var f *fault.Error
	if _, err := link.Dial(t.Context(), "https://"+nobody+"/link", good, nil, link.Options{}); !errors.As(err, &f) || !strings.Contains(f.Hint, "weir up") {
		t.Errorf("where nobody listens: %v", err)
	}
	if _, err := link.Dial(t.Context(), "http://"+address, good, nil, link.Options{}); err == nil {
		t.Error("linked without TLS")
	}
}

func TestARefusalReachesTheDiallerAsTheFaultItWas(t *testing.T) {
	a := newAuthority(t)
	sent := fault.Denied("E-ROLE", "register", "agent agent-1", fault.Causef("role worker"), fault.Hint("join again"))
	address := a.serve(t, security.RoleServer, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/link" {
			if err := link.Refuse(w, sent); err != nil {
				t.Error(err)
			}
			return
		}
		http.NotFound(w, r)
	})
	_, err := link.Dial(t.Context(), "https://"+address+"/link", a.client(t), nil, link.Options{})
	var got *fault.Error
	if !errors.As(err, &got) || fault.ExitCode(err) != fault.ExitDenied || got.Hint != "join again" || got.Code != "E-ROLE" {
		t.Errorf("got %v", err)
	}
	_, err = link.Dial(t.Context(), "https://"+address+"/elsewhere", a.client(t), nil, link.Options{})
	if fault.ExitCode(err) != fault.ExitNotFound {
		t.Errorf("unknown path: %v", err)
	}
}

func TestARequestThatIsNoLinkIsRefused(t *testing.T) {
	a := newAuthority(t)
	handler, results := accept(t, link.Options{}, func(context.Context, *link.Conn) error { return nil })
	address := a.serve(t, security.RoleServer, handler)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: a.client(t), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	response, err := client.Get("https://" + address + "/link")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // read to its end below
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusBadRequest {
		t.Errorf("status %s, %v", response.Status, err)
	}
	if err := result(t, results); fault.ExitCode(err) != fault.ExitInvalid {
		t.Errorf("accept: %v", err)
	}
}

func TestListenStaysOnLoopbackUnlessTold(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "example.com:0", "10.0.0.1:0"} {
		if l, err := link.Listen(t.Context(), address, false); fault.ExitCode(err) != fault.ExitDenied {
			t.Errorf("%s: %v, %v", address, l, err)
		}
	}
	l, err := link.Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := link.NewServer(link.ServerConfig{TLS: &tls.Config{MinVersion: tls.VersionTLS13}}); err == nil {
		t.Error("a server without client certificates was made")
	}
}

func FuzzAFrameIsReadOrRefused(f *testing.F) {
	f.Add([]byte(`{"type":"a","version":1,"body":{"n":1}}`), uint32(39))
	f.Add([]byte(`{}`), uint32(2))
	f.Add([]byte{}, uint32(0xffffffff))
	f.Fuzz(func(t *testing.T, data []byte, size uint32) {
		wire := append(binary.BigEndian.AppendUint32(nil, size), data...)
		var got link.Frame
		err := link.ReadFrame(bytes.NewReader(wire), 1<<16, &got)
		if err == nil && (got.Type == "" || int(size) > len(data) || size > 1<<16) {
			t.Errorf("read %+v of %q", got, wire)
		}
	})
}
