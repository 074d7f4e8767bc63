package connectortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

// memory is a good source and a good sink of one split in memory, and a service that can be killed and can stand still. A bug makes it a bad one.
type memory struct {
	bug string

	mu      sync.Mutex // guards all below
	rows    []Row
	bad     int           // index of the garbage; 0: none
	grown   chan struct{} // closed when rows were added
	applied map[string]bool
	killed  int
	halted  chan struct{} // nil: it does not stand still
	lists   int
}

func newMemory(bug string, rows []Row) *memory {
	return &memory{bug: bug, rows: slices.Clone(rows), grown: make(chan struct{}), applied: map[string]bool{}}
}

func (m *memory) is(bug string) bool { return m.bug == bug }

func (m *memory) more(rows []Row) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = append(m.rows, rows...)
	close(m.grown)
	m.grown = make(chan struct{})
	return nil
}

func (m *memory) place() *SourcePlace {
	return &SourcePlace{
		Open: func() (connectors.Source, error) { return &memorySource{m: m}, nil },
		More: m.more,
		Garbage: func() error {
			m.mu.Lock()
			m.bad = len(m.rows)
			m.mu.Unlock()
			return m.more(Rows(9999, 1))
		},
		Named: "row 500",
		Restart: func() error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.killed++
			return nil
		},
	}
}

type memorySource struct {
	m      *memory
	closed bool
}

func (s *memorySource) Splits(context.Context) ([]connectors.Split, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.lists++
	if s.m.is("splits have other names each time") {
		return []connectors.Split{{ID: fmt.Sprint("s", s.m.lists)}}, nil
	}
	return []connectors.Split{{ID: "s"}}, nil
}

func (s *memorySource) Open(_ context.Context, _ connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	r := &memoryReader{m: s.m, at: int(from.Offset), killed: s.m.killed}
	switch {
	case s.m.is("a position is read again from the row before it") && r.at > 0:
		r.at--
	case s.m.is("a position is read on from the row after it") && r.at > 0:
		r.at++
	}
	return r, nil
}

func (s *memorySource) Close() error {
	if s.closed && s.m.is("a source is closed once") {
		return errors.New("it is closed")
	}
	s.closed = true
	return nil
}

type memoryReader struct {
	m      *memory
	at     int
	killed int
	hoard  []byte
	deaf   int // rows; 0: it is not
	closed bool
}

func (r *memoryReader) Read(ctx context.Context, b *column.Batch, limit int) (checkpoint.Position, error) {
	for {
		r.m.mu.Lock()
		grown, n := r.m.grown, len(r.m.rows)
		killed := r.m.killed
		r.m.mu.Unlock()
		if killed != r.killed {
			r.killed = killed
			switch r.m.bug {
			case "a restart loses a row":
				r.at++
			case "a restart repeats a row":
				r.at--
			case "a restart makes it deaf":
				r.deaf = n
			}
		}
		if r.deaf > 0 && r.at >= r.deaf { // what it had fetched before was all
			<-ctx.Done()
			return r.position(), context.Cause(ctx)
		}
		if r.at < n {
			return r.give(b, min(n, r.at+limit))
		}
		if r.m.is("it waits for ever") {
			<-grown
			continue
		}
		if r.m.is("later rows are not seen") {
			<-ctx.Done()
			return r.position(), context.Cause(ctx)
		}
		if r.m.is("an unbounded split ends") {
			return r.position(), io.EOF
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return r.position(), context.Cause(ctx)
		}
	}
}

func (r *memoryReader) give(b *column.Batch, end int) (checkpoint.Position, error) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.is("a Read brings more than it may") {
		end = min(len(r.m.rows), end+1)
	}
	if r.m.is("a reader takes all there is") && r.hoard == nil {
		r.hoard = []byte(strings.Repeat("x", bigRows*bigText))
	}
	if bad := r.m.bad; bad > 0 && end > bad {
		switch {
		case r.m.is("garbage is passed over"):
			r.at = bad + 1
			return r.position(), nil
		case r.m.is("garbage panics"):
			panic("index out of range")
		case r.m.is("garbage takes the rows before it with it"), r.at == bad && r.m.is("garbage has no place"):
			return r.position(), errors.New("it is no row")
		case r.at == bad:
			defer func() {
				if r.m.is("garbage is read past the second time") {
					r.m.bad = 0
				}
			}()
			return r.position(), fmt.Errorf("row %d is no row", bad)
		}
		end = bad
	}
	rows := slices.Clone(r.m.rows[r.at:end])
	switch {
	case r.m.is("a row is lost") && r.at < 77 && end > 77:
		rows = slices.Delete(rows, 77-r.at, 78-r.at)
	case r.m.is("a row comes twice") && r.at < 77 && end > 77:
		rows[77-r.at] = rows[76-r.at]
	case r.m.is("rows come in another order"):
		slices.Reverse(rows)
	}
	for _, row := range rows {
		b.Cols[0].AppendInt(row.ID)
		if len(b.Cols) > 1 {
			b.Cols[1].AppendString([]byte(row.Text))
		}
		b.N++
	}
	r.at = end
	return r.position(), nil
}

