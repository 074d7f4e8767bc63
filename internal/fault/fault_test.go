package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-project/weir/internal/fault"
)

func column() *fault.Error {
	return fault.Invalid("E-COLUMN", "compile", `stage "enrich"`,
		fault.At("flights.yaml", 12, 9), fault.Line("\tmap:  {total: amount}"),
		fault.Causef("table orders has no column total (columns: id, amount)"),
		fault.Hint("rename the field, or set map"))
}

func TestErrorSaysEachPieceOnce(t *testing.T) {
	cases := []struct {
		name string
		err  error
		want string
	}{
		{"whole", column(),
			`flights.yaml:12:9: error[E-COLUMN]: compile stage "enrich": table orders has no column total (columns: id, amount)`},
		{"wrapped by a fault", fault.New("E-APPLY", "apply", "stack smack", fault.Cause(column())),
			`flights.yaml:12:9: error[E-APPLY]: apply stack smack: compile stage "enrich": table orders has no column total (columns: id, amount)`},
		{"wrapped by the same words", fault.New("", "compile", `stage "enrich"`, fault.Cause(column())),
			`flights.yaml:12:9: error[E-COLUMN]: compile stage "enrich": table orders has no column total (columns: id, amount)`},
		{"plain wrapper inside", fault.New("", "apply", "stack smack", fault.Causef("pipeline flights: %w", column())),
			`flights.yaml:12:9: error[E-COLUMN]: apply stack smack: pipeline flights: compile stage "enrich": table orders has no column total (columns: id, amount)`},
		{"no place, no code", fault.New("", "open", "store", fault.Cause(fs.ErrPermission)), "open store: permission denied"},
		{"no cause", fault.NotFound("E-NAME", "get", "service evnts"), "error[E-NAME]: get service evnts"},
		{"line only", fault.New("", "parse", "", fault.At("a.yaml", 3, 0), fault.Causef("tab")), "a.yaml:3: error: parse: tab"},
		{"nothing", &fault.Error{}, "unknown failure"},
	}
	for _, c := range cases {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestTheCauseStaysReachable(t *testing.T) {
	err := fault.New("X", "open", "store", fault.Cause(fmt.Errorf("read: %w", fs.ErrNotExist)))
	for name, e := range map[string]error{"itself": err, "flat": err.Flat(), "from": fault.From(fmt.Errorf("up: %w", err))} {
		if !errors.Is(e, fs.ErrNotExist) {
			t.Errorf("%s lost its cause: %v", name, e)
		}
	}
}

func TestExitCodes(t *testing.T) {
	cases := []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{fault.New("C", "plan", "stack", fault.Exit(fault.ExitChanges)), 2},
		{fmt.Errorf("up: %w", column()), 3},
		{fault.NotFound("", "get", "x"), 4},
		{fault.TimedOut("", "wait", "x"), 5},
		{fault.NoFit("", "place", "x"), 6},
		{fault.Denied("", "apply", "x"), 7},
		{fault.Usage("", "parse", "flag"), 64},
		{fault.New("", "apply", "x", fault.Cause(fault.Denied("", "put", "y"))), 7},
		{fault.New("", "apply", "x", fault.Cause(context.Canceled)), 130},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), 5},
		{errors.Join(errors.New("a"), fault.Denied("", "put", "y")), 7},
		{fault.List{fault.New("", "a", "b"), column()}, 3},
	}
	for _, c := range cases {
		if got := fault.ExitCode(c.err); got != c.want {
			t.Errorf("exit code of %v: got %d, want %d", c.err, got, c.want)
		}
	}
}

func TestRenderPutsTheCaretUnderTheColumn(t *testing.T) {
	var b strings.Builder
	if err := fault.Render(&b, fmt.Errorf("up: %w", column()), false); err != nil {
		t.Fatal(err)
	}
	want := `flights.yaml:12:9: error[E-COLUMN]: up: compile stage "enrich": table orders has no column total (columns: id, amount)` +
		"\n  12 | \tmap:  {total: amount}\n     | \t       ^\nhint: rename the field, or set map\n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
}

