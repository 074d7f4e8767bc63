package connectortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

// Source declares a connector that reads.
type Source struct {
	Bounded bool  // its splits end
	Ordered bool  // a split gives its rows in the order in which they were written
	Ahead   int64 // bytes that a reader which nobody reads from may hold at most; 0: not promised
	// Place makes a new place that holds rows. What it starts ends with the test.
	Place func(t testing.TB, rows []Row) *SourcePlace
}

// SourcePlace is where rows stand.
type SourcePlace struct {
	Open    func() (connectors.Source, error) // each call as another process would
	More    func(rows []Row) error            // of an unbounded source: writes more
	Garbage func() error                      // appends what is no row; nil: nobody can
	Named   string                            // what an error about it names: the place of the row
	Restart func() error                      // ends the service by kill -9 and starts it again; nil: there is none
}

// bigRows is how many rows the claim on memory writes, of bigText bytes each.
const (
	bigRows = 2000
	bigText = 16 << 10
)

// sourceClaim is one promise. written are the rows that stand at the place.
type sourceClaim struct {
	name  string
	check func(ctx context.Context, s Source, p *SourcePlace, written []Row) error
	needs func(s Source, p *SourcePlace) bool // nil: every source keeps it
	rows  func() []Row                        // nil: sourceRows
}

func sourceRows() []Row { return Rows(1, 500) }

var sourceClaims = []sourceClaim{
	{name: "splits are stable", check: splitsAreStable},
	{name: "every row comes once", check: everyRowOnce},
	{name: "any position can be read on from", check: replay},
	{name: "a slow reader holds a bounded part", check: boundedMemory, needs: func(s Source, _ *SourcePlace) bool { return s.Ahead > 0 }, rows: bigRowsOf},
	{name: "a context that ends returns at once", check: cancelled},
	{name: "closing twice is fine", check: closedTwice},
	{name: "rows that come later are read", check: later, needs: func(_ Source, p *SourcePlace) bool { return p.More != nil }},
	{name: "garbage stops after the rows before it", check: garbage, needs: func(_ Source, p *SourcePlace) bool { return p.Garbage != nil }},
	{name: "a killed service is read on", check: killed, needs: func(_ Source, p *SourcePlace) bool { return p.Restart != nil }},
}

func bigRowsOf() []Row {
	out := make([]Row, bigRows)
	for i := range out {
		out[i] = Row{ID: int64(i), Text: strings.Repeat(string(rune('a'+i%26)), bigText)}
	}
	return out
}

// TestSource holds a source to every claim.
func TestSource(t *testing.T, s Source) {
	for _, c := range sourceClaims {
		t.Run(c.name, func(t *testing.T) {
			report(t, c.run(t, s))
		})
	}
}

func (c sourceClaim) run(t testing.TB, s Source) error {
	rows := sourceRows
	if c.rows != nil {
		if !c.needs(s, nil) {
			return errNotDeclared
		}
		rows = c.rows
	}
	written := rows()
	p := s.Place(t, written)
	if c.needs != nil && !c.needs(s, p) {
		return errNotDeclared
	}
	return within(t.Context(), limit, c.name, func(ctx context.Context) error { return c.check(ctx, s, p, written) })
}

// opened is a source with its splits and how many rows of the written each has.
func opened(ctx context.Context, p *SourcePlace) (connectors.Source, []connectors.Split, error) {
	src, err := p.Open()
	if err != nil {
		return nil, nil, err
	}
	splits, err := src.Splits(ctx)
	if err == nil && len(splits) == 0 {
		err = errors.New("a source with rows has no splits")
	}
	return src, splits, err
}

