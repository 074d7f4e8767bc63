package flightstruth

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

const file = "../../stacks/catalog/flights/data/flights-2001-01.csv.gz"

func bundled(t *testing.T) Truth {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	truth, err := Compute(f)
	if err != nil {
		t.Fatal(err)
	}
	return truth
}

// The expected numbers were computed by another program (Python over the unpacked text).
func TestTheBundledFileHasThePinnedTotals(t *testing.T) {
	truth := bundled(t)
	origins := map[string]bool{}
	var flights, delay, early int64
	for at, a := range truth.Hourly {
		origins[at.Origin] = true
		flights += a.Flights
		delay += a.DelaySum
		if a.DelayMax < 0 {
			early++
		}
	}
	got := []int64{int64(truth.Rows), flights, delay, int64(len(origins)), int64(len(truth.Hourly)), int64(len(truth.Daily)), int64(len(truth.Late)), early}
	want := []int64{100000, 100000, 1072949, 223, 14585, 1528, 1901, 3022}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("rows, flights, delay, origins, hours, days, late, hours with a negative maximum = %v, want %v", got, want)
	}
	if got, want := truth.Hourly[OriginHour{"ATL", 978372000}], (Agg{39, 1484, 198}); got != want {
		t.Errorf("ATL at 2001-01-01 18:00 = %+v, want %+v", got, want)
	}
	if got, want := truth.Daily[OriginDay{"ATL", 978393600}], (DayAgg{651, 16014, 16014.0 / 651}); got != want {
		t.Errorf("ATL on 2001-01-02 = %+v, want %+v", got, want)
	}
	distinct := map[Flight]bool{}
	for _, f := range truth.Late {
		if f.Delay <= LateAfter {
			t.Errorf("%+v is not late", f)
		}
		distinct[f] = true
	}
	if len(distinct) != 1901 {
		t.Errorf("%d distinct late flights, want 1901: a reader that counts them must know of repeats", len(distinct))
	}
}

func TestTheWorstAirportsOfTheWeek(t *testing.T) {
	want := []struct {
		origin         string
		flights, delay int64
	}{
		{"PSG", 8, 552}, {"WRG", 9, 579}, {"FWA", 47, 1667}, {"XNA", 93, 3232}, {"DRO", 6, 207},
		{"DBQ", 17, 573}, {"BMI", 25, 830}, {"CMI", 33, 1091}, {"KTN", 35, 1135}, {"STT", 63, 2022},
	}
	got := bundled(t).Worst(len(want))
	if len(got) != len(want) {
		t.Fatalf("Worst(%d) has %d airports", len(want), len(got))
	}
	for i, w := range want {
		if mean := float64(w.delay) / float64(w.flights); got[i] != (Airport{w.origin, w.flights, mean}) {
			t.Errorf("place %d is %+v, want %+v with mean %v", i+1, got[i], w, mean)
		}
	}
}

func TestTheFileIsWhatItsReadmeSays(t *testing.T) {
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../stacks/catalog/flights/data/README.md")
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if unpacked.Name != "" || !unpacked.ModTime.IsZero() {
		t.Errorf("the file carries a name (%q) or a time (%v): it can't be cut the same again", unpacked.Name, unpacked.ModTime)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"the file": packed, "the text": text} {
		sum := sha256.Sum256(data)
		if !bytes.Contains(readme, []byte(hex.EncodeToString(sum[:]))) {
			t.Errorf("README.md lacks the SHA-256 of %s, %x", name, sum)
		}
	}
}

func TestNoRowComesMoreThanTenMinutesAfterALaterOne(t *testing.T) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	var latest, worst, moved int64
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "date") {
			continue
		}
		row, err := parse(strings.Split(strings.TrimSpace(line), ","))
		if err != nil {
			t.Fatal(err)
		}
		if row.Time < latest {
			moved, worst = moved+1, max(worst, latest-row.Time)
		}
		latest = max(latest, row.Time)
	}
	if moved != 83343 || worst != 540 {
		t.Errorf("%d rows come after a later one, by at most %d s; want 83343 and 540", moved, worst)
	}
}

func pack(t *testing.T, text string) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestSmallFileByHand(t *testing.T) {
	truth, err := Compute(pack(t, header+`
2001-01-01T00:10:00,978307800,-5,100,AAA,CCC
2001-01-01T00:59:00,978310740,-3,100,AAA,BBB
2001-01-01T01:00:00,978310800,121,100,AAA,BBB
2001-01-01T00:30:00,978309000,120,200,BBB,AAA
2001-01-02T00:00:00,978393600,-46,200,BBB,AAA
2001-01-01T00:00:00,978307200,37,200,CCC,AAA
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Truth{
		Rows: 6,
		Hourly: map[OriginHour]Agg{
			{"AAA", 978307200}: {2, -8, -3}, {"AAA", 978310800}: {1, 121, 121},
			{"BBB", 978307200}: {1, 120, 120}, {"BBB", 978393600}: {1, -46, -46}, {"CCC", 978307200}: {1, 37, 37},
		},
		Late: []Flight{{978310800, 121, 100, "AAA", "BBB"}},
		Daily: map[OriginDay]DayAgg{
			{"AAA", 978307200}: {3, 113, 113.0 / 3}, {"BBB", 978307200}: {1, 120, 120},
			{"BBB", 978393600}: {1, -46, -46}, {"CCC", 978307200}: {1, 37, 37},
		},
	}
	if !reflect.DeepEqual(truth, want) {
		t.Errorf("got\n%+v, want\n%+v", truth, want)
	}
	worst := truth.Worst(5)
	if len(worst) != 3 || worst[0].Origin != "AAA" || worst[1].Origin != "BBB" || worst[2].Origin != "CCC" || math.Abs(worst[1].Mean-worst[2].Mean) > 0 {
		t.Errorf("Worst(5) = %+v; the two equals belong in the order of their names", worst)
	}
}

func TestBadFilesAreRefusedWithTheLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"time,delay\n", `the header is "time,delay"`},
		{header + "\n2001-01-01T00:10:00,978307800,x,1,AAA,BBB\n", "line 2: column 3"},
		{header + "\n2001-01-01T00:10:00,978307801,1,1,AAA,BBB\n", "line 2: date 2001-01-01T00:10:00 is 978307800, but time says 978307801"},
		{header + "\n2001-01-01T00:10:00,978307800,1,1,AAA\n", "wrong number of fields"},
	} {
		if _, err := Compute(pack(t, c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.text, err, c.want)
		}
	}
	if _, err := Compute(strings.NewReader("plain")); err == nil {
		t.Error("a file that is not gzipped is accepted")
	}
}
