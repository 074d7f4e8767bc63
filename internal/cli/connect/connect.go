// Package connect opens sources, sinks and logs for the engine: the one place where it meets the connectors. A worker, `weir run` and the
// server, when it lists splits, each have one Pool.
//
// It keeps one client a service and decides nothing.
package connect

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/connectors/cassandra"
	"github.com/weir-project/weir/connectors/file"
	"github.com/weir-project/weir/connectors/generator"
	"github.com/weir-project/weir/connectors/kafka"
	"github.com/weir-project/weir/connectors/nats"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

// Connections implements engine.Connections for one assignment: which services there are, and where.
type Connections struct {
	pool     *Pool
	services map[string]physical.Connection
	install  string
}

// With makes connections to the named services; install is the first part of every transactional.id.
func (p *Pool) With(services map[string]physical.Connection, install string) *Connections {
	return &Connections{pool: p, services: services, install: install}
}

func (c *Connections) service(name string) (physical.Connection, error) {
	conn, ok := c.services[name]
	if !ok {
		return conn, fmt.Errorf("connect to service %s: nobody said where it is", name)
	}
	return conn, nil
}

func (c *Connections) kafka(name string) (*kafka.Client, error) {
	conn, err := c.service(name)
	if err != nil {
		return nil, err
	}
	return c.pool.kafkaClient(conn)
}

func (c *Connections) cassandra(ctx context.Context, name string) (*cassandra.Session, error) {
	conn, err := c.service(name)
	if err != nil {
		return nil, err
	}
	return c.pool.cassandraSession(ctx, conn)
}

// nats reaches a service of the stack, or what a url and its credentials lead to.
func (c *Connections) nats(ctx context.Context, config json.RawMessage) (*nats.Client, error) {
	cfg, err := nats.ParseConfig(config)
	if err != nil {
		return nil, err
	}
	var conn physical.Connection
	if cfg.Service != "" {
		conn, err = c.service(cfg.Service)
	} else {
		conn, err = cfg.Connection()
	}
	if err != nil {
		return nil, err
	}
	return c.pool.natsClient(ctx, conn)
}

// forever names a slot among all of all installations. That of a local run lives as long as its process, and so does the name.
func (c *Connections) forever(slot checkpoint.Slot) string {
	id := slot.TransactionalID(c.install)
	if slot.UID == "local" {
		id += "/" + c.pool.id
	}
	return id
}

// Source opens what a read node names.
func (c *Connections) Source(ctx context.Context, cfg physical.ReadConfig, ch *physical.Channel) (connectors.Source, error) {
	switch {
	case ch != nil && ch.Kafka != nil:
		client, err := c.kafka(ch.Kafka.Service)
		if err != nil {
			return nil, err
		}
		return kafka.Channel(client, *ch), nil
	case ch != nil && ch.Cassandra != nil:
		s, err := c.cassandra(ctx, ch.Cassandra.Service)
		if err != nil {
			return nil, err
		}
		return cassandra.NewSource(s, *ch)
	case cfg.Connector == "file":
		root, err := granted(cfg.Config)
		if err != nil {
			return nil, err
		}
		src, err := file.Open(cfg, root)
		if err != nil {
			return nil, errors.Join(err, root.Close())
		}
		return ownedSource{src, root}, nil
	case cfg.Connector == "nats":
		client, err := c.nats(ctx, cfg.Config)
		if err != nil {
			return nil, err
		}
		return nats.NewSource(client, cfg)
	case cfg.Connector == "create":
		return engine.NewCreateSource(cfg)
	case cfg.Connector == "generator":
		return generator.New(cfg)
	case cfg.Connector == "kafka":
		client, topic, err := c.topic(cfg.Config)
		if err != nil {
			return nil, err
		}
		return kafka.Topic(client, topic, cfg), nil
	}
	return nil, fmt.Errorf("open a source: there is no connector %q", cfg.Connector)
}

