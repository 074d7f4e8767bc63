package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/weir-project/weir/internal/lifecycle"
)

// Loop keeps a client linked: it dials, runs a session, and dials again.
//
//	loop := link.Loop{
//		Dial:    func(ctx context.Context) (*link.Conn, error) { return link.Dial(ctx, url, config, nil, link.Options{}) },
//		Session: func(ctx context.Context, c *link.Conn) error { return agent.serve(ctx, c) },
//	}
//	err := loop.Run(ctx)
type Loop struct {
	Dial func(context.Context) (*Conn, error)
	// Session uses the link until it breaks or ctx ends; ctx also ends, with the cause, when the link does. It must not Close.
	Session func(context.Context, *Conn) error

	Backoff lifecycle.Backoff                          // 100 ms doubling to 2 s, half of it left to chance, when zero
	Random  func() float64                             // in [0, 1); math/rand/v2 when nil
	Sleep   func(context.Context, time.Duration) error // lifecycle.Sleep when nil
	Now     func() time.Time                           // time.Now when nil
	// Failed is told of every end: how often in a row, why, and how long until the next dial. It may be nil.
	Failed func(attempt int, err error, wait time.Duration)
}

// Run returns when ctx ends, with its cause. A failure to dial and a session's end wait by the back-off; a session that lived
// for longer than the longest wait makes the next wait the shortest again.
func (l Loop) Run(ctx context.Context) error {
	l = l.withDefaults()
	for attempt := 0; ; attempt++ {
		began := l.Now()
		err := l.once(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if l.Now().Sub(began) > l.Backoff.Max {
			attempt = 0
		}
		wait := l.Backoff.Next(attempt, l.Random())
		if l.Failed != nil {
			l.Failed(attempt+1, err, wait)
		}
		if err := l.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (l Loop) once(ctx context.Context) error {
	c, err := l.Dial(ctx)
	if err != nil {
		return err
	}
	session, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-c.Done():
			cancel(c.Err())
		case <-session.Done():
		}
	}()
	err = l.Session(session, c)
	broken := c.Err()
	cancel(nil)
	<-ended
	if cerr := c.Close(); broken == nil {
		err = errors.Join(err, cerr)
	}
	switch {
	case err != nil:
		return err
	case broken != nil && broken != io.EOF:
		return fmt.Errorf("session ended: %w", broken)
	}
	return nil
}

func (l Loop) withDefaults() Loop {
	if l.Backoff == (lifecycle.Backoff{}) {
		l.Backoff = lifecycle.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second, Factor: 2, Jitter: 0.5}
	}
	if l.Random == nil {
		l.Random = rand.Float64
	}
	if l.Sleep == nil {
		l.Sleep = lifecycle.Sleep
	}
	if l.Now == nil {
		l.Now = time.Now
	}
	return l
}
