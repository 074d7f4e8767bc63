package fault

import (
	"context"
	"errors"
)

// The exit codes of every weir command.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitChanges     = 2 // plan --detailed-exitcode found changes
	ExitInvalid     = 3
	ExitNotFound    = 4
	ExitTimedOut    = 5 // a wait timed out
	ExitNoFit       = 6 // the resources do not suffice
	ExitDenied      = 7
	ExitUsage       = 64
	ExitInterrupted = 130
)

// ExitCode is the code with which a process ends for err: the outermost one that a fault in the chain names. Without one, a
// cancelled context is an interruption (nothing but a signal cancels a command), a passed deadline a wait that timed out,
// any other error ExitFailed, and nil ExitOK.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if code := named(err); code != 0 {
		return code
	}
	switch {
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimedOut
	}
	return ExitFailed
}

// named walks the tree of causes depth first, which errors.As cannot do here: it would stop at the first fault, also at one
// that leaves the code to its cause.
func named(err error) int {
	if e, ok := err.(*Error); ok && e.Exit != 0 {
		return e.Exit
	}
	for _, cause := range causes(err) {
		if code := named(cause); code != 0 {
			return code
		}
	}
	return 0
}

func causes(err error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil {
			return []error{cause}
		}
	}
	return nil
}

func isMany(err error) bool {
	for err != nil {
		if _, ok := err.(interface{ Unwrap() []error }); ok {
			return true
		}
		err = errors.Unwrap(err)
	}
	return false
}
