package expr

import (
	"math"
	"math/big"
	"math/bits"
)

// Integer kernels run without a branch, gather a sign bit of overflow, and look for the row only where there was one.

func addInts(m *machine, s selection, a, b, out *vector) error {
	var bad int64
	x, y, z := a.ints, b.ints, out.ints
	if s.dense {
		n := len(s.rows)
		x, y, z = x[:n], y[:n], z[:n]
		for i, v := range x {
			c := v + y[i]
			bad |= (v ^ c) & (y[i] ^ c)
			z[i] = c
		}
	} else {
		for _, i := range s.rows {
			c := x[i] + y[i]
			bad |= (x[i] ^ c) & (y[i] ^ c)
			z[i] = c
		}
	}
	if bad >= 0 {
		return nil
	}
	for _, i := range s.rows {
		if c := x[i] + y[i]; (x[i]^c)&(y[i]^c) < 0 {
			return m.fail(i, "%d + %d does not fit 64 bits", x[i], y[i])
		}
	}
	return nil
}

func subInts(m *machine, s selection, a, b, out *vector) error {
	var bad int64
	x, y, z := a.ints, b.ints, out.ints
	if s.dense {
		n := len(s.rows)
		x, y, z = x[:n], y[:n], z[:n]
		for i, v := range x {
			c := v - y[i]
			bad |= (v ^ y[i]) & (v ^ c)
			z[i] = c
		}
	} else {
		for _, i := range s.rows {
			c := x[i] - y[i]
			bad |= (x[i] ^ y[i]) & (x[i] ^ c)
			z[i] = c
		}
	}
	if bad >= 0 {
		return nil
	}
	for _, i := range s.rows {
		if c := x[i] - y[i]; (x[i]^y[i])&(x[i]^c) < 0 {
			return m.fail(i, "%d - %d does not fit 64 bits", x[i], y[i])
		}
	}
	return nil
}

// mulWide is the product and whether it does not fit: the high half must be the sign of the low one.
func mulWide(x, y int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(x), uint64(y))
	high := int64(hi) - (x >> 63 & y) - (y >> 63 & x)
	return int64(lo), high != int64(lo)>>63
}

func mulInts(m *machine, s selection, a, b, out *vector) error {
	bad := false
	for _, i := range s.rows {
		c, over := mulWide(a.ints[i], b.ints[i])
		out.ints[i] = c
		bad = bad || over
	}
	if !bad {
		return nil
	}
	for _, i := range s.rows {
		if _, over := mulWide(a.ints[i], b.ints[i]); over {
			return m.fail(i, "%d * %d does not fit 64 bits", a.ints[i], b.ints[i])
		}
	}
	return nil
}

func addFloats(_ *machine, s selection, a, b, out *vector) error {
	x, y, z := a.floats, b.floats, out.floats
	if s.dense {
		n := len(s.rows)
		y, z = y[:n], z[:n]
		for i, v := range x[:n] {
			z[i] = v + y[i]
		}
		return nil
	}
	for _, i := range s.rows {
		z[i] = x[i] + y[i]
	}
	return nil
}

func subFloats(_ *machine, s selection, a, b, out *vector) error {
	x, y, z := a.floats, b.floats, out.floats
	if s.dense {
		n := len(s.rows)
		y, z = y[:n], z[:n]
		for i, v := range x[:n] {
			z[i] = v - y[i]
		}
		return nil
	}
	for _, i := range s.rows {
		z[i] = x[i] - y[i]
	}
	return nil
}

func mulFloats(_ *machine, s selection, a, b, out *vector) error {
	x, y, z := a.floats, b.floats, out.floats
	if s.dense {
		n := len(s.rows)
		y, z = y[:n], z[:n]
		for i, v := range x[:n] {
			z[i] = v * y[i]
		}
		return nil
	}
	for _, i := range s.rows {
		z[i] = x[i] * y[i]
	}
	return nil
}

func divFloats(m *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		if b.floats[i] == 0 {
			return m.fail(i, "%s / 0: division by zero", formatFloat(a.floats[i]))
		}
		out.floats[i] = a.floats[i] / b.floats[i]
	}
	return nil
}

// divInts is true division, rounded once as Python rounds it: beyond 2^53 the operands are not rounded first.
func divInts(m *machine, s selection, a, b, out *vector) error {
	const exact = 1 << 53
	for _, i := range s.rows {
		x, y := a.ints[i], b.ints[i]
		switch {
		case y == 0:
			return m.fail(i, "%d / 0: division by zero", x)
		case x >= -exact && x <= exact && y >= -exact && y <= exact:
			out.floats[i] = float64(x) / float64(y)
		default:
			out.floats[i], _ = new(big.Rat).SetFrac(big.NewInt(x), big.NewInt(y)).Float64()
		}
		if x == 0 {
			out.floats[i] = 0 // never -0, as an integer has no sign of zero
		}
	}
	return nil
}

