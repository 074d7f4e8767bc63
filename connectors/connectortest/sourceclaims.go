package connectortest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
)

func boundedMemory(ctx context.Context, s Source, p *SourcePlace, _ []Row) error {
	src, splits, err := opened(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // the claim is about what came before
	before := heap()
	r, err := src.Open(ctx, splits[0], checkpoint.Position{})
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // the claim is about what came before
	if _, _, err := s.readOn(ctx, r, 1, func() int { return 1 }); err != nil {
		return err
	}
	most := int64(0)
	for range 10 { // half a second in which it may go on fetching
		time.Sleep(50 * time.Millisecond)
		most = max(most, heap()-before)
	}
	if most > s.Ahead {
		return fmt.Errorf("a reader that gave one row holds %d bytes of the %d that are there, and at most %d are declared", most, bigRows*bigText, s.Ahead)
	}
	_, _, err = s.readOn(ctx, r, 10, func() int { return 1 })
	return err
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// promptly is how long a call may go on after its context has ended.
const promptly = 2 * time.Second

func cancelled(ctx context.Context, s Source, p *SourcePlace, written []Row) error {
	src, splits, err := opened(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // the claim is about what came before
	for _, sp := range splits[:1] {
		r, err := src.Open(ctx, sp, checkpoint.Position{})
		if err != nil {
			return err
		}
		ended, cancel := context.WithCancel(ctx)
		stop := time.AfterFunc(200*time.Millisecond, cancel)
		defer stop.Stop()
		b := s.batch()
		rows := 0
		for err == nil {
			b.Reset()
			_, err = r.Read(ended, b, 64)
			rows += b.N
			if s.Bounded && rows >= len(written)/2 { // it would end by itself
				cancel()
			}
		}
		began := time.Now()
		if errors.Is(err, io.EOF) && !s.Bounded {
			return errors.New("an unbounded split ended")
		}
		if !s.Bounded {
			// It waits for a row now, and its context ends meanwhile.
			waiting, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			began = time.Now()
			b.Reset()
			_, err := r.Read(waiting, b, 64)
			cancel()
			if took := time.Since(began); took > promptly || err == nil && b.N > 0 {
				return fmt.Errorf("a Read returned %d rows %s after it was called, and its context had ended after 200ms: %w", b.N, took, cmp.Or(err, errors.New("no error")))
			}
		}
		if err := r.Close(); err != nil {
			return err
		}
		if took := time.Since(began); took > promptly+time.Second {
			return fmt.Errorf("it took %s to end", took)
		}
	}
	return nil
}

func closedTwice(ctx context.Context, s Source, p *SourcePlace, _ []Row) error {
	src, splits, err := opened(ctx, p)
	if err != nil {
		return err
	}
	r, err := src.Open(ctx, splits[0], checkpoint.Position{})
	if err != nil {
		return err
	}
	if _, _, err := s.readOn(ctx, r, 1, func() int { return 1 }); err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return fmt.Errorf("close a reader: %w", err)
	}
	if err := r.Close(); err != nil {
		return fmt.Errorf("close a reader again: %w", err)
	}
	if err := src.Close(); err != nil {
		return fmt.Errorf("close a source: %w", err)
	}
	if err := src.Close(); err != nil {
		return fmt.Errorf("close a source again: %w", err)
	}
	return nil
}

// one is the first split's reader, of sources whose rows the claim must find in one split.
func one(ctx context.Context, p *SourcePlace) (connectors.Source, connectors.Split, connectors.Reader, error) {
	src, splits, err := opened(ctx, p)
	if err != nil {
		return nil, connectors.Split{}, nil, err
	}
	if len(splits) != 1 {
		return nil, connectors.Split{}, nil, fmt.Errorf("the claim wants a place with one split, this one has %d", len(splits))
	}
	r, err := src.Open(ctx, splits[0], checkpoint.Position{})
	return src, splits[0], r, err
}

func later(ctx context.Context, s Source, p *SourcePlace, written []Row) error {
	src, _, r, err := one(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // the claim is about what came before
	defer r.Close()   //nolint:errcheck // the claim is about what came before
	got, _, err := s.readOn(ctx, r, len(written), func() int { return 100 })
	if err != nil {
		return err
	}
	more := s.only(Rows(int64(len(written)+1), 50))
	wrote := make(chan error, 1)
	timer := time.AfterFunc(100*time.Millisecond, func() { wrote <- p.More(more) }) // while the Read below waits
	defer timer.Stop()
	rest, _, err := s.readOn(ctx, r, len(more), func() int { return 100 })
	if err = errors.Join(err, <-wrote); err != nil {
		return err
	}
	return same(append(got, rest...), append(slices.Clone(written), more...), true)
}

// garbage: the rows before it are given out, then an error comes that names the place, and comes again from the position that was told.
func garbage(ctx context.Context, s Source, p *SourcePlace, written []Row) error {
	if err := p.Garbage(); err != nil {
		return err
	}
	src, split, r, err := one(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // the claim is about what came before
	got, stands, err := s.readOn(ctx, r, len(written)+1, func() int { return 100 })
	if err == nil {
		return errors.New("garbage was read as a row")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !strings.Contains(err.Error(), p.Named) {
		return fmt.Errorf("the error does not name the place of the row (%q): %w", p.Named, err)
	}
	if diff := same(got, written, true); diff != nil {
		return fmt.Errorf("before the error %w came: %w", err, diff)
	}
	if err := r.Close(); err != nil {
		return err
	}
	again, err := src.Open(ctx, split, stands[len(stands)-1].position)
	if err != nil {
		return err
	}
	defer again.Close() //nolint:errcheck // the claim is about what came before
	rest, _, err := s.readOn(ctx, again, 1, func() int { return 100 })
	if err == nil || len(rest) > 0 {
		return fmt.Errorf("read again from its position, garbage is passed over: %d rows", len(rest))
	}
	return nil
}

// killed: the service is ended in the middle and started again; the reader goes on, or fails and is opened anew where it was, as the engine does.
func killed(ctx context.Context, s Source, p *SourcePlace, written []Row) error {
	src, split, r, err := one(ctx, p)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	half := len(written) / 2
	got, stands, err := s.readOn(ctx, r, half, func() int { return 50 })
	if err != nil {
		return err
	}
	restarted := make(chan error, 1)
	go func() { restarted <- p.Restart() }()
	at := stands[len(stands)-1].position
	for until := len(written) - 10; len(got) < len(written); {
		if len(got) >= until { // the last rows are read when it is back
			if err := <-restarted; err != nil {
				return err
			}
			until = len(written)
		}
		rest, more, err := s.readOn(ctx, r, until-len(got), func() int { return 50 })
		got = append(got, rest...)
		if len(more) > 0 {
			at = more[len(more)-1].position
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("after %d rows: %w", len(got), errors.Join(context.Cause(ctx), err))
		}
		_ = r.Close() // its service may be gone
		if r, err = src.Open(ctx, split, at); err != nil {
			return err
		}
	}
	if p.More != nil { // what was read until now may have been fetched before
		more := s.only(Rows(int64(len(written)+1), 20))
		if err := p.More(more); err != nil {
			return err
		}
		rest, _, err := s.readOn(ctx, r, len(more), func() int { return 50 })
		if err != nil {
			return fmt.Errorf("of %d rows that were written after the restart, %d came: %w", len(more), len(rest), err)
		}
		got, written = append(got, rest...), append(slices.Clone(written), more...)
	}
	if err := r.Close(); err != nil {
		return err
	}
	return same(got, written, true)
}