func (r *memoryReader) position() checkpoint.Position {
	runtime.KeepAlive(r.hoard)
	return checkpoint.Position{Offset: int64(r.at)}
}

func (r *memoryReader) Close() error {
	if r.closed && r.m.is("a reader is closed once") {
		panic("close of closed channel")
	}
	r.closed = true
	return nil
}

// planted names, for each claim, bugs that it must find.
var planted = map[string][]string{
	"splits are stable":                      {"splits have other names each time"},
	"every row comes once":                   {"a row is lost", "a row comes twice", "rows come in another order", "a Read brings more than it may"},
	"any position can be read on from":       {"a position is read again from the row before it", "a position is read on from the row after it"},
	"a slow reader holds a bounded part":     {"a reader takes all there is"},
	"a context that ends returns at once":    {"it waits for ever", "an unbounded split ends"},
	"closing twice is fine":                  {"a reader is closed once", "a source is closed once"},
	"rows that come later are read":          {"later rows are not seen", "an unbounded split ends"},
	"garbage stops after the rows before it": {"garbage is passed over", "garbage panics", "garbage takes the rows before it with it", "garbage has no place", "garbage is read past the second time"},
	"a killed service is read on":            {"a restart loses a row", "a restart repeats a row", "a restart makes it deaf"},

	"what is staged is not seen":                           {"staging shows rows"},
	"what is applied is seen once":                         {"applying does nothing", "the last entry is forgotten", "closing deletes"},
	"applying twice changes nothing":                       {"a repeat doubles"},
	"a takeover applies what was committed":                {"what others staged is passed over", "a repeat doubles"},
	"a takeover in the middle of applying doubles nothing": {"a repeat of others doubles"},
	"two owners that apply side by side double nothing":    {"a repeat doubles"},
	"a killed service loses and doubles nothing":           {"a restart swallows an entry", "a restart forgets what was applied"},
	"a service that stands still blocks":                   {"a service that stands still loses what comes", "it gives up at once", "it does not look at its context"},
	"entries that are damaged are refused":                 {"damaged entries are passed over", "damaged entries panic"},
	"a row that is too large is refused before the commit": {"large rows are cut"},
	"closing a sink twice is fine":                         {"a sink is closed once"},
}

func sourceOf(bug string) Source {
	return Source{Ordered: true, Ahead: 8 << 20, Place: func(_ testing.TB, rows []Row) *SourcePlace { return newMemory(bug, rows).place() }}
}

func sinkOf(bug string) Sink {
	return Sink{Ordered: true, Entries: true, MaxBytes: 1 << 20, Place: func(testing.TB) *SinkPlace { return newMemory(bug, nil).sinkPlace() }}
}

func TestAGoodConnectorKeepsEveryClaim(t *testing.T) {
	TestSource(t, sourceOf(""))
	t.Run("of numbers", func(t *testing.T) {
		TestSource(t, Source{Ordered: true, Numbers: "value", Place: func(_ testing.TB, rows []Row) *SourcePlace { return newMemory("", rows).place() }})
	})
	TestSink(t, sinkOf(""))
}

func TestEveryPlantedBugIsFound(t *testing.T) {
	was, wasBeyond := limit, beyond
	limit, beyond = 2*time.Second, time.Second
	defer func() { limit, beyond = was, wasBeyond }()
	var all sync.WaitGroup
	find := func(claim string, run func(bug string) error) {
		bugs := planted[claim]
		if len(bugs) == 0 {
			t.Errorf("claim %q has no bug planted for it", claim)
		}
		for _, bug := range bugs {
			look := func() {
				if err := run(bug); err == nil || errors.Is(err, errNotDeclared) {
					t.Errorf("claim %q did not find that %s", claim, bug)
				}
			}
			if claim == "a slow reader holds a bounded part" { // it measures the heap, so nothing runs beside it
				look()
				continue
			}
			all.Go(look)
		}
	}
	for _, c := range sourceClaims {
		if c.rows != nil {
			find(c.name, func(bug string) error { return c.run(t, sourceOf(bug)) })
		}
	}
	for _, c := range sourceClaims {
		if c.rows == nil {
			find(c.name, func(bug string) error { return c.run(t, sourceOf(bug)) })
		}
	}
	for _, c := range sinkClaims {
		find(c.name, func(bug string) error { return c.run(t, sinkOf(bug)) })
	}
	all.Wait()
}
