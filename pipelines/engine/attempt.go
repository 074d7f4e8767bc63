package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/physical"
)

// attempt is a slot between two recoveries: everything in it is built anew from what the log says.
type attempt struct {
	slot   *Slot
	cfg    *SlotConfig
	cancel context.CancelFunc
	wg     sync.WaitGroup // readers and followers

	flow     *flow
	buf      *buffer
	sources  []*source
	combines []*combine
	sinks    map[string]*outboxSink // by node path
	writes   []*channelWrite
	log      checkpoint.Log

	progress  checkpoint.Progress // the last one committed
	writeTime int64
	applied   int64                      // outbox entries before it were applied
	ends      map[string]map[int32]int64 // by watermark topic, see checkpoint.Published
	drop      []checkpoint.KV            // state of an earlier run, deleted by the first commit
	moved     bool                       // rows were read since the last commit

	attention  time.Time // the clock of idleness, see listened
	deliveries chan delivery
	marks      chan observation
	gauge      gauge
}

// open builds the fragment, takes the slot over and applies what an earlier owner committed and did not apply.
func (a *attempt) open(ctx context.Context) error {
	if err := a.build(ctx); err != nil {
		return err
	}
	var err error
	if a.log, err = a.cfg.Connections.Log(ctx, a.cfg.Slot, a.cfg.Fragment); err != nil {
		return fmt.Errorf("open the log of the slot: %w", err)
	}
	var rec *checkpoint.Recovered
	err = a.patiently(waiting, StateStarting, "take the slot over", func() (err error) {
		rec, err = a.log.Recover(ctx, a.cfg.Run, a.cfg.Term)
		return err
	})
	if err != nil {
		return fmt.Errorf("take the slot over: %w", err)
	}
	if err := a.restore(rec); err != nil {
		return err
	}
	if len(rec.Outbox) == 0 {
		return nil
	}
	if err := a.apply(ctx, rec.Outbox); err != nil {
		return err
	}
	a.applied = max(a.applied, rec.Outbox[len(rec.Outbox)-1].Offset+1)
	return nil
}

// restore puts the attempt where the last commit left the slot. A new run begins at the beginning, except for the offsets of channels and what must
// never go back.
func (a *attempt) restore(rec *checkpoint.Recovered) error {
	a.ends = map[string]map[int32]int64{}
	p := rec.Progress
	if p == nil {
		p = rec.Previous // of a log that keeps runs apart itself
	}
	switch {
	case p == nil:
		a.progress = checkpoint.Progress{Version: 1, Run: a.cfg.Run, Watermark: column.MinTime}
		return nil
	case p.Run > a.cfg.Run:
		return fmt.Errorf("take the slot over for run %d: its progress is of run %d, which is later", a.cfg.Run, p.Run)
	case p.Run < a.cfg.Run:
		a.progress, a.writeTime, a.applied = a.newRun(p), p.WriteTime, p.OutboxApplied
		for _, kv := range rec.State { // of a log that does not keep them apart
			a.drop = append(a.drop, checkpoint.KV{Key: kv.Key})
		}
		return nil
	}
	a.progress, a.writeTime, a.applied = *p, p.WriteTime, p.OutboxApplied
	for topic, ends := range rec.Ends {
		a.ends[topic] = clone(ends)
	}
	a.flow.counters = a.progress.Counters
	for _, v := range a.flow.nodes {
		if mark, ok := a.progress.Watermarks[v.spec.Path]; ok {
			v.mark = mark
		}
		if c, ok := v.op.(*combine); ok {
			if fired, ok := a.progress.Watermarks[firedKey(v)]; ok {
				c.table.SetFired(fired)
			}
		}
	}
	for _, c := range a.combines {
		if err := c.restore(rec.State); err != nil {
			return err
		}
	}
	return nil
}

