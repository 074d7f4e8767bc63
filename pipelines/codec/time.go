package codec

import "github.com/weir-project/weir/pipelines/column"

const (
	microsPerSecond = 1_000_000
	secondsPerDay   = 86_400
)

// AppendTime writes a time as RFC 3339 in UTC, with six decimals where it has a fraction of a second. Years outside 0 … 9999 get a sign and
// six digits, as ISO 8601 lets partners agree.
func AppendTime(dst []byte, t column.Time) []byte {
	seconds, micros := floorDiv(t, microsPerSecond)
	days, rest := floorDiv(seconds, secondsPerDay)
	year, month, day := civil(days)
	switch {
	case year < 0:
		dst = appendDigits(append(dst, '-'), -year, 6)
	case year > 9999:
		dst = appendDigits(append(dst, '+'), year, 6)
	default:
		dst = appendDigits(dst, year, 4)
	}
	dst = appendDigits(append(dst, '-'), month, 2)
	dst = appendDigits(append(dst, '-'), day, 2)
	dst = appendDigits(append(dst, 'T'), rest/3600, 2)
	dst = appendDigits(append(dst, ':'), rest/60%60, 2)
	dst = appendDigits(append(dst, ':'), rest%60, 2)
	if micros != 0 {
		dst = appendDigits(append(dst, '.'), micros, 6)
	}
	return append(dst, 'Z')
}

func floorDiv(a, b int64) (quotient, rest int64) {
	quotient, rest = a/b, a%b
	if rest < 0 {
		quotient, rest = quotient-1, rest+b
	}
	return quotient, rest
}

func appendDigits(dst []byte, v int64, n int) []byte {
	start := len(dst)
	for range n {
		dst = append(dst, '0')
	}
	for i := start + n - 1; i >= start; i-- {
		dst[i] += byte(v % 10)
		v /= 10
	}
	return dst
}

// civil is the proleptic Gregorian date of a day since 1970-01-01 (Howard Hinnant's days_from_civil and its inverse): the year begins in
// March, so that the leap day is its last.
func civil(days int64) (year, month, day int64) {
	era, doe := floorDiv(days+719_468, 146_097)
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = doy - (153*mp+2)/5 + 1
	month = mp + 3
	if month > 12 {
		month -= 12
	}
	year = yoe + era*400
	if month <= 2 {
		year++
	}
	return year, month, day
}

func daysOf(year, month, day int64) int64 {
	if month <= 2 {
		year--
	}
	era, yoe := floorDiv(year, 400)
	mp := (month + 9) % 12
	doy := (153*mp+2)/5 + day - 1
	return era*146_097 + yoe*365 + yoe/4 - yoe/100 + doy - 719_468
}

// ParseTime reads what AppendTime writes, and any RFC 3339 time: another zone, no zone (UTC), a space for the T, a date alone. Decimals beyond
// microseconds are cut off.
func ParseTime(text []byte) (column.Time, bool) {
	s := timeScanner{b: text, ok: true}
	sign, digits := int64(1), 4
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		if text[0] == '-' {
			sign = -1
		}
		s.b, digits = text[1:], 6
	}
	year := sign * s.digits(digits)
	s.one("-")
	month := s.digits(2)
	s.one("-")
	day := s.digits(2)
	var clock, micros int64
	if s.ok && len(s.b) > 0 {
		clock, micros = s.clock()
	}
	if !s.ok || len(s.b) > 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, false
	}
	seconds := daysOf(year, month, day)*secondsPerDay + clock
	// Only the expanded years reach the ends of 64 bits.
	if seconds > column.MaxTime/microsPerSecond || seconds < column.MinTime/microsPerSecond-1 {
		return 0, false
	}
	t := (seconds+1)*microsPerSecond - (microsPerSecond - micros)
	if seconds >= 0 {
		t = seconds*microsPerSecond + micros
	}
	return t, (t >= 0) == (seconds >= 0)
}

func daysIn(year, month int64) int64 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

type timeScanner struct {
	b  []byte
	ok bool
}

func (s *timeScanner) digits(n int) int64 {
	if len(s.b) < n {
		s.ok = false
		return 0
	}
	v := int64(0)
	for _, c := range s.b[:n] {
		if c < '0' || c > '9' {
			s.ok = false
			return 0
		}
		v = v*10 + int64(c-'0')
	}
	s.b = s.b[n:]
	return v
}

// one takes one of the bytes of set.
func (s *timeScanner) one(set string) byte {
	if len(s.b) > 0 {
		for i := 0; i < len(set); i++ {
			if s.b[0] == set[i] {
				s.b = s.b[1:]
				return set[i]
			}
		}
	}
	s.ok = false
	return 0
}

// clock reads the time of day and the zone: seconds since midnight UTC, which may be negative, and microseconds.
func (s *timeScanner) clock() (seconds, micros int64) {
	s.one("Tt ")
	h := s.digits(2)
	s.one(":")
	m := s.digits(2)
	s.one(":")
	sec := s.digits(2)
	if h > 23 || m > 59 || sec > 59 {
		s.ok = false
	}
	if s.ok && len(s.b) > 0 && s.b[0] == '.' {
		micros = s.fraction()
	}
	return h*3600 + m*60 + sec - s.zone(), micros
}

func (s *timeScanner) fraction() int64 {
	s.b = s.b[1:]
	v, n := int64(0), 0
	for ; len(s.b) > 0 && s.b[0] >= '0' && s.b[0] <= '9'; s.b = s.b[1:] {
		if n < 6 {
			v = v*10 + int64(s.b[0]-'0')
		}
		n++
	}
	s.ok = s.ok && n > 0
	for ; n < 6; n++ {
		v *= 10
	}
	return v
}

func (s *timeScanner) zone() int64 {
	if !s.ok || len(s.b) == 0 {
		return 0
	}
	c := s.one("Zz+-")
	if c != '+' && c != '-' {
		return 0
	}
	h := s.digits(2)
	s.one(":")
	m := s.digits(2)
	if h > 23 || m > 59 {
		s.ok = false
	}
	if c == '-' {
		return -(h*3600 + m*60)
	}
	return h*3600 + m*60
}
