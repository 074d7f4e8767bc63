package connectortest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/column"
)

func (m *memory) sinkPlace() *SinkPlace {
	owners := 0
	return &SinkPlace{
		Open: func(context.Context) (connectors.Outbox, error) {
			owners++
			return &memorySink{m: m, owner: owners}, nil
		},
		Read: func(context.Context) ([]Row, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return append([]Row(nil), m.rows...), nil
		},
		Restart: func() error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.killed++
			return nil
		},
		Halt: func() (func() error, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.halted = make(chan struct{})
			return func() error {
				m.mu.Lock()
				defer m.mu.Unlock()
				close(m.halted)
				m.halted = nil
				return nil
			}, nil
		},
	}
}

type memorySink struct {
	m      *memory
	owner  int
	killed int
	closed bool
}

// entry is a version and lines: an owner, then id and row of each.
type entryLine struct {
	ID  int64
	Row Row
}

func (s *memorySink) Stage(b *column.Batch, next func() int64) ([][]byte, error) {
	out := append([]byte{1}, strconv.Itoa(s.owner)...)
	for _, r := range RowsOf(b) {
		if len(r.Text) > 1<<20 {
			if !s.m.is("large rows are cut") {
				return nil, fmt.Errorf("row %d has %d bytes", r.ID, len(r.Text))
			}
			r.Text = r.Text[:10]
		}
		if s.m.is("staging shows rows") {
			s.m.rows = append(s.m.rows, r)
		}
		data, err := json.Marshal(entryLine{next(), r})
		if err != nil {
			return nil, err
		}
		out = append(append(out, '\n'), data...)
	}
	return [][]byte{out}, nil
}

func (s *memorySink) Finish(context.Context) ([][]byte, error) { return nil, nil }

func (s *memorySink) Apply(ctx context.Context, entries [][]byte) error {
	if s.m.is("applying does nothing") {
		return nil
	}
	if s.m.is("the last entry is forgotten") {
		entries = entries[:len(entries)-1]
	}
	if err := s.stand(ctx); err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.apply(e); err != nil {
			return err
		}
	}
	return nil
}

// stand waits while the service stands still.
func (s *memorySink) stand(ctx context.Context) error {
	s.m.mu.Lock()
	halted := s.m.halted
	s.m.mu.Unlock()
	if halted == nil || s.m.is("a service that stands still loses what comes") {
		return nil
	}
	if s.m.is("it gives up at once") {
		return errors.New("no answer")
	}
	if s.m.is("it does not look at its context") {
		<-halted
		return nil
	}
	select {
	case <-halted:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *memorySink) apply(e []byte) error {
	lines := bytes.Split(e, []byte("\n"))
	damaged := len(e) == 0 || e[0] != 1
	var parsed []entryLine
	for _, l := range lines[1:] {
		var p entryLine
		damaged = damaged || json.Unmarshal(l, &p) != nil
		parsed = append(parsed, p)
	}
	switch {
	case damaged && s.m.is("damaged entries are passed over"):
		return nil
	case damaged && s.m.is("damaged entries panic"):
		panic("index out of range")
	case damaged:
		return errors.New("the entry is damaged")
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	others := string(lines[0][1:]) != strconv.Itoa(s.owner)
	if others && s.m.is("what others staged is passed over") {
		return nil
	}
	if s.killed != s.m.killed {
		s.killed = s.m.killed
		switch s.m.bug {
		case "a restart swallows an entry":
			return nil
		case "a restart forgets what was applied":
			clear(s.m.applied)
			s.m.rows = nil
		}
	}
	for _, p := range parsed {
		id := fmt.Sprint(p.ID)
		if s.m.applied[id] && !s.m.is("a repeat doubles") && !(others && s.m.is("a repeat of others doubles")) {
			continue
		}
		s.m.applied[id] = true
		s.m.rows = append(s.m.rows, p.Row)
	}
	return nil
}

func (s *memorySink) Close() error {
	if s.m.is("closing deletes") {
		s.m.rows = nil
	}
	if s.closed && s.m.is("a sink is closed once") {
		return errors.New("it is closed")
	}
	s.closed = true
	return nil
}