// newRun keeps of an earlier run's progress the offsets of Kafka channels: the records behind them belong to the runs before.
func (a *attempt) newRun(p *checkpoint.Progress) checkpoint.Progress {
	next := checkpoint.Progress{Version: 1, Run: a.cfg.Run, Epoch: p.Epoch, Watermark: column.MinTime, WriteTime: p.WriteTime, OutboxApplied: p.OutboxApplied,
		Positions: map[string]checkpoint.Position{}, Upstream: p.Upstream}
	for _, v := range a.flow.nodes {
		s, ok := v.op.(*source)
		if !ok || s.channel == nil || s.channel.Kafka == nil {
			continue
		}
		for key, pos := range p.Positions {
			if path, _ := splitKey(key); path == v.spec.Path {
				pos.Ended = false
				next.Positions[key] = pos
			}
		}
	}
	return next
}

// start opens the sources and sets their readers going.
func (a *attempt) start(ctx context.Context) error {
	a.deliveries, a.marks = make(chan delivery), make(chan observation)
	if err := a.loadSides(ctx); err != nil {
		return err
	}
	index := 0
	upstream := map[string]bool{}
	for _, v := range a.flow.nodes {
		s, ok := v.op.(*source)
		if !ok {
			continue
		}
		if err := a.openSource(ctx, v, s, &index, upstream); err != nil {
			return v.fail(err)
		}
	}
	a.trackTimes()
	a.attention = a.cfg.Clock.now()
	if err := a.flow.advance(a.attention); err != nil {
		return err
	}
	a.measures(ctx)
	a.slot.input = a.input
	for _, s := range a.sources {
		for _, sp := range s.splits {
			if sp.ended {
				continue
			}
			var rctx context.Context
			rctx, sp.cancel = context.WithCancel(ctx)
			from := sp.position
			a.wg.Go(func() { s.read(rctx, sp, from, a.deliveries) })
		}
		if s.followed() {
			a.wg.Go(func() { a.follow(ctx, s) })
		}
	}
	return nil
}

