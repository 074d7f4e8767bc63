// Package daemon is `weir server`: the store, the certificate authority, the master, this host's agent, the services' reconcilers and the
// pipelines' runs, wired together behind one mTLS listener.
//
// One loop owns all state; requests, links and finished work reach it as functions to run. It decides nothing itself: it asks the pure
// packages and carries out what they answer.
//
//	err := daemon.Run(ctx, daemon.Config{State: dir, …})
package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/weir-project/weir/internal/cli/connect"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/internal/store"
	nodes "github.com/weir-project/weir/resources/kubernetes"
	"github.com/weir-project/weir/resources/server"
	"github.com/weir-project/weir/stacks/kubernetes"
)

// Config says where the server lives.
type Config struct {
	State string // the state directory (C12)
	Self  string // the weir binary: workers run it
	Shim  string // the weir-shim binary
	Cache string // verified artifacts, shared by all state directories of this user
	Build string
	Log   *slog.Logger

	Health     string      // address of an open listener for GET /health alone; empty: none
	Kubernetes *Kubernetes // nil: the server stands alone
	Nodes      *Nodes      // nil: this host is the only agent
}

// addressFile is what the CLI reads to find the server.
const addressFile = "server.json"

// Daemon is a running server. All fields below work belong to the loop.
type Daemon struct {
	cfg     Config
	root    *os.Root
	ca      *security.CA
	store   *store.Store
	secrets *store.Secrets
	master  *server.Master
	pool    *connect.Pool
	certs   clientCertificates
	group   *lifecycle.Group
	objects *kubernetes.Controller // nil: no cluster is followed
	nodes   *nodes.Fleet           // nil: this host is the agent
	url     string
	pid     int
	term    uint64
	install string

	work  chan func()
	wake  chan struct{}
	ended chan struct{}

	stacks   map[string]*stack
	workers  map[string]*worker // by task id
	stopping chan struct{}      // closed when the last task ended; nil: not stopping
	quit     context.CancelCauseFunc
}

