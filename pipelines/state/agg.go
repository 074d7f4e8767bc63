package state

import (
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
)

// Agg is one aggregate. Nulls do not count, except in a count. In is the kind of the values: integers, numbers and timestamps for sum
// (not of timestamps), min, max and mean, booleans for any and all. A count needs none (Invalid). Out is the kind of the result; a sum, min
// or max of integers may be asked for as a number.
type Agg struct {
	Fn  string // count, sum, min, max, mean, any, all
	In  column.Kind
	Out column.Kind
}

type fn uint8

const (
	fnCount fn = iota
	fnSum
	fnMin
	fnMax
	fnMean
	fnAny
	fnAll
)

var fns = map[string]fn{"count": fnCount, "sum": fnSum, "min": fnMin, "max": fnMax, "mean": fnMean, "any": fnAny, "all": fnAll}

// accumulator holds one aggregate of all entries: n counts the values that were not null, and the rest is in ints or floats.
type accumulator struct {
	Agg
	fn     fn
	n      []int64
	ints   []int64
	floats []float64
}

func newAccumulator(a Agg) (accumulator, error) {
	f, ok := fns[a.Fn]
	if !ok {
		return accumulator{}, fmt.Errorf("combine: unknown aggregate %q (count, sum, min, max, mean, any, all)", a.Fn)
	}
	in := a.In
	takes, gives := false, false
	switch f {
	case fnCount:
		takes, gives = true, a.Out == column.Int64
	case fnSum:
		takes = in == column.Int64 || in == column.Float64
		gives = a.Out == in || a.Out == column.Float64
	case fnMin, fnMax:
		takes = in == column.Int64 || in == column.Float64 || in == column.Timestamp
		gives = a.Out == in || in == column.Int64 && a.Out == column.Float64
	case fnMean:
		takes, gives = in == column.Int64 || in == column.Float64, a.Out == column.Float64
	case fnAny, fnAll:
		takes, gives = in == column.Bool, a.Out == column.Bool
	}
	if !takes || !gives {
		return accumulator{}, fmt.Errorf("combine: %s cannot make a value of type %s from values of type %s", a.Fn, a.Out, a.In)
	}
	return accumulator{Agg: a, fn: f}, nil
}

func (a *accumulator) isFloat() bool { return a.In == column.Float64 }

// hasValue reports whether there is more to it than n.
func (a *accumulator) hasValue() bool { return a.fn != fnCount }

func (a *accumulator) grow() {
	a.n = append(a.n, 0)
	if !a.hasValue() {
		return
	}
	if a.isFloat() {
		a.floats = append(a.floats, 0)
	} else {
		a.ints = append(a.ints, 0)
	}
}

func (a *accumulator) reset(id int32) {
	a.n[id] = 0
	if !a.hasValue() {
		return
	}
	if a.isFloat() {
		a.floats[id] = 0
	} else {
		a.ints[id] = 0
	}
}

// add takes the value of rows[k] into entry ids[k].
func (a *accumulator) add(ids, rows []int32, v *column.Column) error {
	if a.fn == fnCount {
		for _, id := range ids {
			a.n[id]++
		}
		return nil
	}
	if v == nil || v.Kind != a.In {
		return fmt.Errorf("combine: %s of values of type %s was given others", a.Fn, a.In)
	}
	if len(v.Null) > 0 {
		return a.addNullable(ids, rows, v)
	}
	switch {
	case a.fn == fnSum && !a.isFloat():
		return a.sumInts(ids, rows, v.Ints)
	case a.isFloat():
		for k, id := range ids {
			a.addFloat(id, v.Floats[rows[k]])
		}
	case a.In == column.Bool:
		for k, id := range ids {
			a.addBool(id, v.Bools[rows[k]])
		}
	default:
		for k, id := range ids {
			if err := a.addInt(id, v.Ints[rows[k]]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *accumulator) addNullable(ids, rows []int32, v *column.Column) error {
	for k, id := range ids {
		row := int(rows[k])
		if v.Null[row] {
			continue
		}
		switch {
		case a.isFloat():
			a.addFloat(id, v.Floats[row])
		case a.In == column.Bool:
			a.addBool(id, v.Bools[row])
		default:
			if err := a.addInt(id, v.Ints[row]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *accumulator) sumInts(ids, rows []int32, v []int64) error {
	var over int64
	for k, id := range ids {
		x, y := a.ints[id], v[rows[k]]
		s := x + y
		over |= (x ^ s) & (y ^ s) // negative where the sign is wrong
		a.ints[id] = s
		a.n[id]++
	}
	if over < 0 {
		return a.overflow()
	}
	return nil
}

func (a *accumulator) overflow() error {
	return fmt.Errorf("combine: %s of integers went beyond 64 bits; make the value a number", a.Fn)
}

func (a *accumulator) addInt(id int32, v int64) error {
	x, first := a.ints[id], a.n[id] == 0
	a.n[id]++
	switch a.fn {
	case fnMin:
		if first || v < x {
			a.ints[id] = v
		}
	case fnMax:
		if first || v > x {
			a.ints[id] = v
		}
	default: // sum and mean
		s := x + v
		if (x^s)&(v^s) < 0 {
			return a.overflow()
		}
		a.ints[id] = s
	}
	return nil
}

func (a *accumulator) addFloat(id int32, v float64) {
	x, first := a.floats[id], a.n[id] == 0
	a.n[id]++
	switch {
	case a.fn == fnMin && (first || v < x || v != v), a.fn == fnMax && (first || v > x || v != v):
		a.floats[id] = v
	case a.fn == fnSum, a.fn == fnMean:
		a.floats[id] = x + v
	}
}

func (a *accumulator) addBool(id int32, v bool) {
	a.n[id]++
	if v {
		a.ints[id]++ // how many were true
	}
}

// result appends the entry's result. Without any value that was not null a sum is 0, any is false, all is true, and the others are null.
func (a *accumulator) result(id int32, out *column.Column) {
	n := a.n[id]
	switch {
	case a.fn == fnCount:
		out.AppendInt(n)
	case a.fn == fnAny:
		out.AppendBool(a.ints[id] > 0)
	case a.fn == fnAll:
		out.AppendBool(a.ints[id] == n)
	case n == 0 && a.fn != fnSum:
		out.AppendNull()
	case a.fn == fnMean && a.isFloat():
		out.AppendFloat(a.floats[id] / float64(n))
	case a.fn == fnMean:
		out.AppendFloat(ratio(a.ints[id], n))
	case a.isFloat():
		out.AppendFloat(a.floats[id])
	case a.Out == column.Float64:
		out.AppendFloat(float64(a.ints[id]))
	default:
		out.AppendInt(a.ints[id])
	}
}

// ratio keeps the digits of a sum beyond 2^53, which a float cannot hold.
func ratio(sum, n int64) float64 {
	if sum > -(1<<53) && sum < 1<<53 {
		return float64(sum) / float64(n)
	}
	return float64(sum/n) + float64(sum%n)/float64(n)
}
