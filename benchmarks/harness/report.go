package harness

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ReportVersion is that of the JSON below.
const ReportVersion = 1

// Report is what `weir bench run -o json` prints and `weir bench report` reads.
type Report struct {
	Version  int               `json:"version"`
	Began    time.Time         `json:"began"`
	Command  string            `json:"command"`
	Commit   string            `json:"commit"`
	Machine  Machine           `json:"machine"`
	Load     [2]float64        `json:"load_before_and_after"` // load averages of one minute; the second is partly the run's own
	Versions map[string]string `json:"versions"`
	Seed     uint64            `json:"seed"`
	Results  []Result          `json:"results"`
}

// Machine is where it ran.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory_bytes"`
	Kernel string `json:"kernel"`
	OS     string `json:"os"`
}

// ThisMachine looks at /proc; what it cannot say stays empty.
func ThisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH}
	m.CPU = after("/proc/cpuinfo", "model name\t:")
	m.Kernel = after("/proc/sys/kernel/osrelease", "")
	if f := strings.Fields(after("/proc/meminfo", "MemTotal:")); len(f) > 0 {
		if kb, err := strconv.ParseInt(f[0], 10, 64); err == nil {
			m.Memory = kb << 10
		}
	}
	return m
}

// Load is the load average of the last minute, 0 where it is not known.
func Load() float64 {
	f := strings.Fields(after("/proc/loadavg", ""))
	if len(f) == 0 {
		return 0
	}
	v, err := strconv.ParseFloat(f[0], 64)
	if err != nil {
		return 0
	}
	return v
}

// after is the rest of the first line that holds a word.
func after(path, word string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(data, []byte(word))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return strings.TrimSpace(string(line))
}

// Header are the columns of Rows.
var Header = []string{"system", "CPU-s/M events", "min–max", "start CPU-s", "without start", "vs weir", "M ev/s wall", "RSS MB"}

// Rows are a result as a table: Weir, Weir again, the peers.
func (r Result) Rows() [][]string {
	all := []Measured{r.Measured}
	if r.Again != nil {
		again := *r.Again
		again.Name += " (A/A)"
		all = append(all, again)
	}
	var out [][]string
	for _, m := range append(all, r.Peers...) {
		out = append(out, m.row(r.WithoutStart))
	}
	return out
}

func (m Measured) row(weir float64) []string {
	name := m.Name
	if m.Guarantee != "" {
		name += " · " + m.Guarantee
	}
	if m.Runs == 0 {
		return []string{name, "void", "", "", "", "", "", ""}
	}
	ratio := "–"
	if weir > 0 {
		ratio = fmt.Sprintf("%.2f×", m.WithoutStart/weir)
	}
	return []string{name, fmt.Sprintf("%.3f", m.CPUPerMillion.Median), fmt.Sprintf("%.3f–%.3f", m.CPUPerMillion.Min, m.CPUPerMillion.Max), fmt.Sprintf("%.2f", m.StartCPU),
		fmt.Sprintf("%.3f", m.WithoutStart), ratio, fmt.Sprintf("%.2f", m.EventsPerSecond.Median/1e6), strconv.FormatInt(m.PeakRSS>>20, 10)}
}

// Noise is by how much the two runs of Weir differ, as a fraction of the first; ok is false without an A/A run, or where they took too little to tell.
func (r Result) Noise() (float64, bool) {
	if r.Again == nil || r.Runs == 0 || r.Again.Runs == 0 || r.CPUPerMillion.Median <= 0 {
		return 0, false
	}
	d := r.Again.CPUPerMillion.Median/r.CPUPerMillion.Median - 1
	return max(d, -d), true
}

// Notes are what a reader of a result must know.
func (r Result) Notes() []string {
	var out []string
	if n, ok := r.Noise(); ok {
		out = append(out, fmt.Sprintf("noise (A/A): %.1f %% between two series of the same system; a smaller difference means nothing", 100*n))
	}
	if r.ServiceCPU != nil {
		parts := []string{fmt.Sprintf("%s %.2f s", r.Name, *r.ServiceCPU)}
		for _, p := range r.Peers {
			if p.ServiceCPU != nil {
				parts = append(parts, fmt.Sprintf("%s %.2f s", p.Name, *p.ServiceCPU))
			}
		}
		out = append(out, "CPU of the broker meanwhile, counted apart: "+strings.Join(parts, ", "))
	}
	for _, s := range r.Skipped {
		out = append(out, "skipped: "+s)
	}
	for _, v := range r.VoidRuns() {
		line, _, _ := strings.Cut(v, "\n")
		out = append(out, "void: "+line)
	}
	return out
}

// Quiet says whether the machine had nothing else to do, by its load before.
func (r Report) Quiet() bool { return r.Load[0] < 0.5 }

// Markdown is the report as benchmarks/results keeps it.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured %s at %s\n\n", r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Commit)
	fmt.Fprintf(&b, "%s, %d cores, %d GiB, %s %s. ", r.Machine.CPU, r.Machine.Cores, r.Machine.Memory>>30, r.Machine.OS, r.Machine.Kernel)
	fmt.Fprintf(&b, "Load before %.2f, after %.2f", r.Load[0], r.Load[1])
	if !r.Quiet() {
		b.WriteString(": **the machine was not quiet**, so wall-clock rates say little, and CPU-seconds are some percent too high")
	}
	fmt.Fprintf(&b, ". Seed %d.\n\n```\n%s\n```\n\nVersions: ", r.Seed, r.Command)
	for i, k := range sortedKeys(r.Versions) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", k, r.Versions[k])
	}
	b.WriteString(".\n")
	for _, res := range r.Results {
		fmt.Fprintf(&b, "\n## %s: %s\n\n%d events, %d rounds, interleaved; medians; output hash `%s`. Less CPU is better; the start of a process is in the first column, and \"vs weir\" is a system's CPU over Weir's without it.\n\n", res.Workload, res.Title, res.Events, res.Rounds, res.Truth)
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(Header, " | "), "---|"+strings.Repeat("---:|", len(Header)-1))
		for _, row := range res.Rows() {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
		b.WriteString("\n")
		for _, n := range res.Notes() {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	return b.String()
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
