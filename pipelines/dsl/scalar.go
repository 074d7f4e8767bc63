package dsl

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The implicit types of YAML 1.1 as PyYAML's SafeLoader resolves them (measured). Note what is
// no number: 1e3 and 1.5e3 (a float needs a dot and a signed exponent), 0o10, and y, n as booleans.
var (
	yaml11Bool  = regexp.MustCompile(`^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$`)
	yaml11Null  = regexp.MustCompile(`^(?:~|null|Null|NULL|)$`)
	yaml11Int   = regexp.MustCompile(`^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	yaml11Float = regexp.MustCompile(`^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|` +
		`[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	yaml11Date = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	yaml11Time = regexp.MustCompile(`^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[Tt]|[ \t]+)([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]*))?` +
		`(?:[ \t]*(Z|([-+])([0-9]{1,2})(?::([0-9]{2}))?))?$`)
)

// resolve gives a plain scalar its type and value. The error is about a value of its type that cannot be held.
func resolve(v *Value) error {
	s := v.Text
	switch {
	case yaml11Null.MatchString(s):
		v.Kind = Null
	case yaml11Bool.MatchString(s):
		v.Kind, v.Bool = Bool, strings.Contains("yes true on", strings.ToLower(s))
	case yaml11Int.MatchString(s):
		n, err := parseInt(s)
		if err != nil {
			return err
		}
		v.Kind, v.Int = Int, n
	case yaml11Float.MatchString(s):
		f, err := parseFloat(s)
		if err != nil {
			return err
		}
		v.Kind, v.Float = Float, f
	case yaml11Date.MatchString(s):
		t, err := time.Parse("2006-01-02", s)
		if err != nil {
			return fmt.Errorf("%s is no date of the calendar", s)
		}
		v.Kind, v.Time = Date, t
	case yaml11Time.MatchString(s):
		t, err := parseTime(s)
		if err != nil {
			return err
		}
		v.Kind, v.Time = Time, t
	case s == "=":
		return fmt.Errorf("a lone = is YAML 1.1's value type, which Beam refuses")
	default:
		v.Kind = String
	}
	return nil
}

// parseInt reads what yaml11Int matches: 0b10, 010 (octal), 0x1F, 1_000, 1:30 (base 60).
func parseInt(s string) (int64, error) {
	text := strings.ReplaceAll(s, "_", "")
	sign := ""
	if text != "" && (text[0] == '-' || text[0] == '+') {
		sign, text = strings.TrimPrefix(text[:1], "+"), text[1:]
	}
	var n int64
	var err error
	switch {
	case text == "0":
	case strings.HasPrefix(text, "0b"):
		n, err = strconv.ParseInt(sign+text[2:], 2, 64)
	case strings.HasPrefix(text, "0x"):
		n, err = strconv.ParseInt(sign+text[2:], 16, 64)
	case strings.HasPrefix(text, "0"):
		n, err = strconv.ParseInt(sign+text, 8, 64)
	case strings.Contains(text, ":"):
		n, err = base60(text)
		if sign == "-" {
			n = -n
		}
	default:
		n, err = strconv.ParseInt(sign+text, 10, 64)
	}
	if err != nil {
		return 0, fmt.Errorf("the integer %s does not fit into 64 bits", s)
	}
	return n, nil
}

func base60(text string) (int64, error) {
	var n int64
	for _, part := range strings.Split(text, ":") {
		d, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n > (math.MaxInt64-d)/60 {
			return 0, fmt.Errorf("%s overflows", text)
		}
		n = n*60 + d
	}
	return n, nil
}

func parseFloat(s string) (float64, error) {
	text := strings.ToLower(strings.ReplaceAll(s, "_", ""))
	switch strings.TrimLeft(text, "+-") {
	case ".inf":
		return math.Inf(map[bool]int{true: -1, false: 1}[text[0] == '-']), nil
	case ".nan":
		return math.NaN(), nil
	}
	if !strings.Contains(text, ":") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, fmt.Errorf("the number %s does not fit into 64 bits", s)
		}
		return f, nil
	}
	sign := 1.0
	if text[0] == '-' {
		sign = -1
	}
	f := 0.0
	for _, part := range strings.Split(strings.TrimLeft(text, "+-"), ":") {
		d, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return 0, fmt.Errorf("the number %s has a part %q that is none", s, part)
		}
		f = f*60 + d
	}
	return sign * f, nil
}

// parseTime reads what yaml11Time matches; without a zone it is UTC, as Beam takes it.
func parseTime(s string) (time.Time, error) {
	m := yaml11Time.FindStringSubmatch(s)
	n := func(i int) int {
		d, err := strconv.Atoi(m[i])
		if err != nil {
			return 0 // only an absent group, since the pattern holds digits there
		}
		return d
	}
	fraction := (m[7] + "000000000")[:9]
	nanos, err := strconv.Atoi(fraction)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s has a fraction %q that is no number", s, m[7])
	}
	zone := time.UTC
	if m[9] != "" {
		offset := n(10)*3600 + n(11)*60
		if m[9] == "-" {
			offset = -offset
		}
		zone = time.FixedZone("", offset)
	}
	t := time.Date(n(1), time.Month(n(2)), n(3), n(4), n(5), n(6), nanos, zone)
	if t.Month() != time.Month(n(2)) || t.Day() != n(3) || n(4) > 23 || n(5) > 59 || n(6) > 59 {
		return time.Time{}, fmt.Errorf("%s is no time of the calendar", s)
	}
	return t.UTC(), nil
}
