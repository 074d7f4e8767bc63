package dsl

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

var durationForm = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|m|h|d)?\s*$`)

var units = map[string]time.Duration{"ms": time.Millisecond, "": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour,
	// Beam 2.77 takes a day as 12 hours (a bug); a day is 24 here.
	"d": 24 * time.Hour}

// ParseDuration reads Beam YAML's durations: a number and ms, s, m, h or d, seconds where no unit is given. Event time has
// microseconds, so anything finer is an error.
func ParseDuration(v *Value) (time.Duration, error) {
	text := v.Text
	if v.Kind == Int { // 010, 1_000 and 1:30 are YAML's numbers too
		text = strconv.FormatInt(v.Int, 10)
	}
	m := durationForm.FindStringSubmatch(text)
	if !v.Scalar() || m == nil {
		return 0, fmt.Errorf("%q is no duration: a number and ms, s, m, h or d is expected", v.Text)
	}
	number := m[1]
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number: %w", number, err)
	}
	d := f * float64(units[m[2]])
	if d > float64(math.MaxInt64/2) {
		return 0, fmt.Errorf("%q is longer than 146 years", v.Text)
	}
	out := time.Duration(math.Round(d))
	if out%time.Microsecond != 0 {
		return 0, fmt.Errorf("%q is finer than a microsecond", v.Text)
	}
	return out, nil
}
