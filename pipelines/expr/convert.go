package expr

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unsafe"
)

func intsToFloats(_ *machine, s selection, a, _, out *vector) error {
	if s.dense {
		n := len(s.rows)
		z := out.floats[:n]
		for i, v := range a.ints[:n] {
			z[i] = float64(v)
		}
		return nil
	}
	for _, i := range s.rows {
		out.floats[i] = float64(a.ints[i])
	}
	return nil
}

// toInt is f as an integer; f is whole. 2^63 is the first float that does not fit.
func (m *machine) toInt(row int32, f float64, what string, given float64) (int64, error) {
	if f != f || f < -(1<<63) || f >= 1<<63 {
		return 0, m.fail(row, "%s(%s) is no 64-bit integer", what, formatFloat(given))
	}
	return int64(f), nil
}

func floatsToInts(m *machine, s selection, a, _, out *vector) (err error) {
	for _, i := range s.rows {
		if out.ints[i], err = m.toInt(i, math.Trunc(a.floats[i]), "int", a.floats[i]); err != nil {
			return err
		}
	}
	return nil
}

// roundFloats rounds halves to even, as Python does.
func roundFloats(m *machine, s selection, a, _, out *vector) (err error) {
	for _, i := range s.rows {
		if out.ints[i], err = m.toInt(i, math.RoundToEven(a.floats[i]), "round", a.floats[i]); err != nil {
			return err
		}
	}
	return nil
}

// roundFloatsTo rounds to digits decimals through the exact decimal value, so that round(2.675, 2) is 2.67 as in Python.
func roundFloatsTo(digits int) kernel {
	var text []byte
	return func(_ *machine, s selection, a, _, out *vector) error {
		for _, i := range s.rows {
			f := a.floats[i]
			if f != f || math.IsInf(f, 0) {
				out.floats[i] = f
				continue
			}
			text = strconv.AppendFloat(text[:0], f, 'f', digits, 64)
			v, err := strconv.ParseFloat(view(text), 64)
			if err != nil { // it was just printed from a finite float
				v = f
			}
			out.floats[i] = v
		}
		return nil
	}
}

// roundIntsTo rounds to a power of ten, halves to even.
func roundIntsTo(digits int) kernel {
	unit, over := power(10, int64(-digits))
	return func(m *machine, s selection, a, _, out *vector) error {
		for _, i := range s.rows {
			v := a.ints[i]
			if over { // every integer is nearer to 0 than to 10^19, but for half of it: 9.2e18 > 5e18
				if digits == -19 && (v > 5e18 || v < -5e18) {
					return m.fail(i, "round(%d, %d) does not fit 64 bits", v, digits)
				}
				out.ints[i] = 0
				continue
			}
			q, r := v/unit, v%unit
			if r < 0 {
				q, r = q-1, r+unit
			}
			if r > unit-r || r == unit-r && q&1 == 1 {
				q++
			}
			rounded, tooBig := mulWide(q, unit)
			if tooBig {
				return m.fail(i, "round(%d, %d) does not fit 64 bits", v, digits)
			}
			out.ints[i] = rounded
		}
		return nil
	}
}

func boolsToInts(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		out.ints[i] = int64(boolInt(a.bools[i]))
	}
	return nil
}

// view is b as a string for a call that does not keep it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// digitsOf takes white space and single underscores between digits away, as Python's int() and float() do; "" is no number.
func digitsOf(b []byte) string {
	b = bytes.TrimFunc(b, isSpace)
	if bytes.IndexByte(b, '_') < 0 {
		return view(b)
	}
	for i, c := range b {
		if c == '_' && (i == 0 || i == len(b)-1 || !isDigit(b[i-1]) || !isDigit(b[i+1])) {
			return ""
		}
	}
	return strings.ReplaceAll(string(b), "_", "")
}

func stringsToInts(m *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		v, err := strconv.ParseInt(digitsOf(a.at(i)), 10, 64)
		if err != nil {
			return m.fail(i, "int(%.80q): no 64-bit integer", a.at(i))
		}
		out.ints[i] = v
	}
	return nil
}

func stringsToFloats(m *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		text := digitsOf(a.at(i))
		v, err := strconv.ParseFloat(text, 64)
		overflow := err != nil && math.IsInf(v, 0) // Python reads 1e999 as inf
		if err != nil && !overflow || strings.ContainsAny(text, "xXpP") {
			return m.fail(i, "float(%.80q): no number", a.at(i))
		}
		out.floats[i] = v
	}
	return nil
}

func intsToStrings(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		off := len(out.buf)
		out.buf = strconv.AppendInt(out.buf, a.ints[i], 10)
		out.put(i, off)
	}
	return nil
}

func floatsToStrings(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		off := len(out.buf)
		out.buf = appendFloat(out.buf, a.floats[i])
		out.put(i, off)
	}
	return nil
}

func boolsToStrings(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		off := len(out.buf)
		if a.bools[i] {
			out.buf = append(out.buf, "True"...)
		} else {
			out.buf = append(out.buf, "False"...)
		}
		out.put(i, off)
	}
	return nil
}

// appendFloat is Python's repr: shortest digits, an exponent below 1e-4 and from 1e16 on, and never without point or exponent.
func appendFloat(b []byte, f float64) []byte {
	switch {
	case f != f:
		return append(b, "nan"...)
	case math.IsInf(f, 1):
		return append(b, "inf"...)
	case math.IsInf(f, -1):
		return append(b, "-inf"...)
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if bytes.IndexByte(b[start:], '.') < 0 {
		b = append(b, ".0"...)
	}
	return b
}

func formatFloat(f float64) string { return string(appendFloat(nil, f)) }
