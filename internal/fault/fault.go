package fault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Pos is a place in a text that a person wrote. Line and Col count from 1, Col in runes; zero means unknown.
type Pos struct {
	File string
	Line int
	Col  int
}

// IsZero reports whether nothing is known of the place.
func (p Pos) IsZero() bool { return p == Pos{} }

// String prints the known part of "file:line:col", and nothing for the zero position.
func (p Pos) String() string {
	parts := make([]string, 0, 3)
	if p.File != "" {
		parts = append(parts, p.File)
	}
	if p.Line > 0 {
		parts = append(parts, strconv.Itoa(p.Line))
		if p.Col > 0 {
			parts = append(parts, strconv.Itoa(p.Col))
		}
	}
	return strings.Join(parts, ":")
}

// Compare orders positions by file, line and column: negative when p comes first.
func (p Pos) Compare(q Pos) int {
	if c := strings.Compare(p.File, q.File); c != 0 {
		return c
	}
	if p.Line != q.Line {
		return p.Line - q.Line
	}
	return p.Col - q.Col
}

// Error is one failure. Every field may be empty; what is empty is looked for in the cause (see Flat) and else not printed.
type Error struct {
	Code    string // stable and for machines, for example "E-COLUMN"
	Op      string // what was attempted, a verb: "compile", "open"
	Subject string // on what: `stage "enrich"`, "topic orders"
	Pos     Pos    // where in the user's text
	Err     error  // the cause, with the numbers compared
	Hint    string // what to type or change next
	Exit    int    // the process's exit code if this error ends it; 0 means that the cause decides
	Source  string // the text of line Pos.Line, for the caret
}

// Option fills in one part of an Error.
type Option func(*Error)

// At sets the place; line and col count from 1, zero means unknown.
func At(file string, line, col int) Option {
	return func(e *Error) { e.Pos = Pos{File: file, Line: line, Col: col} }
}

// AtPos sets the place.
func AtPos(p Pos) Option { return func(e *Error) { e.Pos = p } }

// Line sets the text of the line at the place, which Render prints above the caret.
func Line(source string) Option { return func(e *Error) { e.Source = source } }

// Cause sets the cause; a nil cause leaves the error without one.
func Cause(err error) Option { return func(e *Error) { e.Err = err } }

// Causef sets the cause from a format, where %w wraps.
func Causef(format string, args ...any) Option {
	return func(e *Error) { e.Err = fmt.Errorf(format, args...) }
}

// Hint says what to do next.
func Hint(text string) Option { return func(e *Error) { e.Hint = text } }

// Hintf says what to do next, from a format.
func Hintf(format string, args ...any) Option {
	return func(e *Error) { e.Hint = fmt.Sprintf(format, args...) }
}

// Exit sets the process's exit code (one of the Exit constants).
func Exit(code int) Option { return func(e *Error) { e.Exit = code } }

// New makes an error whose exit code its cause decides (ExitFailed when nothing in the chain says).
func New(code, op, subject string, opts ...Option) *Error {
	e := &Error{Code: code, Op: op, Subject: subject}
	for _, opt := range opts {
		opt(e)
	}
	return e
}

// Invalid makes an error of ExitInvalid: the input cannot be right, whatever the state of the system.
func Invalid(code, op, subject string, opts ...Option) *Error {
	return withExit(ExitInvalid, code, op, subject, opts)
}

// NotFound makes an error of ExitNotFound: what was named does not exist.
func NotFound(code, op, subject string, opts ...Option) *Error {
	return withExit(ExitNotFound, code, op, subject, opts)
}

// TimedOut makes an error of ExitTimedOut: what was waited for did not happen in time.
func TimedOut(code, op, subject string, opts ...Option) *Error {
	return withExit(ExitTimedOut, code, op, subject, opts)
}

// NoFit makes an error of ExitNoFit: there are not the resources.
func NoFit(code, op, subject string, opts ...Option) *Error {
	return withExit(ExitNoFit, code, op, subject, opts)
}

// Denied makes an error of ExitDenied: the caller may not.
func Denied(code, op, subject string, opts ...Option) *Error {
	return withExit(ExitDenied, code, op, subject, opts)
}

// Usage makes an error of ExitUsage: the command line itself is wrong.
func Usage(code, op, subject string, opts ...Option) *Error {
	return withExit(ExitUsage, code, op, subject, opts)
}

func withExit(exit int, code, op, subject string, opts []Option) *Error {
	e := New(code, op, subject, opts...)
	if e.Exit == 0 {
		e.Exit = exit
	}
	return e
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Error prints "file:line:col: error[CODE]: op subject: cause", each piece once and only if it is known.
func (e *Error) Error() string {
	f := e.Flat()
	return f.head() + f.body()
}

// Flat returns one error that says what the whole chain of faults says: a position, code, hint, exit code or source line that
// e lacks is taken from the nearest cause that has it, and the cause becomes text without what is already said.
// The result has the original chain as its identity for errors.Is and errors.As.
func (e *Error) Flat() *Error {
	f := &Error{Op: e.Op, Subject: e.Subject}
	said := []string{join(e.Op, e.Subject)}
	var texts []string
	var next error = e
	for {
		level, ok := next.(*Error)
		if !ok {
			break
		}
		f.inherit(level)
		if what := join(level.Op, level.Subject); level != e && what != "" && !contains(said, what) {
			texts, said = append(texts, what), append(said, what)
		}
		if next = level.Err; next == nil {
			break
		}
	}
	if next != nil {
		texts = append(texts, f.plain(next))
	}
	if len(texts) > 0 {
		f.Err = &told{text: strings.Join(texts, ": "), err: e.Err}
	}
	return f
}

// plain is the text of a cause that is no fault itself; a fault somewhere inside it lends its fields and loses its head,
// so that "error[CODE]" and a position never stand in the middle of a sentence.
func (f *Error) plain(err error) string {
	text := err.Error()
	var inner *Error
	if !errors.As(err, &inner) || isMany(err) {
		return text
	}
	flat := inner.Flat()
	f.inherit(flat)
	return strings.Replace(text, flat.head(), "", 1)
}

// inherit takes from g what f does not know yet.
func (f *Error) inherit(g *Error) {
	if f.Code == "" {
		f.Code = g.Code
	}
	if f.Pos.IsZero() {
		// The source line belongs to its position: neither is taken without the other.
		f.Pos, f.Source = g.Pos, g.Source
	}
	if f.Hint == "" {
		f.Hint = g.Hint
	}
	if f.Exit == 0 {
		f.Exit = g.Exit
	}
}

func (e *Error) head() string {
	var b strings.Builder
	if p := e.Pos.String(); p != "" {
		b.WriteString(p + ": ")
	}
	switch {
	case e.Code != "":
		b.WriteString("error[" + e.Code + "]: ")
	case b.Len() > 0:
		b.WriteString("error: ")
	}
	return b.String()
}

func (e *Error) body() string {
	what := join(e.Op, e.Subject)
	switch {
	case e.Err == nil && what == "":
		return "unknown failure"
	case e.Err == nil:
		return what
	case what == "":
		return e.Err.Error()
	}
	return what + ": " + e.Err.Error()
}

// told is a cause in the words that Flat chose, still the same cause to errors.Is and errors.As.
type told struct {
	text string
	err  error
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.err }

func join(op, subject string) string { return strings.TrimSpace(op + " " + subject) }

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
