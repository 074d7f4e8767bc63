package cli

import (
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/benchmarks/harness"
	"github.com/weir-project/weir/benchmarks/workloads"
	"github.com/weir-project/weir/internal/fault"
)

// startEvents are few enough to cost nothing beside a start.
const startEvents = 1000

// peerNames are the systems that Weir is measured beside.
var peerNames = []string{"franz-go", "kafka-go", "duckdb", "loop"}

// bencher holds what the workloads of one `weir bench run` share.
type bencher struct {
	app      *app
	o        benchOptions
	self     string
	dir      string // bench, in the state directory
	work     string // of this run; removed at its end
	go1      string // why peers in Go cannot run, or nothing
	versions map[string]string
	stack    *benchStack
	runs     int
}

func (a *app) openBench(ctx context.Context, o benchOptions) (*bencher, error) {
	state, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	b := &bencher{app: a, o: o, self: self, dir: filepath.Join(state, benchFolder), versions: map[string]string{"weir": Build, "go": runtime.Version()}}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, fault.New("E-STATE", "make the folder of the benchmarks", b.dir, fault.Cause(bare(err)), fault.Hint("give another with --state DIR"))
	}
	if err := os.WriteFile(filepath.Join(b.dir, benchMark), nil, 0o600); err != nil {
		return nil, fault.New("E-STATE", "mark the folder of the benchmarks", b.dir, fault.Cause(bare(err)))
	}
	if b.work, err = os.MkdirTemp(b.dir, "run-"); err != nil {
		return nil, fault.New("E-STATE", "make a folder for the run", b.dir, fault.Cause(bare(err)))
	}
	b.go1 = b.buildPeers(ctx)
	return b, nil
}

func (b *bencher) close() {
	if b.stack != nil {
		b.stack.stop()
	}
	if err := os.RemoveAll(b.work); err != nil {
		fmt.Fprintf(b.app.err, "%s was not removed: %v\n", b.work, err)
	}
}

// buildPeers builds benchmarks/peers; it says why that cannot be done.
func (b *bencher) buildPeers(ctx context.Context) string {
	repo, err := filepath.Abs(b.o.repo)
	if err != nil {
		return err.Error()
	}
	if _, err := os.Stat(filepath.Join(repo, "benchmarks", "peers", "franz")); err != nil {
		return fmt.Sprintf("%s is no clone of Weir's repository (give one with --repo DIR)", repo)
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		return "there is no go on the path to build them"
	}
	cmd := exec.CommandContext(ctx, tool, "build", "-o", b.dir+string(filepath.Separator), "./benchmarks/peers/...")
	cmd.Dir = repo
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Sprintf("they do not build: %v: %s", err, bytes.TrimSpace(out))
	}
	for peer, module := range map[string]string{"franz": "github.com/twmb/franz-go", "kafkago": "github.com/segmentio/kafka-go"} {
		info, err := buildinfo.ReadFile(b.peer(peer))
		if err != nil {
			return err.Error()
		}
		for _, d := range info.Deps {
			if d.Path == module {
				b.versions[filepath.Base(module)] = d.Version
			}
		}
	}
	return ""
}

// commit is what Weir was built from: as the binary says, or, where it was built without that, as its repository does.
func (b *bencher) commit(ctx context.Context) string {
	if Build != "dev" {
		return Build
	}
	out, err := exec.CommandContext(ctx, "git", "-C", b.o.repo, "describe", "--always", "--dirty=+changes", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return Build
	}
	return "dev-" + string(bytes.TrimSpace(out))
}

func (b *bencher) peer(name string) string { return filepath.Join(b.dir, name) }

// workload prepares the input of a workload, runs it and clears it away.
func (b *bencher) workload(ctx context.Context, w workloads.Workload) (harness.Result, error) {
	n := w.Events
	if b.o.quick {
		n = quickEvents
	}
	if b.o.events > 0 {
		n = b.o.events
	}
	bench := harness.Bench{Workload: w.Name, Title: w.Title, Events: n, Rounds: b.o.rounds, Warm: !b.o.quick, Tell: func(line string) { fmt.Fprintln(b.app.err, line) }}
	if b.o.quick {
		bench.Starts = 1
	}
	var skipped []string
	var err error
	if w.Name == workloads.PassThrough {
		skipped, err = b.passThrough(ctx, w, &bench)
	} else {
		skipped, err = b.yahoo(ctx, w, &bench)
	}
	if err != nil {
		return harness.Result{}, err
	}
	if !b.o.quick { // A/A: what two series of one system differ by is noise
		bench.Systems = slices.Insert(bench.Systems, 1, bench.Systems[0])
	}
	for _, s := range skipped {
		fmt.Fprintf(b.app.err, "%s: skipped: %s\n", w.Name, s)
	}
	res, err := bench.Run(ctx)
	res.Skipped = skipped
	return res, err
}

