package fault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// List is several errors of one piece of work, such as all the mistakes of a file.
//
//	var all fault.List
//	all.Add(checkName(doc))
//	all.Add(checkStages(doc))
//	return all.Err()
type List []*Error

// Add appends err: every member of a list or a joined error, a fault as it is, anything else by From. Nil adds nothing.
func (l *List) Add(err error) {
	if err == nil {
		return
	}
	if e, ok := err.(*Error); ok {
		if e != nil {
			*l = append(*l, e)
		}
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, member := range many.Unwrap() {
			l.Add(member)
		}
		return
	}
	*l = append(*l, From(err))
}

// Err returns the list sorted by position as an error, its only member as itself, and nil for an empty list. Errors without
// a position come first, and equal positions keep their order.
func (l List) Err() error {
	switch len(l) {
	case 0:
		return nil
	case 1:
		return l[0]
	}
	sorted := slices.Clone(l)
	slices.SortStableFunc(sorted, func(a, b *Error) int { return a.Flat().Pos.Compare(b.Flat().Pos) })
	return sorted
}

// Error prints one line an error.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the members.
func (l List) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

// From turns any error into a fault that keeps what a fault inside err knows. Nil stays nil; a fault is returned as it is.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return e
	}
	e := (&Error{Err: err}).Flat()
	if e.Exit == 0 && ExitCode(err) != ExitFailed {
		e.Exit = ExitCode(err)
	}
	return e
}

// HasCode reports whether a fault with the code is anywhere in err's tree.
func HasCode(err error, code string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	if x, ok := err.(*Error); ok && x != nil && x.Code == code {
		return true
	}
	for _, cause := range causes(err) {
		if HasCode(cause, code) {
			return true
		}
	}
	return false
}

// Count says how many of a thing there are: "1 error", "3 errors".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
