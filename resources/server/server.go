package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/allocator"
	"github.com/weir-project/weir/resources/master"
)

// ErrStopped is what every method returns once Run has ended.
var ErrStopped = errors.New("the master has stopped")

// Config of a master. The zero values are the defaults.
type Config struct {
	Clock func() time.Time // time.Now
	Log   *slog.Logger     // drops
	Term  uint64           // higher than that of any server before it; agents refuse a lower one
	// Expect are the agents that were there before this server started: until they have registered, nothing is said of tasks that
	// nobody knows.
	Expect  []resources.AgentID
	Options master.Options // its Term, NewID and Expect are set from here
	Link    link.Options   // of the agents' links
}

// The sizes of queues, in messages.
const (
	frameworkQueue = 1024
	agentQueue     = 256
)

// Master is the running master. Its methods may be called by any goroutine, and wait for Run.
type Master struct {
	config   Config
	log      *slog.Logger
	requests chan request
	done     chan struct{} // closed when Run has ended

	// Owned by the loop.
	pure     *master.Master
	sessions map[resources.AgentID]*session
	streams  map[resources.FrameworkID]*stream
}

// request is something for the loop to do; reply is told when it was done.
type request struct {
	do    func(now time.Time) error
	reply chan error
}

// stream is one framework's subscription.
type stream struct{ events chan resources.Event }

// New makes a master; Run runs it.
func New(c Config) *Master {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Options.Term, c.Options.Expect = c.Term, c.Expect
	if c.Options.NewID == nil {
		c.Options.NewID = randomID
	}
	return &Master{
		config: c, log: c.Log, requests: make(chan request), done: make(chan struct{}), pure: master.New(c.Clock(), c.Options),
		sessions: map[resources.AgentID]*session{}, streams: map[resources.FrameworkID]*stream{},
	}
}

func randomID(kind string) string {
	var b [12]byte
	rand.Read(b[:]) // never fails: the program ends when the system has no randomness
	return kind + "-" + hex.EncodeToString(b[:])
}

// Run serves until ctx ends; it may be called once. All streams end with it.
func (m *Master) Run(ctx context.Context) error {
	defer m.stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(m.untilNext())
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			_ = m.perform(m.pure.Tick(m.config.Clock())) // nobody asked, so nobody is refused
		case r := <-m.requests:
			r.reply <- r.do(m.config.Clock())
		}
	}
}

func (m *Master) untilNext() time.Duration {
	next := m.pure.Next()
	if next.IsZero() {
		return time.Hour
	}
	return max(0, next.Sub(m.config.Clock()))
}

func (m *Master) stop() {
	close(m.done)
	for _, s := range m.sessions {
		s.end(ErrStopped)
	}
	for _, s := range m.streams {
		close(s.events)
	}
}

// ask has the loop do something and waits for it.
func (m *Master) ask(ctx context.Context, do func(now time.Time) error) error {
	r := request{do: do, reply: make(chan error, 1)}
	select {
	case m.requests <- r:
		return <-r.reply
	case <-m.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// step gives the pure master an event and carries out what it decides. The error is a refusal.
func (m *Master) step(now time.Time, e master.Event) error {
	return m.perform(m.pure.Step(now, e))
}

func (m *Master) perform(effects []master.Effect) (refused error) {
	for _, e := range effects {
		switch e := e.(type) {
		case master.Refuse:
			refused = e.Err
		case master.SendAgent:
			if s := m.sessions[e.Agent]; s != nil {
				s.send(e.Command)
			}
		case master.SendFramework:
			m.deliver(e.Framework, e.Event)
		}
	}
	return refused
}

// deliver never waits: a framework that has not read a thousand events is gone for all that anybody can tell.
func (m *Master) deliver(id resources.FrameworkID, e resources.Event) {
	s := m.streams[id]
	if s == nil {
		return
	}
	select {
	case s.events <- e:
	default:
		m.log.Warn("a framework does not read its events and loses its stream", "framework", id, "unread", len(s.events))
		m.endStream(id, s)
	}
}

func (m *Master) endStream(id resources.FrameworkID, s *stream) {
	if m.streams[id] != s {
		return
	}
	delete(m.streams, id)
	close(s.events)
	if err := m.step(m.config.Clock(), master.Unsubscribed{Framework: id}); err != nil {
		m.log.Error("a framework cannot be unsubscribed", "framework", id, "err", err)
	}
}

// Subscribe opens a framework's stream, which ends when ctx does. A second one of the same id takes over: the first gets an ERROR
// event and ends. The first event is SUBSCRIBED, with the framework's id where info had none.
func (m *Master) Subscribe(ctx context.Context, info resources.FrameworkInfo) (<-chan resources.Event, error) {
	if info.ID == "" {
		info.ID = resources.FrameworkID(m.config.Options.NewID("framework"))
	}
	s := &stream{events: make(chan resources.Event, frameworkQueue)}
	err := m.ask(ctx, func(now time.Time) error {
		old := m.streams[info.ID]
		m.streams[info.ID] = s
		if err := m.step(now, master.Subscribed{Info: info}); err != nil {
			delete(m.streams, info.ID)
			if old != nil {
				m.streams[info.ID] = old
			}
			return err
		}
		if old != nil {
			failOver(old, info.ID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		// The loop may have ended, which ends the stream as well.
		_ = m.ask(context.WithoutCancel(ctx), func(time.Time) error { m.endStream(info.ID, s); return nil })
	})
	return s.events, nil
}

// failOver tells a stream that a newer one has its place.
func failOver(old *stream, id resources.FrameworkID) {
	select {
	case old.events <- resources.Event{Type: resources.EventError, Framework: id, Message: "Framework failed over"}:
	default: // its channel is full of what it will not need any more
	}
	close(old.events)
}

// Call is any call but SUBSCRIBE. Its error is a refusal, after which everything is as it was (I7); what is accepted shows itself
// in events.
func (m *Master) Call(ctx context.Context, c resources.Call) error {
	if c.Type == resources.CallSubscribe {
		return fmt.Errorf("call %s: use Subscribe, which returns the events", c.Type)
	}
	return m.ask(ctx, func(now time.Time) error {
		err := m.step(now, master.Called{Call: c})
		if err == nil && c.Type == resources.CallTeardown {
			if s := m.streams[c.Framework]; s != nil {
				delete(m.streams, c.Framework)
				close(s.events)
			}
		}
		return err
	})
}

// Snapshot is what there is now.
func (m *Master) Snapshot(ctx context.Context) (master.Snapshot, error) {
	var out master.Snapshot
	err := m.ask(ctx, func(now time.Time) error { out = m.pure.Snapshot(now); return nil })
	return out, err
}

// WhyOffers is why the frameworks of a role (all, when it is empty) have no offer of an agent now.
func (m *Master) WhyOffers(ctx context.Context, role string) ([]allocator.Reason, error) {
	var out []allocator.Reason
	err := m.ask(ctx, func(now time.Time) error { out = m.pure.Why(now, role); return nil })
	return out, err
}

// Largest is, scalar by scalar, the most that one offer to the role ever held.
func (m *Master) Largest(ctx context.Context, role string) (resources.Resources, error) {
	var out resources.Resources
	err := m.ask(ctx, func(time.Time) error { out = m.pure.Largest(role); return nil })
	return out, err
}
