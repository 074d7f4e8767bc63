package engine

import (
	"context"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// Connections opens what a slot needs. Every value belongs to one slot's attempt, which closes it. ch is nil where a node names no channel.
type Connections interface {
	// Source opens a source. The splits of a Kafka channel are its partitions, and the id of each ends in the partition's number.
	Source(ctx context.Context, cfg physical.ReadConfig, ch *physical.Channel) (connectors.Source, error)
	// Outbox opens a sink that acts after the commit. in is the schema of the rows that it will be given.
	Outbox(ctx context.Context, cfg physical.WriteConfig, ch *physical.Channel, in column.Schema, slot checkpoint.Slot) (connectors.Outbox, error)
	// Log opens the slot's log. RunLocal does not ask for it: a local run has its own.
	Log(ctx context.Context, slot checkpoint.Slot, fragment physical.Fragment) (checkpoint.Log, error)
	// Watermarks follows a channel's watermark topic from a place; 0 is its beginning.
	Watermarks(ctx context.Context, ch physical.Channel, place int64) (connectors.WatermarkReader, error)
}

// Clock tells the time of day; nil is time.Now. Waiting is done with package time, so that testing/synctest governs it.
type Clock func() time.Time

func (c Clock) now() time.Time {
	if c == nil {
		return time.Now()
	}
	return c()
}