// topic opens the Kafka of a plain connector: by its addresses, or the service of a stack.
func (c *Connections) topic(config json.RawMessage) (*kafka.Client, kafka.TopicConfig, error) {
	var cfg struct {
		kafka.TopicConfig
		Servers []string `json:"servers"`
		Service string   `json:"service"`
	}
	if err := json.Unmarshal(config, &cfg); err != nil {
		return nil, cfg.TopicConfig, fmt.Errorf("read the config of a topic: %w", err)
	}
	if cfg.Service != "" {
		client, err := c.kafka(cfg.Service)
		return client, cfg.TopicConfig, err
	}
	client, err := c.pool.kafkaClient(physical.Connection{Operator: "kafka", Servers: cfg.Servers})
	return client, cfg.TopicConfig, err
}

// Outbox opens a sink that acts after the commit.
func (c *Connections) Outbox(ctx context.Context, cfg physical.WriteConfig, ch *physical.Channel, in column.Schema, slot checkpoint.Slot) (connectors.Outbox, error) {
	switch {
	case ch != nil && ch.Cassandra != nil:
		s, err := c.cassandra(ctx, ch.Cassandra.Service)
		if err != nil {
			return nil, err
		}
		return cassandra.NewOutbox(s, *ch, in)
	case cfg.Connector == "file":
		if err := makeDirectory(cfg.Config); err != nil {
			return nil, err
		}
		root, err := granted(cfg.Config)
		if err != nil {
			return nil, err
		}
		sink, err := file.NewSink(cfg, in, root, cfg.Sort, fmt.Sprintf("%s-%s-%s-%d", slot.Pipeline, slot.Stage, slot.Fragment, slot.Index))
		if err != nil {
			return nil, errors.Join(err, root.Close())
		}
		return ownedOutbox{sink, root}, nil
	case cfg.Connector == "kafka":
		client, topic, err := c.topic(cfg.Config)
		if err != nil {
			return nil, err
		}
		// An id of its own: two runs of one file, or two sinks of one fragment, must not fence each other.
		return kafka.NewTopicSink(client, topic, cfg, in, "weir-run-"+rand.Text())
	case cfg.Connector == "nats":
		client, err := c.nats(ctx, cfg.Config)
		if err != nil {
			return nil, err
		}
		return nats.NewOutbox(ctx, client, cfg, in, c.forever(slot))
	}
	return nil, fmt.Errorf("open a sink: there is no connector %q", cfg.Connector)
}

// Log opens a slot's log in the Kafka that holds its changelog.
func (c *Connections) Log(_ context.Context, slot checkpoint.Slot, fragment physical.Fragment) (checkpoint.Log, error) {
	client, err := c.kafka(fragment.Home)
	if err != nil {
		return nil, err
	}
	return kafka.NewLog(client, kafka.LogConfig{Install: c.install, Slot: slot, Changelog: fragment.Changelog, Outbox: fragment.Outbox}), nil
}

// Watermarks follows a channel's watermark topic.
func (c *Connections) Watermarks(_ context.Context, ch physical.Channel, place int64) (connectors.WatermarkReader, error) {
	client, err := c.kafka(ch.Kafka.Service)
	if err != nil {
		return nil, err
	}
	return kafka.Watermarks(client, ch.Kafka.Watermarks, place), nil
}

// path reads the absolute path that a file connector's config names.
func path(config json.RawMessage) (string, error) {
	var c struct {
		Path string `json:"path"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", fmt.Errorf("read the config of a file: %w", err)
	}
	if !filepath.IsAbs(c.Path) {
		return "", fmt.Errorf("open %s: the path is not absolute", c.Path)
	}
	return c.Path, nil
}

// granted opens the directory of a file; the connector can touch nothing outside it (C11).
func granted(config json.RawMessage) (*os.Root, error) {
	p, err := path(config)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(filepath.Dir(p))
	if err != nil {
		return nil, fmt.Errorf("open the directory of %s: %w", p, err)
	}
	return root, nil
}

func makeDirectory(config json.RawMessage) error {
	p, err := path(config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", p, err)
	}
	return nil
}

// ownedSource closes the granted directory with the source.
type ownedSource struct {
	connectors.Source
	root *os.Root
}

func (o ownedSource) Close() error { return errors.Join(o.Source.Close(), o.root.Close()) }

// ownedOutbox closes the granted directory with the sink.
type ownedOutbox struct {
	connectors.Outbox
	root *os.Root
}

func (o ownedOutbox) Close() error { return errors.Join(o.Outbox.Close(), o.root.Close()) }