// loop is the slot's one loop. Every case leaves the flow consistent: all that a batch caused has happened, or the attempt is over.
func (a *attempt) loop(ctx context.Context) error {
	timer := time.NewTimer(a.cfg.CommitInterval)
	defer timer.Stop()
	for !a.ended() {
		listening := a.cfg.Clock.now()
		select {
		case d := <-a.deliveries:
			a.listened(listening)
			if err := a.take(d); err != nil {
				return err
			}
			if a.buf.full() && !a.cfg.Fragment.Once {
				if err := a.commit(ctx, interval); err != nil {
					return err
				}
			}
		case o := <-a.marks:
			a.listened(listening)
			if err := a.observe(o); err != nil {
				return err
			}
		case <-timer.C:
			a.listened(listening)
			if err := a.tick(ctx); err != nil {
				return err
			}
			timer.Reset(a.cfg.CommitInterval)
		case <-a.slot.stop:
			if !a.cfg.Fragment.Once && a.toTell() {
				if err := a.commit(ctx, interval); err != nil {
					return err
				}
			}
			return errStopped
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return a.finish(ctx)
}

// listened adds to the slot's attention the time for which it waited for its sources. While it commits, applies an outbox, or stands still with its whole
// process (a paused one waits for longer than its own timer), its sources cannot be heard, and silence that nobody listened to is no idleness: the
// watermark would pass rows that wait at the door.
func (a *attempt) listened(since time.Time) {
	a.attention = a.attention.Add(min(a.cfg.Clock.now().Sub(since), 2*a.cfg.CommitInterval))
}

// take processes one delivery and gives its batch back.
func (a *attempt) take(d delivery) error {
	if d.err != nil && !errors.Is(d.err, io.EOF) {
		return d.err
	}
	defer a.slot.ledger.enter(a.slot.ledger.enter(busy))
	sp := d.split
	if sp.ended { // it ended while this was on its way
		sp.giveBack()
		return nil
	}
	a.flow.now = a.attention
	if d.err != nil {
		a.endSplit(sp, d.position)
	} else if err := a.push(d); err != nil {
		return err
	}
	if sp.position = d.position; d.source.followed() {
		d.source.merge.Advance(sp.partition, sp.position.Offset)
	}
	a.moved = true
	a.endFollowed(d.source)
	if err := a.flow.advance(a.attention); err != nil {
		return err
	}
	sp.giveBack()
	return nil
}

func (a *attempt) push(d delivery) error {
	if d.batch.N == 0 { // control records only
		return nil
	}
	a.flow.counters.In += int64(d.batch.Len())
	a.slot.rows += int64(d.batch.Len())
	d.split.observe(d.batch, a.flow.now)
	return d.source.vertex.emit(d.batch, pass{split: d.split.index})
}

// endSplit notes that a split has no more rows.
func (a *attempt) endSplit(sp *split, at checkpoint.Position) {
	sp.ended = true
	sp.position = at
	sp.tracker.End()
	for _, v := range a.flow.nodes {
		if t, ok := v.op.(*timer); ok && t.trackers[sp.index] != nil {
			t.trackers[sp.index].End()
		}
	}
}

// endFollowed ends the partitions of a channel whose writers have all ended and whose records were all read.
func (a *attempt) endFollowed(s *source) {
	if !s.followed() {
		return
	}
	for _, sp := range s.splits {
		if !sp.ended && s.merge.Ended(sp.partition) {
			a.endSplit(sp, sp.position)
			if sp.cancel != nil {
				sp.cancel()
			}
		}
	}
}

func (a *attempt) ended() bool {
	for _, s := range a.sources {
		for _, sp := range s.splits {
			if !sp.ended {
				return false
			}
		}
	}
	return true
}

// tick is the end of a commit interval.
func (a *attempt) tick(ctx context.Context) error {
	was := a.slot.ledger.enter(busy) // windows may fire
	if err := a.flow.advance(a.attention); err != nil {
		return err
	}
	if a.cfg.Fragment.Once {
		a.slot.report.Counters = a.flow.counters
	} else if a.toTell() {
		if err := a.commit(ctx, interval); err != nil {
			return err
		}
	}
	a.slot.ledger.enter(was)
	a.slot.tell(StateRunning, "")
	return nil
}

// finish is the end of a bounded input: the last windows fire, the sinks complete what they held back, the last commit says so, the outbox is applied,
// and one more small commit says that.
func (a *attempt) finish(ctx context.Context) error {
	defer a.slot.ledger.enter(a.slot.ledger.enter(busy))
	if err := a.flow.advance(a.attention); err != nil {
		return err
	}
	for _, v := range a.flow.nodes {
		if f, ok := v.op.(finisher); ok {
			if err := f.finish(ctx); err != nil {
				return err
			}
		}
	}
	if err := a.commit(ctx, last); err != nil {
		return err
	}
	for _, v := range a.flow.nodes {
		if s, ok := v.op.(shower); ok {
			if err := s.show(); err != nil {
				return v.fail(err)
			}
		}
	}
	return a.settleEnded(ctx)
}

// settleEnded says of a slot that has ended that its outbox was applied.
func (a *attempt) settleEnded(ctx context.Context) error {
	a.slot.committed(&a.progress, 0)
	if a.applied <= a.progress.OutboxApplied {
		return nil
	}
	return a.commit(ctx, afterwards)
}

// close stops the goroutines, waits for them and closes what was opened.
func (a *attempt) close() error {
	a.cancel()
	a.wg.Wait()
	var errs []error
	for _, s := range a.sources {
		if s.source != nil {
			errs = append(errs, s.source.Close())
		}
	}
	for _, s := range a.sinks {
		errs = append(errs, s.outbox.Close())
	}
	if a.log != nil {
		errs = append(errs, a.log.Close())
	}
	return errors.Join(errs...)
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Clone(d)
	slices.Sort(s)
	return s[len(s)/2]
}

func newSeed() uint64 {
	return rand.Uint64() //nolint:gosec // chance, so that keys chosen to collide do not; no secret
}

// writersOf counts the slots that write each channel of a graph.
func writersOf(g *physical.Graph) (map[string]int, error) {
	out := map[string]int{}
	for _, st := range g.Stages {
		for _, f := range st.Fragments {
			seen := map[string]bool{}
			for _, n := range f.Nodes {
				if n.Op != physical.OpWrite {
					continue
				}
				cfg, err := kernel.Config[physical.WriteConfig](n)
				if err != nil {
					return nil, err
				}
				if cfg.Channel != "" && !seen[cfg.Channel] {
					seen[cfg.Channel] = true
					out[cfg.Channel] += max(1, f.Slots)
				}
			}
		}
	}
	return out, nil
}
