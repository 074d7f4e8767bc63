package resources

import (
	"fmt"
	"strconv"
	"strings"
)

// maxWhole keeps a parsed amount, and sums of many of them, far from the end of int64.
const maxWhole = 1 << 40

// Whole is n whole units: Whole(2) of cpus is two processors, Whole(512) of mem is 512 MiB.
func Whole(n int64) Milli { return Milli(n * 1000) }

// Float is the amount in units, for shares and for people; never for arithmetic that must be exact.
func (m Milli) Float() float64 { return float64(m) / 1000 }

// Ceil is the amount in whole units, rounded up.
func (m Milli) Ceil() int64 {
	if m > 0 {
		return int64((m + 999) / 1000)
	}
	return int64(m / 1000)
}

// String prints units with as many decimals as there are: 0.2, 8192, 1.375.
func (m Milli) String() string {
	sign, n := "", int64(m)
	if n < 0 {
		sign, n = "-", -n
	}
	text := sign + strconv.FormatInt(n/1000, 10)
	if rest := n % 1000; rest != 0 {
		text += "." + strings.TrimRight(fmt.Sprintf("%03d", rest), "0")
	}
	return text
}

// ParseMilli reads what String prints. More than three decimals are refused, not rounded.
func ParseMilli(s string) (Milli, error) {
	whole, fraction, dotted := strings.Cut(s, ".")
	n, err := strconv.ParseUint(whole, 10, 64)
	if err != nil || n > maxWhole {
		return 0, fmt.Errorf("read amount %.40q: not a number from 0 to %d", s, int64(maxWhole))
	}
	if !dotted {
		return Whole(int64(n)), nil
	}
	if len(fraction) == 0 || len(fraction) > 3 {
		return 0, fmt.Errorf("read amount %.40q: it has %d decimals, not 1 to 3", s, len(fraction))
	}
	f, err := strconv.ParseUint(fraction+strings.Repeat("0", 3-len(fraction)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read amount %.40q: its decimals are no number", s)
	}
	return Whole(int64(n)) + Milli(f), nil
}