func splitsAreStable(ctx context.Context, _ Source, p *SourcePlace, _ []Row) error {
	a, first, err := opened(ctx, p)
	if err != nil {
		return err
	}
	b, second, err := opened(ctx, p)
	if err != nil {
		return err
	}
	again, err := a.Splits(ctx)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(first, second) || !reflect.DeepEqual(first, again) {
		return fmt.Errorf("splits are %v, then %v and of another reader %v", first, again, second)
	}
	seen := map[string]bool{}
	for _, sp := range first {
		if sp.ID == "" || seen[sp.ID] || strings.Contains(sp.ID, "|") {
			return fmt.Errorf("split id %q is empty, twice there, or has a | in it", sp.ID)
		}
		seen[sp.ID] = true
	}
	return errors.Join(a.Close(), b.Close())
}

// scanSplits reads every split until all of the written rows are there, or for a bounded source to its end.
func scanSplits(ctx context.Context, s Source, src connectors.Source, splits []connectors.Split, total int, size func() int) (map[string][]Row, map[string][]stand, error) {
	rows, stands := map[string][]Row{}, map[string][]stand{}
	left := total
	for _, sp := range splits {
		r, err := src.Open(ctx, sp, checkpoint.Position{})
		if err != nil {
			return nil, nil, err
		}
		want := -1
		if !s.Bounded {
			want = left // of one split; of several, a split is read until it is silent
		}
		var got []Row
		var at []stand
		if s.Bounded || len(splits) == 1 {
			got, at, err = readOn(ctx, r, want, size)
		} else {
			got, at, err = readUntilSilent(ctx, r)
		}
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, nil, fmt.Errorf("split %s: %w", sp.ID, err)
		}
		rows[sp.ID], stands[sp.ID] = got, at
		left -= len(got)
	}
	return rows, stands, nil
}

// silent is how long an unbounded split of several may take to bring a row that is there.
const silent = 1500 * time.Millisecond

func readUntilSilent(ctx context.Context, r connectors.Reader) ([]Row, []stand, error) {
	var rows []Row
	var stands []stand
	for {
		quiet, cancel := context.WithTimeout(ctx, silent)
		got, at, err := readOn(quiet, r, 1, func() int { return 1 })
		cancel()
		if err != nil && quiet.Err() != nil && ctx.Err() == nil {
			return rows, stands, nil
		}
		if err != nil {
			return rows, stands, err
		}
		for _, s := range at {
			stands = append(stands, stand{len(rows) + s.rows, s.position})
		}
		rows = append(rows, got...)
	}
}

