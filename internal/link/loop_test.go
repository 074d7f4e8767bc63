package link_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
)

func TestLoopBacksOffBetweenFailedDials(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	var waits []time.Duration
	var told []int
	loop := link.Loop{
		Dial:    func(context.Context) (*link.Conn, error) { return nil, errors.New("refused") },
		Session: func(context.Context, *link.Conn) error { t.Error("a session without a link"); return nil },
		Random:  func() float64 { return 0 },
		Sleep: func(_ context.Context, d time.Duration) error {
			if waits = append(waits, d/time.Millisecond); len(waits) == 7 {
				cancel(stop)
			}
			return nil
		},
		Failed: func(attempt int, err error, _ time.Duration) { told = append(told, attempt) },
	}
	if err := loop.Run(ctx); !errors.Is(err, stop) {
		t.Errorf("ended with %v", err)
	}
	if want := []time.Duration{100, 200, 400, 800, 1600, 2000, 2000}; !slices.Equal(waits, want) {
		t.Errorf("waited %v ms, want %v", waits, want)
	}
	if want := []int{1, 2, 3, 4, 5, 6, 7}; !slices.Equal(told, want) {
		t.Errorf("told of attempts %v", told)
	}
}

func TestLoopLinksAgainAfterASessionEnds(t *testing.T) {
	a := newAuthority(t)
	handler, results := accept(t, link.Options{}, func(ctx context.Context, c *link.Conn) error {
		return c.SendBody(ctx, "hello", 1, nil) // and the handler closes
	})
	address := a.serve(t, security.RoleServer, handler)
	config := a.client(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	sessions := 0
	clock := time.Unix(0, 0)
	var waits []time.Duration
	loop := link.Loop{
		Dial: func(ctx context.Context) (*link.Conn, error) {
			return link.Dial(ctx, "https://"+address+"/link", config, nil, link.Options{})
		},
		Session: func(ctx context.Context, c *link.Conn) error {
			sessions++
			var f link.Frame
			if err := c.Recv(ctx, &f); err != nil || f.Type != "hello" {
				return fmt.Errorf("first frame %+v: %w", f, err)
			}
			<-ctx.Done() // the loop ends it when the server has closed
			if sessions == 3 {
				clock = clock.Add(time.Minute) // this one was long
			}
			if sessions == 4 {
				cancel(stop)
			}
			return nil
		},
		Random: func() float64 { return 0 },
		Now:    func() time.Time { return clock },
		Sleep:  func(_ context.Context, d time.Duration) error { waits = append(waits, d/time.Millisecond); return nil },
		Failed: func(_ int, err error, _ time.Duration) {
			if err != nil {
				t.Errorf("session %d: %v", sessions, err)
			}
		},
	}
	if err := loop.Run(ctx); !errors.Is(err, stop) {
		t.Errorf("ended with %v", err)
	}
	for range 4 {
		if err := result(t, results); err != nil {
			t.Errorf("server: %v", err)
		}
	}
	if want := []time.Duration{100, 200, 100}; !slices.Equal(waits, want) {
		t.Errorf("waited %v ms, want %v: the long session starts the back-off again", waits, want)
	}
}
