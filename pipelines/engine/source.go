package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/watermark"
)

// source is a read node of the running fragment.
type source struct {
	cfg      physical.ReadConfig
	channel  *physical.Channel // nil where the node names none
	vertex   *vertex
	source   connectors.Source
	splits   []*split
	pace     *pace            // nil: as fast as it goes
	merge    *watermark.Merge // of a Kafka channel with a watermark topic
	place    int64            // in that topic
	upstream string           // key of the merge in the progress
}

// split is one split that the slot owns.
type split struct {
	index     int // among all splits of the slot: pass.split
	key       string
	split     connectors.Split
	partition int32 // of a Kafka channel
	position  checkpoint.Position
	tracker   watermark.Tracker
	ended     bool
	cancel    context.CancelFunc
	release   chan struct{} // the loop gives the batch back; holds one
}

// giveBack lets the reader fill the batch again. A reader that was cancelled does not take it.
func (sp *split) giveBack() {
	select {
	case sp.release <- struct{}{}:
	default:
	}
}

// delivery is a batch on its way from a reader to the loop, which must release it.
type delivery struct {
	source   *source
	split    *split
	batch    *column.Batch
	position checkpoint.Position
	err      error // io.EOF at the end of the split
}

// process is never called: a source has no inputs.
func (s *source) process(v *vertex, b *column.Batch, p pass) error { return v.emit(b, p) }

// followed reports whether the watermark comes from the channel's writers.
func (s *source) followed() bool { return s.merge != nil }

// advance is the least of the splits; MaxTime when all have ended, also where the slot owns none.
func (s *source) advance(v *vertex, _ column.Time, _ bool) (column.Time, bool, error) {
	f := v.flow
	f.scratch = f.scratch[:0]
	for _, sp := range s.splits {
		in := watermark.Input{Mark: sp.tracker.Watermark(), Idle: sp.tracker.Idle(f.now)}
		if s.followed() && !sp.ended {
			in.Mark, in.Idle = s.merge.Watermark(sp.partition)
			if in.Mark == column.MaxTime {
				in.Mark = v.mark // it ends when endSplits has stopped its reader
			}
		}
		f.scratch = append(f.scratch, in)
	}
	mark, idle := watermark.Min(f.scratch, v.mark)
	return mark, idle, nil
}

// observe tells the split's own watermark of a batch's event times.
func (sp *split) observe(b *column.Batch, now time.Time) {
	latest := column.MinTime
	for _, t := range b.Times {
		latest = max(latest, t)
	}
	sp.tracker.Observe(latest, now)
}

// read is the goroutine of a split: it fills the split's one batch, hands it to the loop and waits until that has processed it, because the batch may
// refer to the reader's buffer until the next Read.
func (s *source) read(ctx context.Context, sp *split, from checkpoint.Position, out chan<- delivery) {
	send := func(d delivery) bool {
		d.source, d.split = s, sp
		select {
		case out <- d:
		case <-ctx.Done():
			return false
		}
		select {
		case <-sp.release:
			return true
		case <-ctx.Done():
			return false
		}
	}
	reader, err := s.source.Open(ctx, sp.split, from)
	if err != nil {
		send(delivery{err: fmt.Errorf("open split %s: %w", sp.split.ID, err)})
		return
	}
	err = s.readAll(ctx, reader, sp, from, send)
	if cerr := reader.Close(); err == nil && cerr != nil && ctx.Err() == nil {
		err = fmt.Errorf("close split %s: %w", sp.split.ID, cerr)
	}
	if err != nil && ctx.Err() == nil {
		send(delivery{err: err})
	}
}

func (s *source) readAll(ctx context.Context, r connectors.Reader, sp *split, position checkpoint.Position, send func(delivery) bool) error {
	b := column.NewBatch(&s.cfg.Schema, BatchRows)
	for {
		limit := BatchRows
		if s.pace != nil {
			var err error
			if limit, err = s.pace.wait(ctx); err != nil {
				return err
			}
		}
		b.Reset()
		next, err := r.Read(ctx, b, limit)
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return fmt.Errorf("read split %s after %d: %w", sp.split.ID, position.Offset, err)
		}
		if ended && b.N == 0 {
			position.Ended = true
			send(delivery{position: position, err: io.EOF})
			return nil
		}
		if s.pace != nil {
			s.pace.took(b.N)
		}
		for len(b.Times) < b.N {
			b.Times = append(b.Times, column.MinTime)
		}
		position = next
		if !send(delivery{batch: b, position: position}) {
			return nil
		}
	}
}

// partitionOf reads the number at the end of a Kafka split's id.
func partitionOf(id string) (int32, error) {
	i := len(id)
	for i > 0 && id[i-1] >= '0' && id[i-1] <= '9' {
		i--
	}
	n, err := strconv.ParseInt(id[i:], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("split %q of a channel does not end in a partition's number", id)
	}
	return int32(n), nil
}

// pace is a token bucket that all splits of a source in one slot share. It works on credit: a read waits until the rows of earlier reads are paid for.
// Its lock guards paid and is held for no longer than an addition.
type pace struct {
	rate  float64 // rows a second
	clock Clock
	mu    sync.Mutex
	paid  time.Time // when everything that was read so far has been paid for
}

func newPace(rate float64, clock Clock) *pace { return &pace{rate: rate, clock: clock} }

// wait blocks until a read is allowed, and says how many rows it may bring: a twentieth of a second's, so that the flow is smooth.
func (p *pace) wait(ctx context.Context) (int, error) {
	p.mu.Lock()
	d := p.paid.Sub(p.clock.now())
	p.mu.Unlock()
	if err := lifecycle.Sleep(ctx, max(0, d)); err != nil {
		return 0, err
	}
	return min(BatchRows, max(1, int(p.rate/20))), nil
}

func (p *pace) took(rows int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.clock.now(); p.paid.Before(now.Add(-50 * time.Millisecond)) {
		p.paid = now.Add(-50 * time.Millisecond) // silence is not saved up, beyond the time that one read takes
	}
	p.paid = p.paid.Add(time.Duration(float64(rows) / p.rate * float64(time.Second)))
}
