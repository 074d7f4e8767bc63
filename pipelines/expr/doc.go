// Package expr compiles the expressions of a pipeline into kernels over columns: one loop per operation and batch, no call and no
// allocation per row (D7). It knows two languages: Beam YAML's "generic" (an atom, or one comparison of two atoms) and a typed subset of
// "python".
//
//	p, err := expr.Compile("delay * 1.0 / flights if flights > 0 else None", "python", schema)
//	err = p.Eval(batch, &out)                 // one value a row
//	rows, err := keep.Filter(batch, rows[:0]) // the rows for which it is true
//
// Where the subset differs from Python it says so at compile time or here:
//   - Every expression has one type. An integer next to a float (in an if-else, in min and max) becomes a float.
//   - Null propagates: an operation on null is null, and a filter does not keep it. and/or know three values (False and null is False),
//     an if-else whose condition is null takes its else. x == None means x is None.
//   - Integers have 64 bits; an overflow is an error of its row, never a wrap. So are division by zero and text that is no number.
//   - Conditions are booleans: write x != 0 for the truth of a number.
//   - upper and lower map rune by rune (ß stays ß).
//
// Right sides of and/or and branches of an if-else are evaluated only for the rows that reach them, so x != 0 and 10 / x > 2 never fails.
//
// It does no I/O and keeps no clock. A Program holds scratch memory: it is used by one goroutine.
package expr
