package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/cli/connect"
	"github.com/weir-project/weir/internal/console"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/admin"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/graph"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/stacks"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run FILE", Short: "Run a pipeline here and now, in this process, with no server", Args: args(1, 1),
		Long: `Executes a Beam YAML file from its sources to its sinks and ends. Files need no server and no JVM; channels of a deployed pipeline
("flights/delays"), and a Kafka or a NATS of a running stack (STACK/SERVICE), are reached through its server.`,
		Example: "  weir run my-pipeline.yaml\n  weir run stacks/catalog/flights/worst.yaml",
		RunE: func(c *cobra.Command, argv []string) error {
			src, err := readInput(argv[0], stacks.MaxSource)
			if err != nil {
				return err
			}
			if isStack(src) {
				return fault.Usage("E-USAGE", "run", argv[0], fault.Causef("it is a stack, not a pipeline"), fault.Hint("weir up "+argv[0]))
			}
			return a.runSource(c.Context(), nil, argv[0], src)
		},
	}
}

// channels looks deployed channels up, once each, while a file is compiled.
type channels struct {
	ctx    context.Context //nolint:containedctx // a look-up lives as long as the one compilation that asks it
	client func() (*api.Client, error)
	found  map[string]api.Channel
	failed map[string]error
}

// lookup asks the given server, or the one of the state directory where a file names a deployed channel.
func (a *app) lookup(ctx context.Context, client *api.Client) *channels {
	return &channels{ctx: ctx, found: map[string]api.Channel{}, failed: map[string]error{}, client: func() (*api.Client, error) {
		if client != nil {
			return client, nil
		}
		return a.server(ctx)
	}}
}

func (l *channels) get(ref string) (physical.Channel, bool) {
	pipeline, channel, ok := strings.Cut(ref, "/")
	if !ok {
		return physical.Channel{}, false
	}
	if c, ok := l.found[ref]; ok {
		return c.Channel, true
	}
	client, err := l.client()
	var c api.Channel
	if err == nil {
		err = client.Do(l.ctx, "GET", "/v1/channels/"+url.PathEscape(pipeline)+"/"+url.PathEscape(channel), nil, &c)
	}
	if err != nil {
		l.failed[ref] = err
		return physical.Channel{}, false
	}
	l.found[ref] = c
	return c.Channel, true
}

// connection asks how the service of a running stack, STACK/SERVICE, is reached.
func (l *channels) connection(name string) (c physical.Connection, err error) {
	if !strings.Contains(name, "/") {
		return c, fault.Invalid("E-SERVICE", "connect to service", name, fault.Causef("it is a service of a stack, and this file is run without one"),
			fault.Hint("write `service: STACK/"+name+"` for a running stack's, or where it is with `url:`; or list the file under `pipelines:` of the stack"))
	}
	client, err := l.client()
	if err != nil {
		return c, err
	}
	if err := client.Do(l.ctx, "GET", "/v1/connections/"+name, nil, &c); err != nil {
		return c, err
	}
	if c.Operator != operators.Kafka && c.Operator != operators.Nats {
		return c, fault.Invalid("E-SERVICE", "connect to service", name, fault.Causef("it is a %s, and a Kafka or a NATS is asked for", c.Operator), fault.Hint("weir get services"))
	}
	return c, nil
}

func (a *app) runSource(ctx context.Context, client *api.Client, path string, src []byte) error {
	lookup := a.lookup(ctx, client)
	g, err := compileFile(path, src, lookup)
	if err != nil {
		return err
	}
	if err := connect.BeamFor(g); err != nil {
		return err
	}
	services := map[string]physical.Connection{}
	for ref, c := range lookup.found {
		if c.Channel.Kafka != nil {
			// Its records are of every run so far, and where one ends and the next begins is known to the pipeline's own readers only.
			return fault.Invalid("E-NOTYET", "run", path, fault.Causef("it reads the Kafka channel %s of a deployed pipeline, which `weir run` cannot tell the runs of yet", ref),
				fault.Hint(fmt.Sprintf("read it in a stage of that pipeline, or as any topic: ReadFromKafka with `topic: %s` and `bootstrap_servers: STACK/%s`", c.Channel.Kafka.Topic, c.Channel.Kafka.Service)))
		}
		services[serviceName(c.Channel)] = c.Connection
	}
	for _, name := range graph.Services(g) {
		if services[name], err = lookup.connection(name); err != nil {
			return err
		}
		if err := makeStreams(ctx, g, name, services[name]); err != nil {
			return err
		}
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	pool := connect.NewPool("weir-run")
	defer pool.Close() //nolint:errcheck // what was read is complete, what was written committed
	shown := a.err
	if client != nil {
		shown = io.Discard // part of another command, whose progress has been shown
	}
	p := newRunProgress(console.NewProgress(shown))
	res, err := engine.RunLocal(ctx, engine.Local{Graph: *g, Connections: pool.With(services, "local"), Out: p.beside(a.out), Log: log, Progress: p.show})
	p.close()
	if client == nil && (err == nil || ctx.Err() != nil) {
		fmt.Fprintf(a.err, "%s: %s\n", g.Pipeline, summary(res))
	}
	if client == nil && err == nil {
		for _, path := range written(g) {
			fmt.Fprintln(a.err, "wrote "+path)
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fault.New("E-RUN", "run", path, fault.Cause(err))
	}
	return nil
}

// makeStreams makes the streams that a run writes in a NATS of a stack, as the workers' plan does for a pipeline of the stack (C7). A NATS
// elsewhere is left as it is.
func makeStreams(ctx context.Context, g *physical.Graph, service string, c physical.Connection) error {
	want := stream.Channels([]physical.Graph{*g}, nil)[service].Streams
	if c.Operator != operators.Nats || len(want) == 0 {
		return nil
	}
	config, err := security.ServiceTLS(security.Bundle{CAPEM: c.CA, CertPEM: c.Cert, KeyPEM: c.Key})
	if err != nil {
		return err
	}
	return admin.Nats{Address: c.Servers[0], TLS: config, User: c.User, Password: c.Password}.EnsureStreams(ctx, want)
}

func serviceName(ch physical.Channel) string {
	if ch.Kafka != nil {
		return ch.Kafka.Service
	}
	return ch.Cassandra.Service
}

// compileFile compiles a pipeline file for this process.
func compileFile(path string, src []byte, lookup *channels) (*physical.Graph, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", path, err)
	}
	in := compile.Input{File: path, Source: src, Dir: filepath.Dir(abs), Local: true, Channels: lookup.get}
	g, err := compile.Pipeline(in)
	return g, lookup.explain(err)
}

// explain puts why a deployed channel was not found in the place of the compiler's "there is none", which is all that it knows.
func (l *channels) explain(err error) error {
	var all, told fault.List
	all.Add(err)
	for _, e := range all {
		for ref, why := range l.failed {
			if e.Code == "E-CHANNEL" && strings.Contains(e.Err.Error(), strconv.Quote(ref)) {
				e = fault.New("", e.Op, e.Subject, fault.AtPos(e.Pos), fault.Line(e.Source), fault.Cause(why))
				break
			}
		}
		told.Add(e)
	}
	return told.Err()
}
