package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-project/weir/benchmarks/harness"
	"github.com/weir-project/weir/benchmarks/workloads"
	"github.com/weir-project/weir/internal/console"
	"github.com/weir-project/weir/internal/fault"
)

// benchOptions are the flags of `weir bench run`.
type benchOptions struct {
	rounds, events int
	quick          bool
	peers          []string
	kafka, repo    string
	python         string
	output         string
}

// Numbers of a run that nobody chose.
const (
	benchRounds = 5
	quickEvents = 200_000
	benchSeed   = 1
	benchFolder = "bench"      // in the state directory
	benchMark   = "weir-bench" // in it, by which `weir down --purge` knows it
	lastReport  = "last.json"  // in it
)

func (a *app) benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "bench", Short: "Measure Weir and its peers here and now",
		Long: `Measures what Weir costs on this machine, beside other systems on the same input: CPU-seconds per million events of the whole process tree, and
throughput. A run whose output is not the known result does not count. benchmarks/METHODOLOGY.md has the rules.`,
		Args: args(0, 0), RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.benchList(), a.benchRun(), a.benchReport())
	return c
}

func (a *app) benchList() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "list", Short: "List the workloads", Args: args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if err := checkFormat(output, "weir bench list -o json"); err != nil {
				return err
			}
			all := []listedWorkload{}
			for _, w := range workloads.All() {
				all = append(all, listedWorkload{w.Name, w.Title, w.Events, w.Needs})
			}
			if output != "text" {
				return encode(a.out, output, all)
			}
			for _, w := range all {
				fmt.Fprintf(a.out, "%s  %s\n    %s events; needs %s\n", w.Name, w.Title, group(int64(w.Events)), w.Needs)
			}
			fmt.Fprintln(a.err, "\nweir bench run WORKLOAD --quick shows in seconds that one works; without --quick it is measured")
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml")
	return c
}

// listedWorkload is a line of `weir bench list`.
type listedWorkload struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Events int    `json:"events"`
	Needs  string `json:"needs"`
}

func (a *app) benchRun() *cobra.Command {
	o := benchOptions{}
	c := &cobra.Command{
		Use: "run [WORKLOAD...]", Short: "Run workloads on Weir and its peers, and print what they took", Args: args(0, 10),
		Example: "  weir bench run w3 --quick\n  weir bench run --rounds 5 -o json > result.json && weir bench report result.json",
		RunE: func(c *cobra.Command, argv []string) error {
			chosen, err := chosenWorkloads(argv)
			if err != nil {
				return err
			}
			return a.bench(c.Context(), o, chosen)
		},
	}
	f := c.Flags()
	f.IntVar(&o.rounds, "rounds", 0, fmt.Sprintf("how often each system runs (default %d, with --quick 1)", benchRounds))
	f.IntVar(&o.events, "events", 0, "events of each workload (default as weir bench list says)")
	f.BoolVar(&o.quick, "quick", false, fmt.Sprintf("one round of %s events without warm-up and A/A: shows that it works and is right, and measures nothing", group(quickEvents)))
	f.StringSliceVar(&o.peers, "peers", nil, "peers to run, such as duckdb,loop; none for Weir alone (default all)")
	f.StringVar(&o.kafka, "kafka", "", "host:port of a Kafka without login for w1 (default: one is started)")
	f.StringVar(&o.repo, "repo", ".", "clone of Weir's repository, whose benchmarks/peers are built")
	f.StringVar(&o.python, "python", "", "Python that has duckdb (default: bench/venv in the state directory, else python3)")
	f.StringVarP(&o.output, "output", "o", "table", "table, json or markdown")
	return c
}

func chosenWorkloads(names []string) ([]workloads.Workload, error) {
	all := workloads.All()
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	for _, w := range all {
		known = append(known, w.Name)
	}
	var out []workloads.Workload
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, fault.Usage("E-WORKLOAD", "measure", name, fault.Causef("there is no such workload (workloads: %s)", strings.Join(known, ", ")), fault.Hint(fault.DidYouMean(name, known, "weir bench list")))
		}
		out = append(out, all[i])
	}
	return out, nil
}

func (o *benchOptions) check() error {
	switch {
	case !slices.Contains([]string{"table", "json", "markdown"}, o.output):
		return fault.Usage("E-USAGE", "print as", o.output, fault.Causef("there is no such format (formats: table, json, markdown)"), fault.Hint("weir bench run -o json"))
	case o.rounds < 0 || o.events < 0:
		return fault.Usage("E-USAGE", "measure", "", fault.Causef("--rounds and --events count, they are not negative"), fault.Hint("weir bench run --rounds 5"))
	}
	if o.rounds == 0 {
		if o.rounds = benchRounds; o.quick {
			o.rounds = 1
		}
	}
	for _, p := range o.peers {
		if !slices.Contains(append(slices.Clone(peerNames), "none"), p) {
			return fault.Usage("E-PEER", "measure", p, fault.Causef("there is no such peer (peers: %s; or none)", strings.Join(peerNames, ", ")), fault.Hint(fault.DidYouMean(p, peerNames, "leave --peers out")))
		}
	}
	return nil
}

