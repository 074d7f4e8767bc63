package connect

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-project/weir/connectors/nats"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/natsserver"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/physical"
)

// serveNats runs a NATS until stop, which waits for its end.
func serveNats(t *testing.T, address, dir, password string) (stop func()) {
	t.Helper()
	hash, err := security.Bcrypt(password)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\nauthorization {users: [{user: weir, password: %q}]}\njetstream {store_dir: %q, sync_interval: always}\n", address, hash, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- natsserver.Run(ctx, file, io.Discard) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestAConnectionThatEndedForGoodIsMadeAnew: a client gives up where its login is refused twice.
func TestAConnectionThatEndedForGoodIsMadeAnew(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, dir, p := l.Addr().String(), t.TempDir(), pool(t)
	l.Close()
	conn := physical.Connection{Operator: "nats", Servers: []string{address}, User: "weir", Password: "right"}
	client := func() *nats.Client {
		t.Helper()
		c, err := p.natsClient(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	stop := serveNats(t, address, dir, "right")
	first := client()
	if client() != first {
		t.Error("a client that works is made anew")
	}
	stop()
	stop = serveNats(t, address, dir, "wrong")
	wait, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = lifecycle.Poll(wait, lifecycle.Backoff{Min: 20 * time.Millisecond, Max: 20 * time.Millisecond}, func(context.Context) (bool, string, error) {
		return first.Closed(), "the client has not given up", nil
	})
	stop()
	if err != nil {
		t.Fatal(err)
	}
	defer serveNats(t, address, dir, "right")()
	if again := client(); again == first || again.Closed() {
		t.Error("the pool gives out a client that is closed")
	}
}

// TestWhoIsStoppedWaitsForNobodysConnection: the slots that wait for one that is being made end with it.
func TestWhoIsStoppedWaitsForNobodysConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := pool(t)
	ctx, cancel := context.WithCancel(t.Context())
	const slots = 4
	ended := make(chan error, slots)
	for range slots {
		go func() {
			_, err := p.natsClient(ctx, physical.Connection{Servers: []string{l.Addr().String()}})
			ended <- err
		}()
	}
	conn, err := l.Accept() // one of them is at it
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	began := time.Now()
	for range slots {
		if err := <-ended; err == nil {
			t.Error("a client without a server")
		}
	}
	if took := time.Since(began); took > 5*time.Second { // one call's limit is 3 s
		t.Errorf("%d slots ended %s after they were stopped", slots, took)
	}
}
