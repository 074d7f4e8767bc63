package connectortest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-project/weir/connectors"
)

// Sink declares a connector that writes by an outbox.
type Sink struct {
	AtEnd    bool // its rows come out whole, at the end of a bounded input (Finish)
	Ordered  bool // a reader finds the rows of a slot in the order in which they were staged
	Entries  bool // its entries are bytes of its own format, which it checks
	MaxBytes int  // of a row's text, beyond which Stage refuses it; 0: no limit that the suite tries
	// Place makes a new empty place. What it starts ends with the test.
	Place func(t testing.TB) *SinkPlace
}

// SinkPlace is where rows come to.
type SinkPlace struct {
	Open    func(ctx context.Context) (connectors.Outbox, error) // the sink of one slot, each call as another process that takes the slot over
	Read    func(ctx context.Context) ([]Row, error)             // what somebody else sees there now
	Restart func() error                                         // ends the service by kill -9 and starts it again; nil: there is none
	Halt    func() (resume func() error, err error)              // the service stands still until resume; nil: it cannot
}

// sinkClaim is one promise.
type sinkClaim struct {
	name  string
	check func(ctx context.Context, s Sink, p *SinkPlace) error
	needs func(s Sink, p *SinkPlace) bool
}

var sinkClaims = []sinkClaim{
	{name: "what is staged is not seen", check: stagedIsUnseen},
	{name: "what is applied is seen once", check: appliedIsSeen},
	{name: "applying twice changes nothing", check: appliedTwice},
	{name: "a takeover applies what was committed", check: takeover},
	{name: "a takeover in the middle of applying doubles nothing", check: halfApplied, needs: func(s Sink, _ *SinkPlace) bool { return !s.AtEnd }},
	{name: "two owners that apply side by side double nothing", check: zombie},
	{name: "a killed service loses and doubles nothing", check: killedSink, needs: func(_ Sink, p *SinkPlace) bool { return p.Restart != nil }},
	{name: "a service that stands still blocks", check: blocked, needs: func(_ Sink, p *SinkPlace) bool { return p.Halt != nil }},
	{name: "entries that are damaged are refused", check: damaged, needs: func(s Sink, _ *SinkPlace) bool { return s.Entries }},
	{name: "a row that is too large is refused before the commit", check: tooLarge, needs: func(s Sink, _ *SinkPlace) bool { return s.MaxBytes > 0 }},
	{name: "closing a sink twice is fine", check: closedSinkTwice},
}

// TestSink holds a sink to every claim.
func TestSink(t *testing.T, s Sink) {
	for _, c := range sinkClaims {
		t.Run(c.name, func(t *testing.T) {
			report(t, c.run(t, s))
		})
	}
}

func (c sinkClaim) run(t testing.TB, s Sink) error {
	p := s.Place(t)
	if c.needs != nil && !c.needs(s, p) {
		return errNotDeclared
	}
	return within(t.Context(), limit, c.name, func(ctx context.Context) error { return c.check(ctx, s, p) })
}

// clock gives write timestamps as a slot does, on from where an owner before it was.
type clock struct{ last int64 }

func (c *clock) next() int64 {
	c.last = max(c.last+1, time.Now().UnixMicro())
	return c.last
}

// stage opens the slot's sink and stages rows in batches of 100; the end of the input comes where rows come out at the end.
func stage(ctx context.Context, s Sink, p *SinkPlace, c *clock, rows []Row) (connectors.Outbox, [][]byte, error) {
	o, err := p.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	var entries [][]byte
	for chunk := range slices.Chunk(rows, 100) {
		more, err := o.Stage(Batch(chunk), c.next)
		if err != nil {
			return nil, nil, errors.Join(err, o.Close())
		}
		for _, e := range more {
			entries = append(entries, slices.Clone(e))
		}
	}
	if s.AtEnd {
		more, err := o.Finish(ctx)
		if err != nil {
			return nil, nil, errors.Join(err, o.Close())
		}
		entries = append(entries, more...)
	}
	if len(entries) == 0 {
		return nil, nil, errors.Join(fmt.Errorf("%d rows were staged as no entry", len(rows)), o.Close())
	}
	return o, entries, nil
}

