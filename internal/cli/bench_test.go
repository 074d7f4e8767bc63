package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-project/weir/benchmarks/harness"
	"github.com/weir-project/weir/benchmarks/workloads"
)

// bench runs `weir bench …` in this process.
func benchOutput(t *testing.T, argv ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(append([]string{"bench", "--state", t.TempDir()}, argv...), strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func TestBenchRefusesWhatItDoesNotKnow(t *testing.T) {
	for argv, want := range map[string]string{
		"run w2":                           "workloads: w1, w3",
		"run --peers duckdbb":              "did you mean duckdb?",
		"run -o yaml":                      "formats: table, json, markdown",
		"run --rounds -1":                  "not negative",
		"report":                           "weir bench run",
		"report nothing.json":              "there is none",
		"run w1 --repo / -o table --quick": "is no clone of Weir's repository",
	} {
		code, out, errs := benchOutput(t, strings.Fields(argv)...)
		if code == 0 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("weir bench %s: code %d, %q, %q", argv, code, out, errs)
		}
	}
	if code, out, _ := benchOutput(t, "list"); code != 0 || !strings.Contains(out, "w3") {
		t.Errorf("list: code %d, %q", code, out)
	}
}

func TestAReportIsPrintedAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	r := harness.Report{Version: harness.ReportVersion, Commit: "abc", Results: []harness.Result{{Workload: "w3", Measured: harness.Measured{Name: "weir run", Runs: 1, CPUPerMillion: harness.Spread{Median: 0.5, Min: 0.5, Max: 0.5}}}}}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := benchOutput(t, "report", file)
	if code != 0 || !strings.Contains(out, "| weir run | 0.500 |") {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	if err := os.WriteFile(file, []byte(`{"version": 2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := benchOutput(t, "report", file); code != 3 || !strings.Contains(errs, "version 2") {
		t.Errorf("code %d, %q", code, errs)
	}
}

// TestOutputsOfEverySystemHashAlike: Weir writes the window as a time, the peers as milliseconds.
func TestOutputsOfEverySystemHashAlike(t *testing.T) {
	var truth workloads.Hash
	truth.AddCount("c1", 1_600_000_010_000, 7)
	truth.AddCount("c2", 1_600_000_000_000, 8)
	for text, want := range map[string]bool{
		`{"campaign_id":"c1","views":7,"window":"2020-09-13T12:26:50Z"}` + "\n" + `{"campaign_id":"c2","views":8,"window":"2020-09-13T12:26:40Z"}`: true,
		`{"window":1600000000000,"campaign_id":"c2","views":8}` + "\n" + `{"campaign_id":"c1","views":7,"window":1600000010000}` + "\n":            true,
		`{"campaign_id":"c1","views":7,"window":1600000010000}`:                                                                                    false,
		`{"campaign_id":"c1","views":7,"window":true}`:                                                                                             false,
		`campaign`: false,
	} {
		file := filepath.Join(t.TempDir(), "out.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := hashCounts(file); (got == truth.String()) != want || !want && err == nil && got == truth.String() {
			t.Errorf("%s hashes to %s (%v), the truth is %s", text, got, err, truth)
		}
	}
}
