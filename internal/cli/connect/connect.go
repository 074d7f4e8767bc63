// Package connect opens sources, sinks and logs for the engine: the one place where it meets the connectors. A worker, `weir run` and the
// server, when it lists splits, each have one Connections.
//
// It keeps one client a service and decides nothing.
package connect

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// Connections implements engine.Connections.
type Connections struct {
	services map[string]physical.Connection
	install  string
	log      *slog.Logger
}

// New makes connections to the named services; install is the first part of every transactional.id.
func New(services map[string]physical.Connection, install string, log *slog.Logger) *Connections {
	return &Connections{services: services, install: install, log: log}
}

func (c *Connections) service(name string) (physical.Connection, error) {
	conn, ok := c.services[name]
	if !ok {
		return conn, fmt.Errorf("connect to service %s: nobody said where it is", name)
	}
	return conn, nil
}

// Source opens what a read node names.
func (c *Connections) Source(ctx context.Context, cfg physical.ReadConfig, ch *physical.Channel) (connectors.Source, error) {
	return nil, fmt.Errorf("not wired")
}

// Outbox opens a sink that acts after the commit.
func (c *Connections) Outbox(ctx context.Context, cfg physical.WriteConfig, ch *physical.Channel, in column.Schema, slot checkpoint.Slot) (connectors.Outbox, error) {
	return nil, fmt.Errorf("not wired")
}

// Log opens a slot's log.
func (c *Connections) Log(ctx context.Context, slot checkpoint.Slot, fragment physical.Fragment) (checkpoint.Log, error) {
	return nil, fmt.Errorf("not wired")
}

// Watermarks follows a channel's watermark topic.
func (c *Connections) Watermarks(ctx context.Context, ch physical.Channel, place int64) (connectors.WatermarkReader, error) {
	return nil, fmt.Errorf("not wired")
}