func (p *SinkPlace) holds(ctx context.Context, s Sink, want []Row) error {
	got, err := p.Read(ctx)
	if err != nil {
		return err
	}
	return same(got, want, s.Ordered)
}

func stagedIsUnseen(ctx context.Context, s Sink, p *SinkPlace) error {
	o, _, err := stage(ctx, s, p, &clock{}, Rows(1, 250))
	if err != nil {
		return err
	}
	return errors.Join(p.holds(ctx, s, nil), o.Close(), p.holds(ctx, s, nil))
}

func appliedIsSeen(ctx context.Context, s Sink, p *SinkPlace) error {
	rows := Rows(1, 250)
	o, entries, err := stage(ctx, s, p, &clock{}, rows)
	if err != nil {
		return err
	}
	return errors.Join(o.Apply(ctx, entries), p.holds(ctx, s, rows), o.Close(), p.holds(ctx, s, rows))
}

func appliedTwice(ctx context.Context, s Sink, p *SinkPlace) error {
	rows := Rows(1, 250)
	o, entries, err := stage(ctx, s, p, &clock{}, rows)
	if err != nil {
		return err
	}
	return errors.Join(o.Apply(ctx, entries), o.Apply(ctx, entries), p.holds(ctx, s, rows), o.Close())
}

// takeover: the owner died between the commit and the applying; who takes the slot over applies, and goes on.
func takeover(ctx context.Context, s Sink, p *SinkPlace) error {
	rows, c := Rows(1, 250), &clock{}
	dead, entries, err := stage(ctx, s, p, c, rows)
	if err != nil {
		return err
	}
	heir, err := p.Open(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(heir.Apply(ctx, entries), p.holds(ctx, s, rows)); err != nil {
		return err
	}
	if !s.AtEnd {
		more := Rows(1001, 50)
		staged, err := heir.Stage(Batch(more), c.next)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
		if err := errors.Join(heir.Apply(ctx, staged), p.holds(ctx, s, rows)); err != nil {
			return err
		}
	}
	// The dead one was a zombie, and repeats what it has.
	return errors.Join(dead.Apply(ctx, entries), p.holds(ctx, s, rows), dead.Close(), heir.Close())
}

// halfApplied: the owner died when some entries were applied and no progress said so.
func halfApplied(ctx context.Context, s Sink, p *SinkPlace) error {
	rows := Rows(1, 300)
	c := &clock{}
	dead, err := p.Open(ctx)
	if err != nil {
		return err
	}
	var entries [][]byte
	for chunk := range slices.Chunk(rows, 100) { // several entries
		more, err := dead.Stage(Batch(chunk), c.next)
		if err != nil {
			return err
		}
		entries = append(entries, more...)
	}
	if err := dead.Apply(ctx, entries[:2]); err != nil {
		return err
	}
	heir, err := p.Open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(heir.Apply(ctx, entries), p.holds(ctx, s, rows), dead.Close(), heir.Close())
}

func zombie(ctx context.Context, s Sink, p *SinkPlace) error {
	rows := Rows(1, 1000)
	dead, entries, err := stage(ctx, s, p, &clock{}, rows)
	if err != nil {
		return err
	}
	heir, err := p.Open(ctx)
	if err != nil {
		return err
	}
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i, o := range []connectors.Outbox{dead, heir} {
		both.Go(func() { errs[i] = o.Apply(ctx, entries) })
	}
	both.Wait()
	// Which of two messages comes first is not said where two publish them.
	s.Ordered = false
	return errors.Join(errors.Join(errs...), p.holds(ctx, s, rows), dead.Close(), heir.Close())
}

// killedSink: the service is ended while entries are applied. Apply waits for it or fails; then it is called again, as the engine does.
func killedSink(ctx context.Context, s Sink, p *SinkPlace) error {
	var rows []Row
	c := &clock{}
	restarted := make(chan error, 1)
	for round := range 20 {
		chunk := Rows(int64(round*200+1), 200)
		o, entries, err := stageAgain(ctx, s, p, c, chunk)
		if err != nil {
			return err
		}
		if round == 3 {
			go func() { restarted <- p.Restart() }()
		}
		if round == 12 { // what follows is applied by a service that is back
			if err := <-restarted; err != nil {
				return err
			}
		}
		for err = o.Apply(ctx, entries); err != nil; err = o.Apply(ctx, entries) {
			if ctx.Err() != nil {
				return errors.Join(context.Cause(ctx), err)
			}
			_ = o.Close() // its service is gone
			if o, err = reopen(ctx, p); err != nil {
				return err
			}
		}
		rows = append(rows, chunk...)
		if err := o.Close(); err != nil {
			return err
		}
	}
	return p.holds(ctx, s, rows)
}

// reopen opens the sink as the engine does, again and again while the service is down.
func reopen(ctx context.Context, p *SinkPlace) (connectors.Outbox, error) {
	for {
		o, err := p.Open(ctx)
		if err == nil || ctx.Err() != nil {
			return o, err
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

func stageAgain(ctx context.Context, s Sink, p *SinkPlace, c *clock, rows []Row) (connectors.Outbox, [][]byte, error) {
	for {
		o, entries, err := stage(ctx, s, p, c, rows)
		if err == nil || ctx.Err() != nil {
			return o, entries, err
		}
		if _, err := reopen(ctx, p); err != nil {
			return nil, nil, err
		}
	}
}

// blocked: Apply does not return while the service stands still, a context that ends makes it, and afterwards everything is there once.
func blocked(ctx context.Context, s Sink, p *SinkPlace) error {
	rows := Rows(1, 250)
	o, entries, err := stage(ctx, s, p, &clock{}, rows)
	if err != nil {
		return err
	}
	resume, err := p.Halt()
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	began := time.Now()
	err = o.Apply(short, entries)
	took := time.Since(began)
	if again := resume(); again != nil {
		return again
	}
	switch {
	case err == nil:
		return errors.New("entries were applied to a service that stood still")
	case took < 900*time.Millisecond:
		return fmt.Errorf("it gave up after %s: %w", took, err)
	case took > time.Second+2*promptly:
		return fmt.Errorf("it returned %s after its context had ended", took-time.Second)
	}
	return errors.Join(o.Apply(ctx, entries), p.holds(ctx, s, rows), o.Close())
}

// damaged: an entry that is cut off, empty or of another version is an error and no panic, and nothing of it is seen.
func damaged(ctx context.Context, s Sink, p *SinkPlace) error {
	o, entries, err := stage(ctx, s, p, &clock{}, Rows(1, 20))
	if err != nil {
		return err
	}
	defer o.Close() //nolint:errcheck // the claim is about what came before
	e := entries[0]
	other := append([]byte{e[0] + 100}, e[1:]...)
	for name, bad := range map[string][]byte{"empty": {}, "of another version": other, "without its last byte": e[:len(e)-1], "of a third": e[:len(e)/3]} {
		if err := o.Apply(ctx, [][]byte{bad}); err == nil {
			return fmt.Errorf("an entry that is %s was applied", name)
		}
	}
	return p.holds(ctx, s, nil)
}

func tooLarge(ctx context.Context, s Sink, p *SinkPlace) error {
	o, err := p.Open(ctx)
	if err != nil {
		return err
	}
	defer o.Close() //nolint:errcheck // the claim is about what came before
	huge := Row{ID: 1, Text: strings.Repeat("x", s.MaxBytes+1)}
	if _, err := o.Stage(Batch([]Row{huge}), (&clock{}).next); err == nil {
		return fmt.Errorf("a row of %d bytes was staged", s.MaxBytes)
	}
	return nil
}

func closedSinkTwice(ctx context.Context, s Sink, p *SinkPlace) error {
	o, err := p.Open(ctx)
	if err != nil {
		return err
	}
	if err := o.Close(); err != nil {
		return fmt.Errorf("close a sink: %w", err)
	}
	if err := o.Close(); err != nil {
		return fmt.Errorf("close a sink again: %w", err)
	}
	return nil
}
