package connectortest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
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
	// Numbers is the name of the only column of a source that gives numbers and nothing else: its rows have no texts. Empty: the rows are of Schema.
	Numbers string
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

// batch is an empty one of the source's rows.
func (s Source) batch() *column.Batch {
	schema := &Schema
	if s.Numbers != "" {
		schema = &column.Schema{Fields: []column.Field{{Name: s.Numbers, Kind: column.Int64}}}
	}
	return column.NewBatch(schema, 64)
}

// only takes the texts off rows of a source of numbers.
func (s Source) only(rows []Row) []Row {
	for i := range rows {
		if s.Numbers != "" {
			rows[i].Text = ""
		}
	}
	return rows
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
	written := s.only(rows())
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
			got, at, err = s.readOn(ctx, r, want, size)
		} else {
			got, at, err = s.readUntilSilent(ctx, r)
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

func (s Source) readUntilSilent(ctx context.Context, r connectors.Reader) ([]Row, []stand, error) {
	var rows []Row
	var stands []stand
	for {
		quiet, cancel := context.WithTimeout(ctx, silent)
		got, at, err := s.readOn(quiet, r, 1, func() int { return 1 })
		cancel()
		if err != nil && quiet.Err() != nil && ctx.Err() == nil {
			return rows, stands, nil
		}
		if err != nil {
			return rows, stands, err
		}
		for _, st := range at {
			stands = append(stands, stand{len(rows) + st.rows, st.position})
		}
		rows = append(rows, got...)
	}
}

func everyRowOnce(ctx context.Context, s Source, p *SourcePlace, written []Row) error {
	src, splits, err := opened(ctx, p)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // the claim is about what came before
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
	defer src.Close() //nolint:errcheck // the claim is about what came before
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
	defer src.Close() //nolint:errcheck // the claim is about what came before
	r, err := src.Open(ctx, sp, cut.position)
	if err != nil {
		return err
	}
	want := len(all) - cut.rows
	if s.Bounded {
		want = -1
	}
	rest, _, err := s.readOn(ctx, r, want, func() int { return 33 })
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	return same(rest, all[cut.rows:], true)
}
