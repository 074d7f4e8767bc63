// Package natsserver runs a NATS with JetStream in this process from a configuration file: what `weir nats-server` does as a task of a stack, and what
// tests start and kill. The server is the real one, built from its Go module, which the control state needs anyway.
//
// It refuses a configuration that would be open to anybody (D12), that has any other listener than the clients', or that acknowledges before it has
// written to disk.
//
//	err := natsserver.Run(ctx, "nats.conf", os.Stderr) // until ctx ends; then it stops in order
package natsserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/weir-project/weir/internal/fault"
)

// startWithin bounds the recovery of the streams.
const startWithin = 60 * time.Second

// Run runs the server until ctx ends. What it logs goes to log.
func Run(ctx context.Context, config string, log io.Writer) error {
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		return fault.Invalid("E-CONFIG", "read", config, fault.Cause(err))
	}
	if err := check(opts); err != nil {
		return fault.Invalid("E-CONFIG", "start nats with", config, fault.Cause(err), fault.Hint("the operator writes this file; weir up STACK.yaml starts a NATS with it"))
	}
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("make nats server: %w", err)
	}
	w := &writer{to: log, fatal: make(chan string, 1)}
	s.SetLoggerV2(w, false, false, false)
	s.Start()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	ready := make(chan bool, 1)
	go func() { ready <- s.ReadyForConnections(startWithin) && s.JetStreamEnabled() }() // ends by its own limit, or with the server
	for {
		select {
		case ok := <-ready:
			if ready = nil; !ok && ctx.Err() == nil {
				return fmt.Errorf("start nats at %s:%d: it did not take connections within %s; its log says why", opts.Host, opts.Port, startWithin)
			}
		case why := <-w.fatal:
			return fmt.Errorf("run nats at %s:%d: %s", opts.Host, opts.Port, why)
		case <-ctx.Done():
			return nil
		}
	}
}

// check holds the server to what every service of Weir is held to.
func check(o *server.Options) error {
	if len(o.Users) == 0 && len(o.Nkeys) == 0 && len(o.TrustedOperators) == 0 || o.NoAuthUser != "" {
		return errors.New("anybody could connect: it names no users, or a no_auth_user")
	}
	for _, u := range o.Users {
		if u.Password == "" {
			return fmt.Errorf("anybody could connect as %q: the user has no password", u.Username)
		}
	}
	a, err := netip.ParseAddr(o.Host)
	if err != nil {
		return fmt.Errorf("its host %q is no IP address", o.Host)
	}
	if !a.IsLoopback() && (o.TLSConfig == nil || !o.TLSVerify) {
		return fmt.Errorf("it listens at %s, which others reach, without TLS that verifies its clients", a)
	}
	for name, port := range map[string]int{"http_port": o.HTTPPort, "https_port": o.HTTPSPort, "cluster": o.Cluster.Port, "leafnodes": o.LeafNode.Port,
		"gateway": o.Gateway.Port, "websocket": o.Websocket.Port, "mqtt": o.MQTT.Port} {
		if port != 0 {
			return fmt.Errorf("it opens another listener, %s at port %d", name, port)
		}
	}
	if o.ProfPort != 0 {
		return fmt.Errorf("it opens another listener, prof_port %d", o.ProfPort)
	}
	if !o.JetStream || !o.SyncAlways {
		return errors.New("it needs `jetstream {sync_interval: always}`: by default a message is acknowledged up to two minutes before it is on disk")
	}
	return nil
}

// writer is the server's logger: a line an event, as the operator's other services have.
type writer struct {
	to    io.Writer
	fatal chan string // the first line that the server cannot go on from
}

func (w *writer) line(level, format string, args []any) {
	fmt.Fprintf(w.to, "%s %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), level, fmt.Sprintf(format, args...))
}

func (w *writer) Noticef(f string, a ...any) { w.line("INFO", f, a) }
func (w *writer) Warnf(f string, a ...any)   { w.line("WARN", f, a) }
func (w *writer) Errorf(f string, a ...any)  { w.line("ERROR", f, a) }
func (w *writer) Debugf(string, ...any)      {}
func (w *writer) Tracef(string, ...any)      {}

// Fatalf does not end the process, as the server expects: Run does.
func (w *writer) Fatalf(f string, a ...any) {
	w.line("FATAL", f, a)
	select {
	case w.fatal <- fmt.Sprintf(f, a...):
	default:
	}
}
