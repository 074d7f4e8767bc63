// Package fault is the error that serves its reader: where it happened, what was attempted, on what, why it failed
// (with the numbers compared), and what to type next.
//
//	err := fault.Invalid("E-COLUMN", "compile", `stage "enrich"`,
//		fault.At("flights.yaml", 12, 9), fault.Line("        map: {total: amount}"),
//		fault.Causef("table orders has no column total (columns: id, amount)"),
//		fault.Hint("rename the field, or set map"))
//
//	err.Error()             flights.yaml:12:9: error[E-COLUMN]: compile stage "enrich": table orders has no column total (…)
//	fault.Render(w, err, …) the same, the source line with a caret under column 9, and the hint
//	fault.ExitCode(err)     3
//
// A cause that is itself a fault is told once: position, code, operation and subject that the outer error already says are
// not said again. The package never logs, never exits the process, never wraps a nil error into a non-nil one, and imports
// nothing beyond the standard library, so that words and pure packages may return its errors.
package fault
