package expr

import (
	"bytes"
	"math"
)

// number is what has kernels of its own: each instance is compiled to a loop over its type.
type number interface{ int64 | float64 }

func less[T number](a, b []T, out []bool, s selection) {
	if s.dense {
		b, out = b[:len(s.rows)], out[:len(s.rows)]
		for i, x := range a[:len(s.rows)] {
			out[i] = x < b[i]
		}
		return
	}
	for _, i := range s.rows {
		out[i] = a[i] < b[i]
	}
}

func lessEqual[T number](a, b []T, out []bool, s selection) {
	if s.dense {
		b, out = b[:len(s.rows)], out[:len(s.rows)]
		for i, x := range a[:len(s.rows)] {
			out[i] = x <= b[i]
		}
		return
	}
	for _, i := range s.rows {
		out[i] = a[i] <= b[i]
	}
}

func equal[T number](a, b []T, out []bool, s selection) {
	if s.dense {
		b, out = b[:len(s.rows)], out[:len(s.rows)]
		for i, x := range a[:len(s.rows)] {
			out[i] = x == b[i]
		}
		return
	}
	for _, i := range s.rows {
		out[i] = a[i] == b[i]
	}
}

func notEqual[T number](a, b []T, out []bool, s selection) {
	if s.dense {
		b, out = b[:len(s.rows)], out[:len(s.rows)]
		for i, x := range a[:len(s.rows)] {
			out[i] = x != b[i]
		}
		return
	}
	for _, i := range s.rows {
		out[i] = a[i] != b[i]
	}
}

func compareInts(o op) kernel {
	return func(_ *machine, s selection, a, b, out *vector) error {
		compareNumbers(o, a.ints, b.ints, out.bools, s)
		return nil
	}
}

func compareFloats(o op) kernel {
	return func(_ *machine, s selection, a, b, out *vector) error {
		compareNumbers(o, a.floats, b.floats, out.bools, s)
		return nil
	}
}

func compareNumbers[T number](o op, a, b []T, out []bool, s selection) {
	switch o {
	case opLt:
		less(a, b, out, s)
	case opLe:
		lessEqual(a, b, out, s)
	case opGt:
		less(b, a, out, s)
	case opGe:
		lessEqual(b, a, out, s)
	case opEq:
		equal(a, b, out, s)
	default:
		notEqual(a, b, out, s)
	}
}

// holds says whether a comparison is true of two values of which the first is smaller (-1), equal (0) or greater (1).
func holds(o op, c int) bool {
	switch o {
	case opLt:
		return c < 0
	case opLe:
		return c <= 0
	case opGt:
		return c > 0
	case opGe:
		return c >= 0
	case opEq:
		return c == 0
	}
	return c != 0
}

// compareMixed compares an integer with a float exactly, as Python does: no rounding of the integer.
func compareMixed(o op) kernel {
	return func(_ *machine, s selection, a, b, out *vector) error {
		for _, i := range s.rows {
			if f := b.floats[i]; f != f {
				out.bools[i] = o == opNe
			} else {
				out.bools[i] = holds(o, compareIntFloat(a.ints[i], f))
			}
		}
		return nil
	}
}

func compareIntFloat(i int64, f float64) int {
	const exact = 1 << 53
	if i >= -exact && i <= exact {
		return order(float64(i), f)
	}
	switch {
	case f >= 1<<63:
		return -1
	case f < -(1 << 63):
		return 1
	}
	whole := math.Trunc(f) // fits an int64 now
	if n := int64(whole); n != i {
		return order(i, n)
	}
	return order(whole, f)
}

func order[T number](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func compareStrings(o op) kernel {
	return func(_ *machine, s selection, a, b, out *vector) error {
		switch o {
		case opEq, opNe:
			for _, i := range s.rows {
				same := a.spans[i].Len == b.spans[i].Len && string(a.at(i)) == string(b.at(i))
				out.bools[i] = same == (o == opEq)
			}
		default:
			for _, i := range s.rows {
				out.bools[i] = holds(o, bytes.Compare(a.at(i), b.at(i)))
			}
		}
		return nil
	}
}

// compareBools orders False before True.
func compareBools(o op) kernel {
	return func(_ *machine, s selection, a, b, out *vector) error {
		for _, i := range s.rows {
			out.bools[i] = holds(o, boolInt(a.bools[i])-boolInt(b.bools[i]))
		}
		return nil
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func notBool(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		out.bools[i] = !a.bools[i]
	}
	return nil
}