// yahoo is w3: everything reads the same two files.
func (b *bencher) yahoo(ctx context.Context, w workloads.Workload, bench *harness.Bench) (skipped []string, err error) {
	in := filepath.Join(b.work, w.Name)
	fmt.Fprintf(b.app.err, "%s: makes %s events\n", w.Name, group(int64(bench.Events)))
	truth, err := b.yahooFiles(in, w.Pipeline, bench.Events)
	if err != nil {
		return nil, fault.New("E-FILE", "make the input of", w.Name, fault.Cause(err), fault.Hint("is there room in "+b.dir+"?"))
	}
	bench.Truth = truth
	out := filepath.Join(in, "out.json")
	// The same on a thousand events is the cost of a start.
	small := filepath.Join(b.work, w.Name+"-small")
	if _, err := b.yahooFiles(small, w.Pipeline, startEvents); err != nil {
		return nil, fault.New("E-FILE", "make the input of", w.Name, fault.Cause(err))
	}
	system := func(name, version, path string, argv ...string) harness.System {
		return harness.System{Name: name, Version: version,
			Start: func(context.Context) (harness.Command, error) {
				short := slices.Clone(argv)
				for i := range short {
					short[i] = strings.Replace(short[i], in, small, 1)
				}
				return harness.Command{Path: path, Args: short, Dir: small}, os.RemoveAll(filepath.Join(small, "out.json"))
			},
			Prepare: func(context.Context) (harness.Command, error) {
				return harness.Command{Path: path, Args: argv, Dir: in}, os.RemoveAll(out)
			},
			Check: func(context.Context) (string, error) { return hashCounts(out) }}
	}
	bench.Systems = []harness.System{system("weir run", Build, b.self, "run", filepath.Join(in, "w3.yaml"))}
	if b.o.wants("duckdb") {
		python, version, why := b.duckdb(ctx)
		if why != "" {
			skipped = append(skipped, why)
		} else {
			b.versions["duckdb"] = version
			script := filepath.Join(b.o.repo, "benchmarks", "peers", "duckdb", "ysb.py")
			if script, err = filepath.Abs(script); err != nil {
				return nil, err
			}
			for _, threads := range []string{"1", "2"} {
				bench.Systems = append(bench.Systems, system("DuckDB, threads "+threads, version, python, script, "--in", in, "--out", out, "--threads", threads))
			}
		}
	}
	if b.o.wants("loop") {
		if b.go1 != "" {
			return append(skipped, "loop: "+b.go1), nil
		}
		bench.Systems = append(bench.Systems, system("Go by hand, no parser", "", b.peer("loop"), "--in", in, "--out", out))
	}
	return skipped, nil
}

func (b *bencher) yahooFiles(dir string, pipeline []byte, events int) (truth string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "w3.yaml"), pipeline, 0o600); err != nil {
		return "", err
	}
	ads, err := os.Create(filepath.Join(dir, "ads.csv"))
	if err != nil {
		return "", err
	}
	if err := errors.Join(workloads.Ads(ads, benchSeed), ads.Close()); err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(dir, "events.json"))
	if err != nil {
		return "", err
	}
	h, err := workloads.Events(f, events, benchSeed)
	return h.String(), errors.Join(err, f.Close())
}

// hashCounts reads the output of w3, whoever wrote it: a line a row, the window as milliseconds or as a time.
func hashCounts(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var h workloads.Hash
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var row struct {
			Campaign string          `json:"campaign_id"`
			Views    int64           `json:"views"`
			Window   json.RawMessage `json:"window"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return "", fmt.Errorf("line %d: %w", h.Rows+1, err)
		}
		var millis int64
		var at time.Time
		switch {
		case json.Unmarshal(row.Window, &millis) == nil:
		case json.Unmarshal(row.Window, &at) == nil:
			millis = at.UnixMilli()
		default:
			return "", fmt.Errorf("line %d: the window %s is neither milliseconds nor a time", h.Rows+1, row.Window)
		}
		h.AddCount(row.Campaign, millis, row.Views)
	}
	return h.String(), lines.Err()
}

// duckdb finds a Python that has it.
func (b *bencher) duckdb(ctx context.Context) (python, version, why string) {
	if b.go1 != "" && strings.Contains(b.go1, "no clone") {
		return "", "", "duckdb: " + b.go1
	}
	venv := filepath.Join(b.dir, "venv")
	candidates := []string{filepath.Join(venv, "bin", "python"), "python3"}
	if b.o.python != "" {
		candidates = []string{b.o.python}
	}
	for _, python = range candidates {
		out, err := exec.CommandContext(ctx, python, "-c", "import duckdb; print(duckdb.__version__)").Output()
		if err == nil {
			return python, strings.TrimSpace(string(out)), ""
		}
	}
	return "", "", fmt.Sprintf("duckdb: no Python here has it; type: python3 -m venv %s && %s/bin/pip install duckdb==2.0.1", venv, venv)
}