func floorDivInts(m *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		x, y := a.ints[i], b.ints[i]
		switch {
		case y == 0:
			return m.fail(i, "%d // 0: division by zero", x)
		case y == -1 && x == math.MinInt64:
			return m.fail(i, "%d // -1 does not fit 64 bits", x)
		}
		q := x / y
		if r := x % y; r != 0 && (r < 0) != (y < 0) {
			q--
		}
		out.ints[i] = q
	}
	return nil
}

func modInts(m *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		x, y := a.ints[i], b.ints[i]
		if y == 0 {
			return m.fail(i, "%d %% 0: division by zero", x)
		}
		r := x % y
		if r != 0 && (r < 0) != (y < 0) {
			r += y
		}
		out.ints[i] = r
	}
	return nil
}

// floorDivMod follows CPython's float_divmod: the remainder has the divisor's sign.
func floorDivMod(x, y float64) (div, mod float64) {
	mod = math.Mod(x, y)
	div = (x - mod) / y
	if mod != 0 {
		if (y < 0) != (mod < 0) {
			mod += y
			div--
		}
	} else {
		mod = math.Copysign(0, y)
	}
	if div == 0 {
		return math.Copysign(0, x/y), mod
	}
	floor := math.Floor(div)
	if div-floor > 0.5 {
		floor++
	}
	return floor, mod
}

func floorDivFloats(m *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		if b.floats[i] == 0 {
			return m.fail(i, "%s // 0: division by zero", formatFloat(a.floats[i]))
		}
		out.floats[i], _ = floorDivMod(a.floats[i], b.floats[i])
	}
	return nil
}

func modFloats(m *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		if b.floats[i] == 0 {
			return m.fail(i, "%s %% 0: division by zero", formatFloat(a.floats[i]))
		}
		_, out.floats[i] = floorDivMod(a.floats[i], b.floats[i])
	}
	return nil
}

func powInts(m *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		x, y := a.ints[i], b.ints[i]
		if y < 0 {
			return m.fail(i, "%d ** %d is no integer; write float(x) ** y", x, y)
		}
		v, over := power(x, y)
		if over {
			return m.fail(i, "%d ** %d does not fit 64 bits", x, y)
		}
		out.ints[i] = v
	}
	return nil
}

// power squares; y is not negative.
func power(x, y int64) (int64, bool) {
	v, over := int64(1), false
	for y > 0 {
		if y&1 == 1 {
			if v, over = mulWide(v, x); over {
				return 0, true
			}
		}
		if y >>= 1; y > 0 {
			if x, over = mulWide(x, x); over {
				return 0, true
			}
		}
	}
	return v, false
}

func powFloats(m *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		x, y := a.floats[i], b.floats[i]
		v := math.Pow(x, y)
		switch {
		case x == 0 && y < 0:
			return m.fail(i, "0 ** %s: zero to a negative power", formatFloat(y))
		case v != v && x == x && y == y:
			return m.fail(i, "%s ** %s is no real number", formatFloat(x), formatFloat(y))
		case math.IsInf(v, 0) && !math.IsInf(x, 0) && !math.IsInf(y, 0):
			return m.fail(i, "%s ** %s is too large for a float", formatFloat(x), formatFloat(y))
		}
		out.floats[i] = v
	}
	return nil
}

func negInts(m *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		if a.ints[i] == math.MinInt64 {
			return m.fail(i, "-(%d) does not fit 64 bits", a.ints[i])
		}
		out.ints[i] = -a.ints[i]
	}
	return nil
}

func negFloats(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		out.floats[i] = -a.floats[i]
	}
	return nil
}

func absInts(m *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		v := a.ints[i]
		if v == math.MinInt64 {
			return m.fail(i, "abs(%d) does not fit 64 bits", v)
		}
		out.ints[i] = max(v, -v)
	}
	return nil
}

func absFloats(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		out.floats[i] = math.Abs(a.floats[i])
	}
	return nil
}

// choose is Python's min (o is opLt) or max (opGt) of two: the first wins a tie and stays beside a NaN.
func chooseInts(o op) kernel {
	return func(_ *machine, s selection, a, b, out *vector) error {
		chooseNumbers(o, a.ints, b.ints, out.ints, s)
		return nil
	}
}

func chooseFloats(o op) kernel {
	return func(_ *machine, s selection, a, b, out *vector) error {
		chooseNumbers(o, a.floats, b.floats, out.floats, s)
		return nil
	}
}

func chooseNumbers[T number](o op, a, b, out []T, s selection) {
	for _, i := range s.rows {
		x, y := a[i], b[i]
		if o == opLt && y < x || o == opGt && y > x {
			x = y
		}
		out[i] = x
	}
}
