package engine_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

// still is a world without services: one batch given again and again, and a log that forgets.
type still struct {
	batch *column.Batch
	reads int
}

func (s *still) Source(context.Context, physical.ReadConfig, *physical.Channel) (connectors.Source, error) {
	return s, nil
}
func (s *still) Outbox(context.Context, physical.WriteConfig, *physical.Channel, column.Schema, checkpoint.Slot) (connectors.Outbox, error) {
	return s, nil
}
func (s *still) Log(context.Context, checkpoint.Slot, physical.Fragment) (checkpoint.Log, error) {
	return forgetful{}, nil
}
func (s *still) Watermarks(context.Context, physical.Channel, int64) (connectors.WatermarkReader, error) {
	return nil, fmt.Errorf("no watermarks here")
}
func (s *still) Splits(context.Context) ([]connectors.Split, error) {
	return []connectors.Split{{ID: "all"}}, nil
}
func (s *still) Open(context.Context, connectors.Split, checkpoint.Position) (connectors.Reader, error) {
	return &stillReader{still: s}, nil
}
func (s *still) Stage(*column.Batch, func() int64) ([][]byte, error) { return nil, nil }
func (s *still) Finish(context.Context) ([][]byte, error)            { return nil, nil }
func (s *still) Apply(context.Context, [][]byte) error               { return nil }
func (s *still) Close() error                                        { return nil }

type stillReader struct {
	*still
	done int
}

func (r *stillReader) Read(_ context.Context, b *column.Batch, _ int) (checkpoint.Position, error) {
	if r.done == r.reads {
		return checkpoint.Position{Offset: int64(r.done), Ended: true}, io.EOF
	}
	step := int64(r.done) * int64(time.Minute/time.Second)
	r.done++
	src := r.batch
	b.N = src.N
	copy(b.Cols, src.Cols)
	b.Cols[0].Ints = append(b.Cols[0].Ints[:0:0], src.Cols[0].Ints...)
	for i := range b.Cols[0].Ints {
		b.Cols[0].Ints[i] += step
	}
	return checkpoint.Position{Offset: int64(r.done)}, nil
}

type forgetful struct{}

func (forgetful) Recover(context.Context, uint64, uint64) (*checkpoint.Recovered, error) {
	return &checkpoint.Recovered{}, nil
}
func (forgetful) Commit(_ context.Context, c *checkpoint.Commit) (*checkpoint.Committed, error) {
	return &checkpoint.Committed{Offsets: make([]int64, len(c.Outbox))}, nil
}
func (forgetful) Close() error { return nil }

// The hourly stage's shape on one core: assign the time, three aggregates by origin and hour, and a filter beside it into a Kafka channel (5 % of the rows).
//
// Measured on one core of a shared 2-core machine (AMD EPYC, Go 1.26.8, GOMAXPROCS=1): 12 to 13 M rows/s, 80 ns a row, 1 allocation a batch of 2,048 rows (the
// batch's own copy of the times, made by this benchmark). The profile's lesson: 60 % is the combine, and of that half is finding the entry (hash, probe,
// compare), not aggregating; what is left over is the filter's JSON. So the next gain is to encode and hash a whole batch before probing, or to number
// strings where they are decoded; neither shows beside the decoding of JSON (about 200 ns a row), which comes first in a profile of the whole.
func BenchmarkHourly(b *testing.B) {
	batch := column.NewBatch(&flightSchema, engine.BatchRows)
	for i := range engine.BatchRows {
		batch.Cols[0].AppendInt(978307200 + int64(i%60))
		batch.Cols[1].AppendInt(int64(i * 7919 % 128))
		batch.Cols[2].AppendString(fmt.Appendf(nil, "%03d", i*31%223))
		batch.N++
	}
	g := demo(1)
	nodes := g.Stages[1].Fragments[0].Nodes
	nodes[0] = node("Read", physical.OpRead, flightSchema, physical.ReadConfig{Connector: "flights", Schema: flightSchema, Bounded: true, Disorder: time.Hour})
	nodes = append([]physical.Node{nodes[0], node("Departures", physical.OpTime, flightSchema, physical.TimeConfig{Timestamp: "time"}, "Read")}, nodes[1:]...)
	g.Stages[1].Fragments[0].Nodes = nodes
	world := &still{batch: batch, reads: b.N}
	slot := engine.NewSlot(engine.SlotConfig{Slot: slotOf("hourly", 0), Fragment: g.Stages[1].Fragments[0], Channels: g.Channels, Run: 1, Term: 1, Connections: world, Log: quiet, FailFast: true})
	b.ReportAllocs()
	b.ResetTimer()
	if err := slot.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)*engine.BatchRows/b.Elapsed().Seconds()/1e6, "Mrows/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/engine.BatchRows, "ns/row")
}
