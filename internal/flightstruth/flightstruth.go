package flightstruth

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"
)

// LateAfter is the delay in minutes above which a flight counts as very late.
const LateAfter = 120

const header = "date,time,delay,distance,origin,destination"

// Flight is one row. The column date says the same as Time and is left out here, as in the pipeline's schema.
type Flight struct {
	Time        int64  `json:"time"`     // seconds since 1970, UTC
	Delay       int64  `json:"delay"`    // minutes; negative is early
	Distance    int64  `json:"distance"` // miles
	Origin      string `json:"origin"`
	Destination string `json:"destination"`
}

// OriginHour names an airport and the start of an hour in seconds since 1970.
type OriginHour struct {
	Origin string
	Hour   int64
}

// OriginDay names an airport and the start of a day (UTC) in seconds since 1970.
type OriginDay struct {
	Origin string
	Day    int64
}

// Agg sums up the flights of an airport in an hour; delays are in minutes.
type Agg struct {
	Flights, DelaySum, DelayMax int64
}

// DayAgg sums up the flights of an airport on a day. Mean is DelaySum / Flights.
type DayAgg struct {
	Flights, DelaySum int64
	Mean              float64
}

// Airport is a line of the table of the worst airports.
type Airport struct {
	Origin  string
	Flights int64
	Mean    float64 // minutes of delay a flight, over the whole week
}

// Truth is what there is to know about the file.
type Truth struct {
	Rows   int
	Hourly map[OriginHour]Agg
	Late   []Flight // delayed by more than LateAfter, in the order of the file
	Daily  map[OriginDay]DayAgg
}

// Compute reads a gzipped CSV to its end. It fails on a wrong header, on a field that is not what its column holds, and where date
// and time disagree, always with the line.
func Compute(r io.Reader) (Truth, error) {
	plain, err := gzip.NewReader(r)
	if err != nil {
		return Truth{}, fmt.Errorf("unpack the flights: %w", err)
	}
	rows := csv.NewReader(plain)
	rows.ReuseRecord = true
	head, err := rows.Read()
	if err != nil {
		return Truth{}, fmt.Errorf("read the header of the flights: %w", err)
	}
	if got := strings.Join(head, ","); got != header {
		return Truth{}, fmt.Errorf("read the flights: the header is %q, expected %q", got, header)
	}
	t := Truth{Hourly: map[OriginHour]Agg{}, Daily: map[OriginDay]DayAgg{}}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return Truth{}, fmt.Errorf("read the flights: %w", err)
		}
		f, err := parse(row)
		if err != nil {
			line, _ := rows.FieldPos(0)
			return Truth{}, fmt.Errorf("read the flights, line %d: %w", line, err)
		}
		t.add(f)
	}
}

func (t *Truth) add(f Flight) {
	t.Rows++

	hour := OriginHour{f.Origin, f.Time - f.Time%3600}
	h, seen := t.Hourly[hour]
	if !seen || f.Delay > h.DelayMax { // a maximum may be negative: zero is no start for it
		h.DelayMax = f.Delay
	}
	h.Flights++
	h.DelaySum += f.Delay
	t.Hourly[hour] = h

	day := OriginDay{f.Origin, f.Time - f.Time%86400}
	d := t.Daily[day]
	d.Flights++
	d.DelaySum += f.Delay
	d.Mean = float64(d.DelaySum) / float64(d.Flights)
	t.Daily[day] = d

	if f.Delay > LateAfter {
		t.Late = append(t.Late, f)
	}
}

// Worst lists the n airports with the highest mean delay over all rows, the highest first; equals stand in the order of their names.
func (t Truth) Worst(n int) []Airport {
	type sum struct{ flights, delay int64 }
	sums := map[string]sum{}
	for at, a := range t.Hourly {
		s := sums[at.Origin]
		sums[at.Origin] = sum{s.flights + a.Flights, s.delay + a.DelaySum}
	}
	var all []Airport
	for origin, s := range sums {
		all = append(all, Airport{origin, s.flights, float64(s.delay) / float64(s.flights)})
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].Mean != all[j].Mean {
			return all[i].Mean > all[j].Mean
		}
		return all[i].Origin < all[j].Origin
	})
	return all[:min(n, len(all))]
}

func parse(row []string) (Flight, error) {
	f := Flight{Origin: strings.Clone(row[4]), Destination: strings.Clone(row[5])}
	for i, into := range []*int64{&f.Time, &f.Delay, &f.Distance} {
		n, err := strconv.ParseInt(row[i+1], 10, 64)
		if err != nil {
			return Flight{}, fmt.Errorf("column %d: %w", i+2, err)
		}
		*into = n
	}
	date, err := time.Parse("2006-01-02T15:04:05", row[0])
	if err != nil {
		return Flight{}, fmt.Errorf("column 1: %w", err)
	}
	if date.Unix() != f.Time {
		return Flight{}, fmt.Errorf("date %s is %d, but time says %d", row[0], date.Unix(), f.Time)
	}
	return f, nil
}
