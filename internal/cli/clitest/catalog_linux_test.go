package clitest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The examples that need no stack, run as a newcomer does and compared with plain code.

// example runs a file of the catalogue and returns what it printed.
func example(t *testing.T, file string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "weir"), "run", file)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return string(out)
}

func TestTheSensorsExample(t *testing.T) {
	if testing.Short() {
		t.Skip("runs at its own pace, 4 s")
	}
	type minute struct {
		sensor, minute, alarms int
		hottest                float64
	}
	found := map[[2]int]*minute{}
	for v := range 1_000_000 {
		c := 16 + float64(v*7919%97)/10
		c += float64(v%10) * 0.3
		c += float64(v/60000%7) * 0.5
		if c < 28 {
			continue
		}
		at := [2]int{v % 10, v / 60000}
		if found[at] == nil {
			found[at] = &minute{sensor: at[0], minute: at[1]}
		}
		found[at].alarms++
		found[at].hottest = max(found[at].hottest, c)
	}
	all := slices.SortedFunc(maps.Values(found), func(a, b *minute) int {
		return cmp.Or(b.alarms-a.alarms, a.minute-b.minute, a.sensor-b.sensor)
	})
	want := "the ten minutes with the most alarms\nsensor  alarms  hottest  minute\n"
	for _, m := range all[:10] {
		want += fmt.Sprintf("%6d  %6d  %7.2f  1970-01-01 00:%02d:00\n", m.sensor, m.alarms, m.hottest, m.minute)
	}
	if got := example(t, filepath.Join("..", "..", "..", "stacks", "catalog", "sensors", "sensors.yaml")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

type request struct {
	At     time.Time
	Client string
	Path   string
	Status int
	Millis int
}

func TestTheWeblogExample(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "..", "stacks", "catalog", "weblog"))); err != nil {
		t.Fatal(err)
	}
	table := example(t, filepath.Join(dir, "weblog.yaml"))
	got, err := os.ReadFile(filepath.Join(dir, "out", "paths.csv"))
	if err != nil {
		t.Fatal(err)
	}
	all := requests(t, filepath.Join(dir, "data", "requests.json"))
	if want := paths(all); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if want := clients(all); table != want {
		t.Errorf("got\n%s\nwant\n%s", table, want)
	}
}

func requests(t *testing.T, file string) (all []request) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// paths is the CSV file.
func paths(all []request) string {
	type row struct{ requests, failed, slow, slowest int }
	rows := map[string]*row{} // by hour, then path
	for _, r := range all {
		key := r.At.Truncate(time.Hour).Format(time.RFC3339) + r.Path
		if rows[key] == nil {
			rows[key] = &row{}
		}
		w := rows[key]
		w.requests++
		w.slowest = max(w.slowest, r.Millis)
		if r.Status >= 500 {
			w.failed++
		}
		if r.Millis > 400 {
			w.slow++
		}
	}
	const hour = len("2026-04-01T06:00:00Z")
	out := "path,requests,failed,slow,slowest,hour\n"
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		w := rows[key]
		out += fmt.Sprintf("%s,%d,%d,%d,%d,%s\n", key[hour:], w.requests, w.failed, w.slow, w.slowest, key[:hour])
	}
	return out
}

// clients is the table.
func clients(all []request) string {
	type row struct {
		client          string
		errors, slowest int
	}
	rows := map[string]*row{}
	for _, r := range all {
		if r.Status < 400 {
			continue
		}
		if rows[r.Client] == nil {
			rows[r.Client] = &row{client: r.Client}
		}
		rows[r.Client].errors++
		rows[r.Client].slowest = max(rows[r.Client].slowest, r.Millis)
	}
	sorted := slices.SortedFunc(maps.Values(rows), func(a, b *row) int { return cmp.Or(b.errors-a.errors, strings.Compare(a.client, b.client)) })[:5]
	width := 0
	for _, r := range sorted {
		width = max(width, len(r.client))
	}
	out := fmt.Sprintf("the clients with the most errors\n%-*s  errors  slowest\n", width, "client")
	for _, r := range sorted {
		out += fmt.Sprintf("%-*s  %6d  %7d\n", width, r.client, r.errors, r.slowest)
	}
	return out
}
