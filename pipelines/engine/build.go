package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/watermark"
)

// build makes the flow of the fragment. Sinks are opened, since what an earlier owner committed must be applied before anything is read; sources are
// not.
func (a *attempt) build(ctx context.Context) error {
	var err error
	if a.flow, err = wire(a.cfg.Fragment.Nodes); err != nil {
		return err
	}
	a.buf, a.sinks = newBuffer(), map[string]*outboxSink{}
	for _, v := range a.flow.nodes {
		if v.op, err = a.operator(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) operator(ctx context.Context, v *vertex) (operator, error) {
	switch v.spec.Op {
	case physical.OpRead:
		s, err := a.newSource(v)
		if err == nil {
			a.sources = append(a.sources, s)
		}
		return s, err
	case physical.OpCombine:
		c, err := newCombine(v, len(a.combines), newSeed())
		if err == nil {
			a.combines = append(a.combines, c)
		}
		return c, err
	case physical.OpAssert:
		return newAssertion(v)
	case physical.OpLog:
		return newPrinter(v, a.cfg.Out, a.cfg.Log)
	case physical.OpWrite:
		return a.newSink(ctx, v)
	}
	return a.transform(v)
}

// transform makes an operator that only works on rows.
func (a *attempt) transform(v *vertex) (operator, error) {
	switch v.spec.Op {
	case physical.OpMap:
		return newMapper(v)
	case physical.OpFilter:
		return newFilter(v)
	case physical.OpTime:
		return newTimer(v)
	case physical.OpWindow, physical.OpFlatten:
		return through{}, nil
	case physical.OpWindowInfo:
		return newWindowInfo(v)
	case physical.OpLookup:
		return newLookup(v, a.sideOperator)
	}
	return nil, v.fail(fmt.Errorf("the engine has no operator %q", v.spec.Op))
}

// sideOperator makes an operator of a side input: its sources are not split over slots, and its state is not committed.
func (a *attempt) sideOperator(v *vertex) (operator, error) {
	switch v.spec.Op {
	case physical.OpRead:
		return a.newSource(v)
	case physical.OpCombine:
		return newCombine(v, 0, newSeed())
	}
	return a.transform(v)
}

func (a *attempt) newSource(v *vertex) (*source, error) {
	cfg, err := kernel.Config[physical.ReadConfig](v.spec)
	if err != nil {
		return nil, err
	}
	s := &source{cfg: cfg, vertex: v}
	if s.channel, err = a.channel(v, cfg.Channel); err != nil {
		return nil, err
	}
	return s, nil
}

func (a *attempt) channel(v *vertex, name string) (*physical.Channel, error) {
	if name == "" {
		return nil, nil
	}
	ch, ok := a.cfg.Channels[name]
	if !ok {
		return nil, v.fail(fmt.Errorf("channel %s is not in the graph (%s)", name, strings.Join(slices.Sorted(maps.Keys(a.cfg.Channels)), ", ")))
	}
	return &ch, nil
}

func (a *attempt) newSink(ctx context.Context, v *vertex) (operator, error) {
	cfg, err := kernel.Config[physical.WriteConfig](v.spec)
	if err != nil {
		return nil, err
	}
	ch, err := a.channel(v, cfg.Channel)
	if err != nil {
		return nil, err
	}
	switch {
	case ch != nil && ch.Kafka != nil:
		op, err := newChannelSink(v, ch, a.buf)
		a.writes = append(a.writes, &channelWrite{vertex: v, name: cfg.Channel, kafka: ch.Kafka, told: column.MinTime})
		return op, err
	case ch == nil && cfg.Connector == "discard":
		return discard{}, nil
	}
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	out, err := a.cfg.Connections.Outbox(ctx, cfg, ch, in, a.cfg.Slot)
	if err != nil {
		return nil, v.fail(fmt.Errorf("open the sink: %w", err))
	}
	s := &outboxSink{v: v, outbox: out, buf: a.buf, next: a.nextWriteTime}
	a.sinks[v.spec.Path] = s
	return s, nil
}

// nextWriteTime gives strictly increasing write timestamps in microseconds: of the day where the clock is ahead, and one more than the last otherwise,
// so that neither a takeover nor a clock that was set back lets an older row win.
func (a *attempt) nextWriteTime() int64 {
	a.writeTime = max(a.writeTime+1, a.cfg.Clock.now().UnixMicro())
	return a.writeTime
}

// openSource opens a source, finds the slot's splits of it and where each goes on. index counts the splits of the slot.
func (a *attempt) openSource(ctx context.Context, v *vertex, s *source, index *int, upstream map[string]bool) error {
	if err := a.connect(ctx, s); err != nil {
		return err
	}
	owned, sharers, err := a.ownSplits(ctx, v, s)
	if err != nil {
		return err
	}
	if s.cfg.Pace > 0 {
		s.pace = newPace(s.cfg.Pace/float64(sharers), a.cfg.Clock)
	}
	now := a.cfg.Clock.now()
	kafka := s.channel != nil && s.channel.Kafka != nil
	for _, o := range owned {
		sp := &split{index: *index, key: v.spec.Path + "|" + o.ID, split: o, release: make(chan struct{}, 1)}
		*index++
		if kafka {
			if sp.partition, err = partitionOf(o.ID); err != nil {
				return err
			}
		}
		sp.position = a.progress.Positions[sp.key]
		from, ok := a.progress.Watermarks[sp.key]
		if !ok {
			from = column.MinTime
		}
		sp.tracker = watermark.NewTracker(s.cfg.Disorder, s.cfg.Idle, from, now)
		if sp.position.Ended {
			a.endSplit(sp, sp.position)
		}
		s.splits = append(s.splits, sp)
	}
	if kafka && s.channel.Kafka.Watermarks != "" {
		return a.joinWatermarks(s, v, upstream)
	}
	return nil
}

// ownSplits are the slot's splits, and the number of slots that share the source.
func (a *attempt) ownSplits(ctx context.Context, v *vertex, s *source) ([]connectors.Split, int, error) {
	slots := a.cfg.Fragment.Slots
	var given []connectors.Split
	for _, sp := range a.cfg.Splits {
		if sp.Node == v.spec.Path {
			given = append(given, connectors.Split{ID: sp.ID, Data: sp.Data})
		}
	}
	if len(given) > 0 {
		return given, slots, nil
	}
	all, err := s.source.Splits(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("list the splits: %w", err)
	}
	for i, sp := range all {
		number := i
		if s.channel != nil && s.channel.Kafka != nil {
			p, err := partitionOf(sp.ID)
			if err != nil {
				return nil, 0, err
			}
			number = int(p)
		}
		if number%slots == a.cfg.Slot.Index {
			given = append(given, sp)
		}
	}
	return given, max(1, min(slots, len(all))), nil
}

// joinWatermarks restores the merge of a channel's watermarks and says where each partition stands.
func (a *attempt) joinWatermarks(s *source, v *vertex, upstream map[string]bool) error {
	var ids []int32
	for _, sp := range s.splits {
		ids = append(ids, sp.partition)
	}
	s.upstream = s.cfg.Channel
	if upstream[s.upstream] { // two nodes read one channel
		s.upstream += "|" + v.spec.Path
	}
	upstream[s.upstream] = true
	s.merge = watermark.NewMerge(ids)
	if data := a.progress.Upstream[s.upstream]; len(data) > 0 {
		old, place, err := watermark.ParseMerge(data)
		if err != nil {
			return err
		}
		// Of a partition that is new here nothing is known: then the topic is read again from its beginning.
		if s.place = place; old.Complete(ids) {
			s.merge.Adopt(old)
		} else {
			s.place = 0
		}
	}
	s.merge.Begin(a.cfg.Run)
	for _, sp := range s.splits {
		s.merge.Advance(sp.partition, sp.position.Offset)
	}
	a.endFollowed(s)
	return nil
}

// trackTimes gives each node that assigns event times a tracker for every split whose source declares a bound on disorder and whose rows reach it with
// the times that the source gave them.
func (a *attempt) trackTimes() {
	now := a.cfg.Clock.now()
	for _, v := range a.flow.nodes {
		t, ok := v.op.(*timer)
		if !ok {
			continue
		}
		reads := map[*source]bool{}
		bounded := readsBefore(v, reads)
		if !bounded {
			continue
		}
		for s := range reads {
			for _, sp := range s.splits {
				from, ok := a.progress.Watermarks[timeKey(v, sp)]
				if !ok {
					from = column.MinTime
				}
				tr := watermark.NewTracker(s.cfg.Disorder, s.cfg.Idle, from, now)
				if sp.ended {
					tr.End()
				}
				t.trackers[sp.index] = &tr
			}
		}
	}
}

// readsBefore collects the sources whose rows reach v with their own times, and reports whether all of them declare a bound.
func readsBefore(v *vertex, reads map[*source]bool) bool {
	for _, in := range v.ins {
		switch op := in.op.(type) {
		case *source:
			if op.cfg.Disorder <= 0 {
				return false
			}
			reads[op] = true
		case *timer, *combine:
			return false
		default:
			if !readsBefore(in, reads) {
				return false
			}
		}
	}
	return true
}

func firedKey(v *vertex) string           { return v.spec.Path + "|fired" }
func timeKey(v *vertex, sp *split) string { return v.spec.Path + "|" + sp.key }

// splitKey cuts a position's key into the node's path and the split's id.
func splitKey(key string) (path, id string) {
	path, id, _ = strings.Cut(key, "|")
	return path, id
}

// observation is what a follower read of a channel's watermark topic.
type observation struct {
	source    *source
	published []checkpoint.Published
	next      int64
	err       error
}

// follow is the goroutine that reads a channel's watermark topic.
func (a *attempt) follow(ctx context.Context, s *source) {
	send := func(o observation) bool {
		o.source = s
		select {
		case a.marks <- o:
			return true
		case <-ctx.Done():
			return false
		}
	}
	r, err := a.cfg.Connections.Watermarks(ctx, *s.channel, s.place)
	if err != nil {
		send(observation{err: fmt.Errorf("follow the watermarks of channel %s: %w", s.channel.Name, err)})
		return
	}
	for {
		published, next, err := r.Poll(ctx)
		if err != nil {
			err = fmt.Errorf("follow the watermarks of channel %s: %w", s.channel.Name, errors.Join(err, r.Close()))
			send(observation{err: err})
			return
		}
		if !send(observation{published: published, next: next}) {
			break
		}
	}
	if err := r.Close(); err != nil {
		a.cfg.Log.Warn("a watermark reader did not close cleanly", "channel", s.channel.Name, "error", err)
	}
}

// observe takes what was published.
func (a *attempt) observe(o observation) error {
	defer a.slot.ledger.enter(a.slot.ledger.enter(busy))
	if o.err != nil {
		return o.err
	}
	for _, p := range o.published {
		o.source.merge.Observe(p)
	}
	o.source.place = o.next
	a.endFollowed(o.source)
	return a.flow.advance(a.attention)
}
