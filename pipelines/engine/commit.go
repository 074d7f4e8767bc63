package engine

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// channelWrite is a node that writes a Kafka channel, with what its readers were told last.
type channelWrite struct {
	vertex *vertex
	name   string
	kafka  *physical.KafkaChannel
	told   column.Time
	idle   bool
}

// moment says which commit it is.
type moment int

const (
	interval   moment = iota // in the middle of the input
	last                     // of the input
	afterwards               // says that the outbox of the last one was applied
)

// toTell reports whether a commit would say anything: output, state, positions, a watermark, or an outbox that was applied.
func (a *attempt) toTell() bool {
	if a.moved || a.buf.rows > 0 || len(a.buf.outbox) > 0 || len(a.drop) > 0 || a.applied > a.progress.OutboxApplied {
		return true
	}
	for _, c := range a.combines {
		if c.changed {
			return true
		}
	}
	for _, w := range a.writes {
		if mark := publishable(w.vertex.mark); mark > w.told || w.idle != w.vertex.idle {
			return true
		}
	}
	return a.flow.watermark() > a.progress.Watermark
}

// commit makes everything since the last commit durable at once, and then applies its outbox.
func (a *attempt) commit(ctx context.Context, at moment) error {
	defer a.slot.ledger.enter(a.slot.ledger.enter(busy))
	if err := a.flow.conserved(); err != nil {
		return err
	}
	c := &checkpoint.Commit{Outputs: a.buf.written(), State: a.state(), Outbox: a.buf.outbox, Progress: a.next(at)}
	if len(c.Outputs) > 0 {
		c.Sources = a.buf.sources // a log that has to wait for offsets pays for it with a round trip
	}
	if at != afterwards {
		c.Published = a.publish(c, at)
	}
	began := time.Now()
	var done *checkpoint.Committed
	err := a.patiently(committing, StateRunning, fmt.Sprintf("commit epoch %d", c.Progress.Epoch), func() (err error) {
		done, err = a.log.Commit(ctx, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("commit epoch %d: %w", c.Progress.Epoch, err)
	}
	took := time.Since(began)
	a.accept(c)
	a.slot.committed(&a.progress, took)
	return a.applyCommitted(ctx, c.Outbox, done)
}

// accept takes over what a successful commit made true.
func (a *attempt) accept(c *checkpoint.Commit) {
	a.progress = c.Progress
	for _, w := range a.writes {
		if p := c.Published[w.kafka.Watermarks]; p != nil {
			w.told, w.idle = publishable(w.vertex.mark), w.vertex.idle
			a.ends[w.kafka.Watermarks] = clone(p.Ends)
		}
	}
	a.buf.reset()
	a.drop, a.moved = nil, false
}

func (a *attempt) applyCommitted(ctx context.Context, outbox [][]byte, done *checkpoint.Committed) error {
	if len(outbox) == 0 {
		return nil
	}
	if len(done.Offsets) != len(outbox) {
		return fmt.Errorf("apply outbox: the log gave %d offsets for %d entries", len(done.Offsets), len(outbox))
	}
	entries := make([]checkpoint.OutboxEntry, len(outbox))
	for i, e := range outbox {
		entries[i] = checkpoint.OutboxEntry{Offset: done.Offsets[i], Value: e}
	}
	if err := a.apply(ctx, entries); err != nil {
		return err
	}
	a.applied = entries[len(entries)-1].Offset + 1
	return nil
}

func (a *attempt) apply(ctx context.Context, entries []checkpoint.OutboxEntry) error {
	return a.patiently(applying, StateRunning, "apply the outbox", func() error { return apply(ctx, a.sinks, entries) })
}

// patience is how long a call to the outside may take before the report says that the slot waits for it.
const patience = 5 * time.Second

// patiently calls do and waits for it, as long as it takes; meanwhile the report says for what. state is the one to report when it is over.
func (a *attempt) patiently(d doing, state, what string, do func() error) error {
	defer a.slot.ledger.enter(a.slot.ledger.enter(d))
	done := make(chan error, 1)
	go func() { done <- do() }()
	tick := time.NewTicker(patience / 5)
	defer tick.Stop()
	waited := false
	for began := time.Now(); ; {
		select {
		case err := <-done:
			if waited && err == nil {
				a.slot.tell(state, "")
			}
			return err
		case <-tick.C:
			took := time.Since(began)
			if took < patience-patience/10 {
				a.slot.tell(a.slot.report.State, a.slot.report.Reason) // what it measures goes on
				continue
			}
			waited = true
			a.slot.tell(StateWaiting, fmt.Sprintf("%s: no answer for %s", what, took.Round(time.Second)))
		}
	}
}

// state collects the changes of all combines, and what the first commit of a new run deletes of the run before.
func (a *attempt) state() []checkpoint.KV {
	var kvs []checkpoint.KV
	for _, c := range a.combines {
		kvs = c.changes(kvs)
	}
	if len(a.drop) == 0 {
		return kvs
	}
	set := make(map[string]bool, len(kvs))
	for _, kv := range kvs {
		set[string(kv.Key)] = true
	}
	for _, kv := range a.drop {
		if !set[string(kv.Key)] {
			kvs = append(kvs, kv)
		}
	}
	return kvs
}

// next is the progress after this commit.
func (a *attempt) next(at moment) checkpoint.Progress {
	p := a.progress
	p.Version, p.Run, p.Term = 1, a.cfg.Run, a.cfg.Term
	p.Epoch++
	p.WriteTime, p.OutboxApplied, p.Counters = a.writeTime, a.applied, a.flow.counters
	if at == afterwards {
		return p
	}
	p.Ended = at == last
	p.Watermark = max(p.Watermark, a.flow.watermark())
	p.Positions, p.Upstream, p.Watermarks = maps.Clone(p.Positions), map[string][]byte{}, map[string]int64{}
	if p.Positions == nil {
		p.Positions = map[string]checkpoint.Position{}
	}
	for _, s := range a.sources {
		for _, sp := range s.splits {
			pos := sp.position
			pos.Ended = sp.ended
			p.Positions[sp.key] = pos
			if s.cfg.Disorder > 0 {
				p.Watermarks[sp.key] = sp.tracker.Watermark()
			}
		}
		if s.followed() {
			p.Upstream[s.upstream] = s.merge.AppendBinary(nil, s.place)
		}
	}
	for _, v := range a.flow.nodes {
		p.Watermarks[v.spec.Path] = v.mark
		switch op := v.op.(type) {
		case *combine:
			p.Watermarks[firedKey(v)] = op.table.Fired()
		case *timer:
			for _, s := range a.sources {
				for _, sp := range s.splits {
					if tr := op.trackers[sp.index]; tr != nil {
						p.Watermarks[timeKey(v, sp)] = tr.Watermark()
					}
				}
			}
		}
	}
	return p
}

// publish tells the readers of each written channel how far this slot has come. A commit that has output for a channel always tells, so that the ends
// in it are never behind what was written.
func (a *attempt) publish(c *checkpoint.Commit, at moment) map[string]*checkpoint.Published {
	out := map[string]*checkpoint.Published{}
	for _, w := range a.writes {
		topic := w.kafka.Watermarks
		if topic == "" {
			continue
		}
		mark := publishable(w.vertex.mark)
		if p := out[topic]; p != nil { // two nodes write one channel
			if p.Idle {
				p.Watermark, p.Idle = mark, w.vertex.idle
			} else if !w.vertex.idle {
				p.Watermark = min(p.Watermark, mark)
			}
			continue
		}
		if !a.news(c, topic, at) {
			continue
		}
		writers := a.cfg.Writers[w.name]
		if writers == 0 {
			writers = a.cfg.Fragment.Slots
		}
		out[topic] = &checkpoint.Published{Version: 1, Run: a.cfg.Run, Writer: fmt.Sprintf("%s/%s/%d", a.cfg.Slot.Stage, a.cfg.Slot.Fragment, a.cfg.Slot.Index),
			Writers: writers, Epoch: c.Progress.Epoch, Term: a.cfg.Term, Watermark: mark, Idle: w.vertex.idle, Ended: at == last, Ends: clone(a.ends[topic])}
	}
	return out
}

// news reports whether the readers of a channel must hear of this commit.
func (a *attempt) news(c *checkpoint.Commit, topic string, at moment) bool {
	if at == last {
		return true
	}
	for _, w := range a.writes {
		if w.kafka.Watermarks != topic {
			continue
		}
		if publishable(w.vertex.mark) > w.told || w.idle != w.vertex.idle || len(c.Outputs[w.kafka.Topic]) > 0 {
			return true
		}
	}
	return false
}

func clone(m map[int32]int64) map[int32]int64 {
	if m == nil {
		return map[int32]int64{}
	}
	return maps.Clone(m)
}
