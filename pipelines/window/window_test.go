package window_test

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/window"
)

func assigner(t *testing.T, c physical.WindowConfig) window.Assigner {
	t.Helper()
	a, err := window.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestFixedWindowsFloorTimesBefore1970(t *testing.T) {
	a := assigner(t, physical.WindowConfig{Type: "fixed", Size: time.Hour, Offset: 10 * time.Minute})
	hour, ten := time.Hour.Microseconds(), (10 * time.Minute).Microseconds()
	for _, c := range []struct{ at, start int64 }{
		{ten, ten}, {ten - 1, ten - hour}, {0, ten - hour}, {-1, ten - hour}, {ten - hour, ten - hour},
		{ten - hour - 1, ten - 2*hour}, {5*hour + ten + 7, 5*hour + ten},
	} {
		if got := a.Start(c.at); got != c.start {
			t.Errorf("window of %d starts at %d, want %d", c.at, got, c.start)
		}
		if got := a.MaxTime(c.start); got != c.start+hour-1 {
			t.Errorf("last time of window %d is %d, want %d", c.start, got, c.start+hour-1)
		}
	}
}

func TestGlobalWindowHoldsAllTime(t *testing.T) {
	a := assigner(t, physical.WindowConfig{})
	for _, at := range []int64{column.MinTime, -1, 0, column.MaxTime} {
		if got := a.Assign(at, nil); !slices.Equal(got, []int64{column.MinTime}) {
			t.Errorf("windows of %d are %v", at, got)
		}
	}
	if !a.Global() || a.End(column.MinTime) != column.MaxTime || a.MaxTime(column.MinTime) != column.MaxTime-1 {
		t.Errorf("global window ends at %d", a.End(column.MinTime))
	}
}

// The naive twin computes with big integers, which neither overflow nor round towards zero.
func TestAssignEqualsExactArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		period := rapid.Int64Range(1, 1e12).Draw(t, "period")
		size := period * rapid.Int64Range(1, 4).Draw(t, "times")
		size += rapid.Int64Range(0, period-1).Draw(t, "rest")
		offset := rapid.Int64Range(-1e12, 1e12).Draw(t, "offset")
		at := rapid.OneOf(rapid.Int64Range(-1e16, 1e16), rapid.Int64Range(-10, 10)).Draw(t, "at")
		a, err := window.New(physical.WindowConfig{Type: "sliding", Size: time.Duration(size * 1000), Period: time.Duration(period * 1000), Offset: time.Duration(offset * 1000)})
		if err != nil {
			t.Fatal(err)
		}
		var want []int64
		k := new(big.Int).Div(big.NewInt(at-offset-size), big.NewInt(period)).Int64() - 1
		for ; offset+k*period <= at; k++ {
			if s := offset + k*period; s <= at && at < s+size {
				want = append(want, s)
			}
		}
		got := a.Assign(at, nil)
		if !slices.Equal(got, want) {
			t.Fatalf("windows of %d with size %d, period %d, offset %d are %v, want %v", at, size, period, offset, got, want)
		}
		for _, s := range got {
			if a.End(s) != s+size || a.MaxTime(s) != s+size-1 {
				t.Fatalf("window %d ends at %d", s, a.End(s))
			}
		}
	})
}

func TestBoundsAreClampedToEventTime(t *testing.T) {
	a := assigner(t, physical.WindowConfig{Type: "fixed", Size: time.Hour})
	if s := a.Start(math.MinInt64); s != column.MinTime || a.End(s) <= s {
		t.Errorf("earliest window is [%d, %d)", s, a.End(s))
	}
	if s := a.Start(math.MaxInt64); a.End(s) != column.MaxTime {
		t.Errorf("latest window is [%d, %d)", s, a.End(s))
	}
	s := assigner(t, physical.WindowConfig{Type: "sliding", Size: time.Hour, Period: time.Minute})
	if got := s.Assign(math.MinInt64, nil); len(got) == 0 {
		t.Error("the earliest time has no window")
	}
}

func TestWhatCannotBeAssignedIsRefused(t *testing.T) {
	for want, c := range map[string]physical.WindowConfig{
		"sessions is not supported": {Type: "sessions", Gap: time.Minute},
		"unknown type \"tumbling\"": {Type: "tumbling"},
		"size is 0s":                {Type: "fixed"},
		"period is 0s":              {Type: "sliding", Size: time.Hour},
		"longer than size":          {Type: "sliding", Size: time.Hour, Period: 2 * time.Hour},
	} {
		if _, err := window.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error is %v, want one with %q", c, err, want)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	a, _ := window.New(physical.WindowConfig{Type: "fixed", Size: time.Hour})
	var sum int64
	for i := range b.N {
		sum += a.Start(int64(i) * 1e6)
	}
	_ = sum
}