// wants reports whether a peer shall run.
func (o *benchOptions) wants(peer string) bool {
	return len(o.peers) == 0 || slices.Contains(o.peers, peer)
}

// bench runs workloads, prints the report and keeps it for `weir bench report`.
func (a *app) bench(ctx context.Context, o benchOptions, chosen []workloads.Workload) error {
	if err := o.check(); err != nil {
		return err
	}
	b, err := a.openBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	r := harness.Report{Version: harness.ReportVersion, Began: time.Now().UTC().Truncate(time.Second), Command: "weir bench run " + o.String(chosen), Commit: b.commit(ctx), Machine: harness.ThisMachine(),
		Versions: b.versions, Seed: benchSeed, Results: []harness.Result{}}
	r.Load[0] = harness.Load()
	if !r.Quiet() && !o.quick {
		fmt.Fprintf(a.err, "the load of this machine is %.1f: CPU-seconds will be somewhat high, and wall-clock rates mean little\n", r.Load[0])
	}
	for _, w := range chosen {
		res, err := b.workload(ctx, w)
		if err != nil {
			return err
		}
		r.Results = append(r.Results, res)
	}
	r.Load[1] = harness.Load()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, lastReport), append(data, '\n'), 0o600); err != nil {
		return fault.New("E-FILE", "keep the report", "", fault.Cause(err))
	}
	if err := a.printReport(r, data, o.output); err != nil {
		return err
	}
	return voided(r)
}

// String is the command line again, for the report.
func (o benchOptions) String(chosen []workloads.Workload) string {
	var parts []string
	for _, w := range chosen {
		parts = append(parts, w.Name)
	}
	parts = append(parts, fmt.Sprintf("--rounds %d", o.rounds))
	if o.events > 0 {
		parts = append(parts, fmt.Sprintf("--events %d", o.events))
	}
	if o.quick {
		parts = append(parts, "--quick")
	}
	if len(o.peers) > 0 {
		parts = append(parts, "--peers "+strings.Join(o.peers, ","))
	}
	if o.kafka != "" {
		parts = append(parts, "--kafka "+o.kafka)
	}
	return strings.Join(parts, " ")
}

// voided fails a command some of whose runs do not count: a result that is wrong is no matter of speed.
func voided(r harness.Report) error {
	var void []string
	for _, res := range r.Results {
		void = append(void, res.VoidRuns()...)
	}
	if len(void) == 0 {
		return nil
	}
	return fault.New("E-VOID", "measure", void[0], fault.Causef("%s not count: their output is wrong, or they failed", plural(len(void), "run does", "runs do")), fault.Hint("weir bench report lists them"))
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func (a *app) printReport(r harness.Report, data []byte, output string) (err error) {
	switch output {
	case "json":
		_, err = fmt.Fprintf(a.out, "%s\n", data)
		return err
	case "markdown":
		_, err = io.WriteString(a.out, r.Markdown())
		return err
	}
	for _, res := range r.Results {
		fmt.Fprintf(a.out, "\n%s: %s events, %s\n", res.Workload, group(int64(res.Events)), plural(res.Rounds, "round", "rounds"))
		if err := console.Table(a.out, harness.Header, res.Rows()); err != nil {
			return err
		}
		for _, n := range res.Notes() {
			fmt.Fprintf(a.out, "  %s\n", n)
		}
	}
	return nil
}

func (a *app) benchReport() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "report [FILE]", Short: "Print a report that `weir bench run -o json` wrote, the last one without FILE", Args: args(0, 1),
		Example: "  weir bench report result.json > benchmarks/results/mine.md",
		RunE: func(_ *cobra.Command, argv []string) error {
			dir, err := a.stateDir()
			if err != nil {
				return err
			}
			path := filepath.Join(dir, benchFolder, lastReport)
			if len(argv) > 0 {
				path = argv[0]
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) {
				return fault.NotFound("E-FILE", "read the report", path, fault.Causef("there is none"), fault.Hint("weir bench run"))
			}
			if err != nil {
				return fault.New("E-FILE", "read the report", path, fault.Cause(bare(err)))
			}
			var r harness.Report
			if err := json.Unmarshal(data, &r); err != nil || r.Version != harness.ReportVersion {
				return fault.Invalid("E-FORMAT", "read the report", path, fault.Causef("it is no report of version %d (version %d, %v)", harness.ReportVersion, r.Version, err), fault.Hint("weir bench run -o json > FILE"))
			}
			return a.printReport(r, data, output)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "markdown", "markdown, table or json")
	return c
}