func TestRenderCannotDriveATerminal(t *testing.T) {
	var b strings.Builder
	err := fault.New("", "parse", "x\x1b[2J", fault.At("a", 1, 1), fault.Line("\x1b]0;owned\x07"), fault.Hint("\x1b[1A"))
	if werr := err.Render(&b, false); werr != nil {
		t.Fatal(werr)
	}
	if strings.ContainsAny(b.String(), "\x1b\x07") {
		t.Errorf("control characters reached the terminal: %q", b.String())
	}
	b.Reset()
	if werr := column().Render(&b, true); werr != nil || !strings.Contains(b.String(), "\x1b[1;31m^\x1b[0m") {
		t.Errorf("no coloured caret (%v) in %q", werr, b.String())
	}
}

func TestListSortsByPosition(t *testing.T) {
	var l fault.List
	l.Add(nil)
	if l.Err() != nil {
		t.Fatal("an empty list is an error")
	}
	l.Add(fault.New("C", "check", "c", fault.At("b.yaml", 1, 1)))
	l.Add(errors.Join(fault.New("B", "check", "b", fault.At("a.yaml", 10, 1)), fault.New("A", "check", "a", fault.At("a.yaml", 9, 2))))
	l.Add(errors.New("plain"))
	want := "plain\na.yaml:9:2: error[A]: check a\na.yaml:10:1: error[B]: check b\nb.yaml:1:1: error[C]: check c"
	if got := l.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !fault.HasCode(fmt.Errorf("x: %w", l.Err()), "C") || fault.HasCode(l.Err(), "D") {
		t.Error("HasCode does not find exactly what is there")
	}
	var b strings.Builder
	if err := fault.Render(&b, l.Err(), false); err != nil || !strings.HasSuffix(b.String(), "\n4 errors\n") {
		t.Errorf("render of a list (%v): %q", err, b.String())
	}
}

func TestJSONKeepsAllFields(t *testing.T) {
	inner := column()
	outer := &fault.Error{Code: "E1", Op: "apply", Subject: "stack smack", Pos: fault.Pos{File: "s.yaml", Line: 2, Col: 3},
		Err: inner, Hint: "h", Exit: 7, Source: "line"}
	data, err := json.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	var got fault.Error
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	gotInner, ok := got.Err.(*fault.Error)
	if !ok {
		t.Fatalf("the cause came back as %T", got.Err)
	}
	if gotInner.Err.Error() != inner.Err.Error() {
		t.Errorf("cause of the cause: got %v, want %v", gotInner.Err, inner.Err)
	}
	a, b := *gotInner, *inner
	a.Err, b.Err = nil, nil
	if !reflect.DeepEqual(a, b) {
		t.Errorf("inner: got %+v, want %+v", a, b)
	}
	c, d := got, *outer
	c.Err, d.Err = nil, nil
	if !reflect.DeepEqual(c, d) {
		t.Errorf("outer: got %+v, want %+v", c, d)
	}
}

func TestEncodedErrorsReadTheSame(t *testing.T) {
	for _, err := range []error{errors.New("plain"), column(), errors.Join(column(), errors.New("x")),
		fmt.Errorf("up: %w", column())} {
		data, eerr := fault.Encode(err)
		if eerr != nil {
			t.Fatal(eerr)
		}
		got, derr := fault.Decode(data)
		if derr != nil {
			t.Fatal(derr)
		}
		if fault.ExitCode(got) != fault.ExitCode(err) {
			t.Errorf("exit code of %v: got %d, want %d", err, fault.ExitCode(got), fault.ExitCode(err))
		}
		var want fault.List
		want.Add(err)
		if got.Error() != want.Err().Error() {
			t.Errorf("got %q, want %q", got, want.Err())
		}
	}
	if _, err := fault.Decode([]byte(`[null]`)); err == nil {
		t.Error("a null member was accepted")
	}
}

func TestNearest(t *testing.T) {
	words := []string{"kafka", "cassandra", "nats", "stream", "workers"}
	for word, want := range map[string]string{
		"kafak": "kafka", "Kafka": "kafka", "cassndra": "cassandra", "wrokers": "workers", "nat": "nats", "zookeeper": "", "": "",
	} {
		if got := fault.Nearest(word, words); got != want {
			t.Errorf("nearest to %q: got %q, want %q", word, got, want)
		}
	}
	if got := fault.Nearest("bb", []string{"bc", "ba"}); got != "ba" {
		t.Errorf("a tie went to %q", got)
	}
	if got := fault.DidYouMean("kafak", words, "x"); got != "did you mean kafka?" {
		t.Errorf("got %q", got)
	}
}
