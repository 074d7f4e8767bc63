package resourcetest

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/master"
	"github.com/weir-project/weir/resources/server"
)

// Server is a real master on loopback behind mutual TLS, which can be killed and replaced. Rigs embed it.
type Server struct {
	Master  *server.Master
	Address string
	Options master.Options

	ca     *security.CA
	term   uint64 // the highest so far
	expect []resources.AgentID
	stop   func()
}

// NewServer starts one; expect are the agents that will come. It ends with the test.
func NewServer(t testing.TB, options master.Options, expect ...resources.AgentID) *Server {
	t.Helper()
	s := &Server{Options: options, expect: expect}
	var err error
	if s.ca, err = security.NewCA("weir", time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	s.term = 10
	s.start(t, s.term)
	t.Cleanup(func() { s.stop() })
	return s
}

// Bundle is a certificate and its key.
func (s *Server) Bundle(t testing.TB, name string, role security.Role) security.Bundle {
	t.Helper()
	b, err := s.issue(name, role)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *Server) issue(name string, role security.Role) (security.Bundle, error) {
	return s.ca.Issue(security.Request{CN: name, Role: role, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		ClientAuth: role != security.RoleServer, ServerAuth: role == security.RoleServer})
}

// URL is where agents link.
func (s *Server) URL() string { return "https://" + s.Address + "/v1/agents" }

// Dial links an agent.
func (s *Server) Dial(ctx context.Context, id resources.AgentID) (*link.Conn, error) {
	b, err := s.issue(string(id), security.RoleAgent)
	if err != nil {
		return nil, err
	}
	config, err := security.ClientTLS(b, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	return link.Dial(ctx, s.URL(), config, nil, link.Options{})
}

func (s *Server) start(t testing.TB, term uint64) {
	t.Helper()
	m := server.New(server.Config{Term: term, Expect: s.expect, Options: s.Options})
	config, err := security.ServerTLS(s.Bundle(t, "server", security.RoleServer))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /v1/agents", m.AgentHandler())
	srv, err := link.NewServer(link.ServerConfig{TLS: config, Handler: mux})
	if err != nil {
		t.Fatal(err)
	}
	address := s.Address
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if s.Address == "" { // links read it from now on
		s.Address = l.Addr().String()
	}
	s.Master = m
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("run master: %v", err)
		}
	})
	s.stop = func() {
		cancel()
		srv.Close() //nolint:errcheck // links break, as they do when a server is killed
		wg.Wait()
	}
}

// RestartMaster kills the master and starts another of a higher term, which remembers nothing.
func (s *Server) RestartMaster(t testing.TB) {
	t.Helper()
	s.stop()
	s.term++
	s.start(t, s.term)
}

// Depose puts a master of a lower term in the place of the one that leads.
func (s *Server) Depose(t testing.TB) {
	t.Helper()
	s.stop()
	s.start(t, s.term-1)
}

// Subscribe and Call are the framework's side.
func (s *Server) Subscribe(ctx context.Context, info resources.FrameworkInfo) (<-chan resources.Event, error) {
	return s.Master.Subscribe(ctx, info)
}

func (s *Server) Call(ctx context.Context, c resources.Call) error { return s.Master.Call(ctx, c) }