// Run serves until ctx ends or a shutdown was asked for. Tasks go on when it returns, unless the shutdown stopped them.
func Run(ctx context.Context, cfg Config) (err error) {
	d := &Daemon{cfg: cfg, pid: os.Getpid(), work: make(chan func(), 64), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		stacks: map[string]*stack{}, workers: map[string]*worker{}, pool: connect.NewPool("weir-server")}
	if err := d.follow(); err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	ctx, d.quit = context.WithCancelCause(ctx)
	d.group = lifecycle.NewGroup(ctx)
	if err := d.start(ctx); err != nil {
		return errors.Join(err, d.group.Stop(err))
	}
	if err := d.group.Wait(); err != nil && !errors.Is(err, errStopped) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// errStopped is the cause with which a shutdown that was asked for ends the server.
var errStopped = errors.New("stopped as asked")

func (d *Daemon) open(ctx context.Context) (err error) {
	if d.root, err = security.OpenStateDir(d.cfg.State); err != nil {
		return err
	}
	if d.ca, err = security.EnsureCA(d.root, "weir", time.Now(), rand.Reader); err != nil {
		return fmt.Errorf("open the certificate authority: %w", err)
	}
	sealer, err := security.OpenSealer(d.root)
	if err != nil {
		return fmt.Errorf("open the seal of secrets: %w", err)
	}
	if d.store, err = store.Open(filepath.Join(d.cfg.State, "store")); err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	d.secrets = store.NewSecrets(d.store, sealer)
	return d.identify(ctx)
}

// identify raises the server's term, which agents compare (C2), and names the installation, the first part of every transactional.id.
func (d *Daemon) identify(ctx context.Context) error {
	err := d.store.Update(ctx, "server/term", func(old []byte) ([]byte, error) {
		if old != nil {
			if err := json.Unmarshal(old, &d.term); err != nil {
				return nil, err
			}
		}
		d.term++
		return json.Marshal(d.term)
	})
	if err != nil {
		return fmt.Errorf("raise the server's term: %w", err)
	}
	err = d.store.Update(ctx, "server/install", func(old []byte) ([]byte, error) {
		if old == nil {
			old = []byte("w" + rand.Text()[:10])
		}
		d.install = string(old)
		return old, nil
	})
	if err != nil {
		return fmt.Errorf("name the installation: %w", err)
	}
	return nil
}

func (d *Daemon) close() error {
	errs := []error{d.pool.Close()}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.root != nil {
		errs = append(errs, d.root.Close())
	}
	return errors.Join(errs...)
}

func (d *Daemon) start(ctx context.Context) error {
	expect, err := d.expect(ctx)
	if err != nil {
		return err
	}
	d.master = server.New(server.Config{Term: d.term, Log: d.cfg.Log, Expect: expect})
	listener, err := d.listen(ctx)
	if err != nil {
		return err
	}
	if err := d.serve(listener); err != nil {
		return err
	}
	d.group.Go("master", d.master.Run)
	if err := d.startAgents(); err != nil {
		return err
	}
	if err := d.load(); err != nil {
		return err
	}
	d.group.Go("loop", d.loop)
	if d.cfg.Health != "" {
		if err := d.serveHealth(ctx); err != nil {
			return err
		}
	}
	if d.objects != nil {
		d.group.Go("stack objects", d.objects.Run)
	}
	return d.announce()
}

// listen binds the port of last time where there was one, since workers that outlived the server dial it.
func (d *Daemon) listen(ctx context.Context) (net.Listener, error) {
	port := "0"
	if data, err := d.root.ReadFile(addressFile); err == nil {
		var at struct {
			Port int `json:"port"`
		}
		if err := json.Unmarshal(data, &at); err != nil {
			return nil, fmt.Errorf("read %s: %w", addressFile, err)
		}
		port = strconv.Itoa(at.Port)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", addressFile, err)
	}
	l, err := link.Listen(ctx, net.JoinHostPort("127.0.0.1", port), false)
	if err != nil && port != "0" && d.allDown() {
		// Somebody took the port while everything was down: no worker dials it, so another one does.
		l, err = link.Listen(ctx, "127.0.0.1:0", false)
	}
	if err != nil {
		return nil, fault.New("E-LISTEN", "listen on", "127.0.0.1:"+port, fault.Cause(err), fault.Hint("another program took the server's port: end it, or use another --state"))
	}
	d.url = "https://" + l.Addr().String()
	return l, nil
}

// allDown reports whether every stored stack was stopped: then no task of ours runs.
func (d *Daemon) allDown() bool {
	for _, e := range d.store.List("stacks") {
		var record stackRecord
		if json.Unmarshal(e.Value, &record) != nil || !record.Down {
			return false
		}
	}
	return true
}

func (d *Daemon) serve(l net.Listener) error {
	now := time.Now()
	bundle, err := d.ca.Issue(security.Request{CN: "weir-server", Role: security.RoleServer, DNS: []string{"weir-server", "localhost"},
		IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0), ServerAuth: true})
	if err != nil {
		return fmt.Errorf("issue the server's certificate: %w", err)
	}
	config, err := security.ServerTLS(bundle)
	if err != nil {
		return err
	}
	srv, err := link.NewServer(link.ServerConfig{TLS: config, Handler: d.routes(), Log: d.cfg.Log})
	if err != nil {
		return err
	}
	d.group.Go("http", func(ctx context.Context) error {
		context.AfterFunc(ctx, func() { srv.Close() }) //nolint:errcheck // links are cut on purpose; their ends redial
		if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
		return nil
	})
	return nil
}

// announce tells the CLI where the server is.
func (d *Daemon) announce() error {
	_, port, err := net.SplitHostPort(d.url[len("https://"):])
	if err != nil {
		return fmt.Errorf("announce %s: %w", d.url, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("announce %s: %w", d.url, err)
	}
	data, err := json.Marshal(map[string]any{"url": d.url, "pid": d.pid, "port": n})
	if err != nil {
		return fmt.Errorf("announce %s: %w", d.url, err)
	}
	return security.WriteFile(d.root, addressFile, data, 0o600)
}

// loop runs everything that touches the state.
func (d *Daemon) loop(ctx context.Context) error {
	defer close(d.ended)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-d.work:
			f()
		case <-d.wake:
		case <-tick.C:
		}
		d.pass(ctx, time.Now())
	}
}

// post runs f on the loop; it is dropped when the server is ending, as what it would change is gone then.
func (d *Daemon) post(f func()) {
	select {
	case d.work <- f:
	case <-d.ended:
	}
}

// pass looks at the world once (level-triggered) and does what is to be done.
func (d *Daemon) pass(ctx context.Context, now time.Time) {
	for _, s := range d.stacks {
		s.pass(ctx, now)
	}
	d.checkStopped()
}
