package pipetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

// slotLog is what one slot made durable.
type slotLog struct {
	run, term uint64
	progress  *checkpoint.Progress
	state     map[string][]byte
	outbox    []checkpoint.OutboxEntry
	next      int64
	ends      map[string]map[int32]int64
}

// memoryLog is one owner's handle.
type memoryLog struct {
	world *World
	slot  checkpoint.Slot
	log   *slotLog
	term  uint64
}

// Recover implements checkpoint.Log.
func (l *memoryLog) Recover(_ context.Context, run, term uint64) (*checkpoint.Recovered, error) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	s := l.log
	if term < s.term {
		return nil, checkpoint.ErrFenced
	}
	s.term, l.term = term, term
	if s.run != run {
		s.run, s.ends = run, nil
	}
	r := &checkpoint.Recovered{Ends: map[string]map[int32]int64{}}
	if s.progress != nil {
		p := *s.progress
		if p.Run == run {
			r.Progress = &p
		} else { // as Kafka's log does: the state is that of its run
			r.Previous, s.state = &p, map[string][]byte{}
		}
		for _, e := range s.outbox {
			if e.Offset >= p.OutboxApplied {
				r.Outbox = append(r.Outbox, e)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.state)) {
		r.State = append(r.State, checkpoint.KV{Key: []byte(k), Value: bytes.Clone(s.state[k])})
	}
	for t, ends := range s.ends {
		r.Ends[t] = maps.Clone(ends)
	}
	return r, nil
}

// Commit implements checkpoint.Log.
func (l *memoryLog) Commit(_ context.Context, c *checkpoint.Commit) (*checkpoint.Committed, error) {
	if err := l.world.strike(CommitBefore, l.slot); err != nil {
		return nil, err
	}
	done, err := l.commit(c)
	if err != nil {
		return nil, err
	}
	if err := l.world.strike(CommitUnknown, l.slot); err != nil {
		return nil, err
	}
	return done, nil
}

func (l *memoryLog) commit(c *checkpoint.Commit) (*checkpoint.Committed, error) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	s := l.log
	if l.term != s.term {
		return nil, checkpoint.ErrFenced
	}
	if p := s.progress; p != nil && c.Progress.Epoch <= p.Epoch {
		return nil, fmt.Errorf("epoch %d is committed after %d", c.Progress.Epoch, p.Epoch)
	}
	for topic, parts := range c.Outputs {
		for p, recs := range parts {
			l.produce(topic, p, recs, c)
		}
	}
	for topic, p := range c.Published {
		s.publish(topic, p)
		l.world.append(topic, 0, record{published: p})
	}
	for _, kv := range c.State {
		if kv.Value == nil {
			delete(s.state, string(kv.Key))
		} else {
			s.state[string(kv.Key)] = bytes.Clone(kv.Value)
		}
	}
	done := &checkpoint.Committed{}
	for _, e := range c.Outbox {
		s.next += 2 // a log may leave gaps
		s.outbox = append(s.outbox, checkpoint.OutboxEntry{Offset: s.next, Value: bytes.Clone(e)})
		done.Offsets = append(done.Offsets, s.next)
	}
	p := c.Progress
	p.Positions = maps.Clone(p.Positions)
	s.progress = &p
	l.world.wake()
	return done, nil
}

func (l *memoryLog) produce(topic string, p int32, recs *checkpoint.Records, c *checkpoint.Commit) {
	at := func(s column.Span) []byte { return bytes.Clone(recs.Buf[s.Off : s.Off+s.Len]) }
	for i := range recs.Len() {
		l.world.append(topic, p, record{key: at(recs.Keys[i]), value: at(recs.Values[i]), millis: recs.Times[i]})
	}
	if marks := c.Sources[topic]; marks != "" {
		if pub := c.Published[marks]; pub != nil {
			pub.Ends[p] = int64(len(l.world.topics[topic][p]))
		}
	}
}

func (s *slotLog) publish(topic string, p *checkpoint.Published) {
	if s.ends == nil {
		s.ends = map[string]map[int32]int64{}
	}
	s.ends[topic] = maps.Clone(p.Ends)
}

func (w *World) append(topic string, p int32, r record) {
	if w.topics[topic] == nil {
		w.topics[topic] = map[int32][]record{}
	}
	w.topics[topic][p] = append(w.topics[topic][p], r)
}

// Close implements checkpoint.Log.
func (l *memoryLog) Close() error { return nil }