func everyRowOnce(ctx context.Context, s Source, p *SourcePlace, written []Row) error {
	src, splits, err := opened(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close()
	bySplit, _, err := scanSplits(ctx, s, src, splits, len(written), func() int { return 64 })
	if err != nil {
		return err
	}
	var all []Row
	for _, sp := range splits {
		rows := bySplit[sp.ID]
		if s.Ordered && !slices.IsSortedFunc(rows, func(a, b Row) int { return int(a.ID - b.ID) }) {
			return fmt.Errorf("split %s gives its rows in another order than they were written in", sp.ID)
		}
		all = append(all, rows...)
	}
	return same(all, written, false)
}

// replay cuts each split at random positions: the rows after a position are those that came after it the first time.
func replay(ctx context.Context, s Source, p *SourcePlace, written []Row) error {
	src, splits, err := opened(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	bySplit, stands, err := scanSplits(ctx, s, src, splits, len(written), func() int { return 1 + rnd.IntN(40) })
	if err != nil {
		return err
	}
	for _, sp := range splits {
		all := bySplit[sp.ID]
		for range min(8, len(stands[sp.ID])) {
			cut := stands[sp.ID][rnd.IntN(len(stands[sp.ID]))]
			if err := readAfter(ctx, s, p, sp, cut, all); err != nil {
				return fmt.Errorf("split %s, from row %d (%+v) on: %w", sp.ID, cut.rows, cut.position, err)
			}
		}
	}
	return nil
}

// readAfter opens the split anew, as another process would.
func readAfter(ctx context.Context, s Source, p *SourcePlace, sp connectors.Split, cut stand, all []Row) error {
	src, err := p.Open()
	if err != nil {
		return err
	}
	defer src.Close()
	r, err := src.Open(ctx, sp, cut.position)
	if err != nil {
		return err
	}
	want := len(all) - cut.rows
	if s.Bounded {
		want = -1
	}
	rest, _, err := readOn(ctx, r, want, func() int { return 33 })
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	return same(rest, all[cut.rows:], true)
}

func boundedMemory(ctx context.Context, s Source, p *SourcePlace, _ []Row) error {
	src, splits, err := opened(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close()
	before := heap()
	r, err := src.Open(ctx, splits[0], checkpoint.Position{})
	if err != nil {
		return err
	}
	defer r.Close()
	if _, _, err := readOn(ctx, r, 1, func() int { return 1 }); err != nil {
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
	_, _, err = readOn(ctx, r, 10, func() int { return 1 })
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
	defer src.Close()
	for _, sp := range splits[:1] {
		r, err := src.Open(ctx, sp, checkpoint.Position{})
		if err != nil {
			return err
		}
		ended, cancel := context.WithCancel(ctx)
		stop := time.AfterFunc(200*time.Millisecond, cancel)
		defer stop.Stop()
		b := column.NewBatch(&Schema, 64)
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
				return fmt.Errorf("a Read returned %d rows and %v %s after it was called, and its context had ended after 200ms", b.N, err, took)
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

func closedTwice(ctx context.Context, _ Source, p *SourcePlace, _ []Row) error {
	src, splits, err := opened(ctx, p)
	if err != nil {
		return err
	}
	r, err := src.Open(ctx, splits[0], checkpoint.Position{})
	if err != nil {
		return err
	}
	if _, _, err := readOn(ctx, r, 1, func() int { return 1 }); err != nil {
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

func later(ctx context.Context, _ Source, p *SourcePlace, written []Row) error {
	src, _, r, err := one(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close()
	defer r.Close()
	got, _, err := readOn(ctx, r, len(written), func() int { return 100 })
	if err != nil {
		return err
	}
	more := Rows(int64(len(written)+1), 50)
	wrote := make(chan error, 1)
	timer := time.AfterFunc(100*time.Millisecond, func() { wrote <- p.More(more) }) // while the Read below waits
	defer timer.Stop()
	rest, _, err := readOn(ctx, r, len(more), func() int { return 100 })
	if err = errors.Join(err, <-wrote); err != nil {
		return err
	}
	return same(append(got, rest...), append(slices.Clone(written), more...), true)
}

// garbage: the rows before it are given out, then an error comes that names the place, and comes again from the position that was told.
func garbage(ctx context.Context, _ Source, p *SourcePlace, written []Row) error {
	if err := p.Garbage(); err != nil {
		return err
	}
	src, split, r, err := one(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close()
	got, stands, err := readOn(ctx, r, len(written)+1, func() int { return 100 })
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
		return fmt.Errorf("before the error %q came: %w", err, diff)
	}
	if err := r.Close(); err != nil {
		return err
	}
	again, err := src.Open(ctx, split, stands[len(stands)-1].position)
	if err != nil {
		return err
	}
	defer again.Close()
	rest, _, err := readOn(ctx, again, 1, func() int { return 100 })
	if err == nil || len(rest) > 0 {
		return fmt.Errorf("read again from its position, garbage is passed over: %d rows, %v", len(rest), err)
	}
	return nil
}

// killed: the service is ended in the middle and started again; the reader goes on, or fails and is opened anew where it was, as the engine does.
func killed(ctx context.Context, _ Source, p *SourcePlace, written []Row) error {
	src, split, r, err := one(ctx, p)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	half := len(written) / 2
	got, stands, err := readOn(ctx, r, half, func() int { return 50 })
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
		rest, more, err := readOn(ctx, r, until-len(got), func() int { return 50 })
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
	if err := r.Close(); err != nil {
		return err
	}
	return same(got, written, true)
}
