package workloads_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-project/weir/benchmarks/workloads"
)

// TestTheTruthIsThatOfTheEvents computes the counts again, from the written text alone.
func TestTheTruthIsThatOfTheEvents(t *testing.T) {
	var ads, events bytes.Buffer
	if err := workloads.Ads(&ads, 7); err != nil {
		t.Fatal(err)
	}
	truth, err := workloads.Events(&events, 250_000, 7)
	if err != nil {
		t.Fatal(err)
	}
	campaign := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(ads.String()), "\n")[1:] {
		ad, c, _ := strings.Cut(line, ",")
		campaign[ad] = c
	}
	counts, views := map[[2]string]int64{}, 0
	d := json.NewDecoder(&events)
	for d.More() {
		var e map[string]string
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e["event_type"] != "view" {
			continue
		}
		views++
		ms, err := strconv.ParseInt(e["event_time"], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		counts[[2]string{campaign[e["ad_id"]], strconv.FormatInt(ms-ms%10_000, 10)}]++
	}
	var h workloads.Hash
	for k, n := range counts {
		ms, err := strconv.ParseInt(k[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		h.AddCount(k[0], ms, n)
	}
	if h.String() != truth.String() || len(campaign) != 1000 || truth.Rows != 300 || views < 80_000 || views > 86_000 {
		t.Errorf("%s of the events, %s is the truth; %d ads, %d views", h, truth, len(campaign), views)
	}
}

func TestTheHashSeesWhatIsMissingDoubledOrChangedAndNoOrder(t *testing.T) {
	hash := func(rows ...string) string {
		var h workloads.Hash
		for _, r := range rows {
			h.Add([]byte(r))
		}
		return h.String()
	}
	if hash("a", "b", "c") != hash("c", "a", "b") {
		t.Error("the order of rows matters")
	}
	seen := map[string]bool{}
	for _, rows := range [][]string{{"a", "b", "c"}, {"a", "b"}, {"a", "b", "b"}, {"a", "a", "b"}, {"a", "b", "d"}, {"ab", "c"}, {}} {
		if h := hash(rows...); seen[h] {
			t.Errorf("%v has the hash of others: %s", rows, h)
		} else {
			seen[h] = true
		}
	}
}

func TestValuesAreTheSameFromTheSameSeed(t *testing.T) {
	gather := func(seed uint64) (out []string, truth string) {
		h, err := workloads.Values(1000, seed, func(v []byte) error {
			out = append(out, string(v))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out, h.String()
	}
	a, x := gather(1)
	b, y := gather(1)
	c, z := gather(2)
	if x != y || x == z || strings.Join(a, "") != strings.Join(b, "") || a[999] == c[999] || len(a[0]) != 100 || len(a[999]) != 100 {
		t.Errorf("hashes %s, %s, %s; lengths %d, %d", x, y, z, len(a[0]), len(a[999]))
	}
}

// TestRowsCarryTheSameValues: the truth of the pass-through is one, whether values are records or fields of rows.
func TestRowsCarryTheSameValues(t *testing.T) {
	var rows bytes.Buffer
	truth, err := workloads.ValueRows(&rows, 500, 3)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := workloads.Values(500, 3, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var read workloads.Hash
	for d := json.NewDecoder(&rows); d.More(); {
		var row struct{ Payload string }
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		read.Add([]byte(row.Payload))
	}
	if truth != plain || read != plain || plain.Rows != 500 {
		t.Errorf("rows %s, values %s, rows read back %s", truth, plain, read)
	}
}
