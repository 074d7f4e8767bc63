// Package cli is the command line, and the one place where the wings are wired together: it reads flags, calls the server's API or
// builds the local engine, and prints. Data goes to stdout, notices and progress to stderr; exit codes are those of internal/fault.
//
// It makes no decision that a pure package could make.
//
//	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/lifecycle"
)

// app carries what every command needs.
type app struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	state  string
	output string
}

// Main runs one command and returns the process's exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	data := &checked{w: out}
	a := &app{in: in, out: data, err: errw}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		err = misspelt(root, args, err)
	}
	if (err == nil || errors.Is(err, errQuiet)) && data.err != nil {
		err = fault.New("E-OUTPUT", "print", "", fault.Cause(data.err))
	}
	if err == nil {
		return fault.ExitOK
	}
	if !errors.Is(err, errQuiet) {
		fault.Render(errw, err, colour(errw))
	}
	return fault.ExitCode(err)
}

// checked remembers the first failure to write, so that no command that printed half of its data exits with 0.
type checked struct {
	w   io.Writer
	err error
}

func (c *checked) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.err == nil {
		c.err = err
	}
	return n, err
}

// misspelt tells an unknown command as every other usage error is told; cobra's own text has no hint and no exit code.
func misspelt(root *cobra.Command, args []string, err error) error {
	found, _, ferr := root.Find(args)
	var name string
	if ferr == nil || found != root {
		return err
	}
	if _, serr := fmt.Sscanf(ferr.Error(), "unknown command %q", &name); serr != nil {
		return err
	}
	return unknownCommand(root, name)
}

func unknownCommand(root *cobra.Command, name string) error {
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	hint := "weir --help"
	if near := fault.Nearest(name, names); near != "" {
		hint = "did you mean weir " + near + "?"
	}
	return fault.Usage("E-COMMAND", "run command", strconv.Quote(name), fault.Causef("there is none of that name (commands: %s)", strings.Join(names, ", ")), fault.Hint(hint))
}

// helpCommand is cobra's, but for a command that is not there: that is a usage error too.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Say what a command does and which flags it takes", Args: args(0, 10),
		RunE: func(_ *cobra.Command, argv []string) error {
			c, _, err := root.Find(argv)
			if err != nil || c == root && len(argv) > 0 {
				return unknownCommand(root, strings.Join(argv, " "))
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.out, "weir version %s\n", Build)
			return err
		},
	}
}

// errQuiet ends a command with a code whose reason is printed already.
var errQuiet = errors.New("")

func colour(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
}

const long = `Weir runs stacks of real services (Kafka, Cassandra, stream workers) and pipelines through them.

  weir up stacks/catalog/flights/stack.yaml     bring a stack up on this machine and run its pipelines
  weir get                                      what runs, and how far it is
  weir run FILE                                 run a pipeline here and now, with no server
  weir down                                     stop everything, keep the data`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "weir", Short: "Streaming pipelines on Kafka, Cassandra and stream workers", Long: long,
		SilenceErrors: true, SilenceUsage: true, Version: Build,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.PersistentFlags().StringVar(&a.state, "state", "", "state directory (default $XDG_STATE_HOME/weir)")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fault.Usage("E-USAGE", c.CommandPath(), "", fault.Cause(err), fault.Hint(c.CommandPath()+" --help"))
	})
	root.AddGroup(
		&cobra.Group{ID: "author", Title: "Author"}, &cobra.Group{ID: "local", Title: "Local"},
		&cobra.Group{ID: "change", Title: "Change"}, &cobra.Group{ID: "look", Title: "Look"},
		&cobra.Group{ID: "operate", Title: "Operate"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("author", a.validateCommand(), a.runCommand(), a.graphCommand(), a.explainCommand())
	add("local", a.upCommand(), a.downCommand())
	add("change", a.planCommand(), a.scaleCommand(), a.pauseCommand(), a.resumeCommand(), a.rerunCommand(), a.rolloutCommand())
	add("look", a.getCommand(), a.logsCommand(), a.whyCommand())
	add("operate", a.benchCommand(), a.serverCommand(), a.workerCommand(), a.natsServerCommand(), a.versionCommand())
	root.SetHelpCommand(helpCommand(root))
	root.SetHelpCommandGroupID("operate")
	return root
}

// args refuses a wrong number of arguments with the usage line.
func args(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		if slices.Contains(given, "") {
			return fault.Usage("E-USAGE", c.CommandPath(), "", fault.Causef("an argument is empty"), fault.Hint(c.UseLine()))
		}
		if len(given) >= least && len(given) <= most {
			return nil
		}
		return fault.Usage("E-USAGE", c.CommandPath(), "", fault.Causef("%s given, %s", fault.Count(len(given), "argument"), wanted(least, most)), fault.Hint(c.UseLine()))
	}
}

// many stands for as many arguments as there are.
const many = 1000

func wanted(least, most int) string {
	switch {
	case least == most:
		return fmt.Sprintf("%d wanted", least)
	case most >= many:
		return fmt.Sprintf("at least %d wanted", least)
	}
	return fmt.Sprintf("%d to %d wanted", least, most)
}

// stateDir is --state, else the XDG state home (C12).
func (a *app) stateDir() (string, error) {
	dir := a.state
	if dir == "" {
		base := os.Getenv("XDG_STATE_HOME")
		if base == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fault.New("E-STATE", "find the state directory", "", fault.Cause(err), fault.Hint("give one with --state DIR"))
			}
			base = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(base, "weir")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the state directory %s: %w", dir, err)
	}
	return abs, nil
}

// readInput reads a document of at most limit bytes.
func readInput(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fault.NotFound("E-FILE", "read", path, fault.Causef("there is no such file"), fault.Hint(similar(path)))
		}
		return nil, fault.New("E-FILE", "read", path, fault.Cause(bare(err)))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fault.Invalid("E-FILE", "read", path, fault.Causef("it is a directory, a file is wanted"), fault.Hint(filesIn(path)))
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fault.New("E-FILE", "read", path, fault.Cause(bare(err)))
	}
	if int64(len(data)) > limit {
		return nil, fault.Invalid("E-SIZE", "read", path, fault.Causef("it is longer than %d bytes", limit))
	}
	return data, nil
}

// bare is a file's error without operation and path, which the fault around it says already.
func bare(err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// similar looks for a YAML file of a like name beside the one that is missing. Names are compared without their directory, which they
// share: of a long path any file would be near.
func similar(path string) string {
	dir, wanted := filepath.Split(path)
	var names []string
	for _, file := range yamlFiles(dir) {
		names = append(names, filepath.Base(file))
	}
	if near := fault.Nearest(wanted, names); near != "" {
		return "did you mean " + filepath.Join(dir, near) + "?"
	}
	return filesIn(dir)
}

func filesIn(dir string) string {
	found := yamlFiles(dir)
	if len(found) == 0 {
		return "look at stacks/catalog for examples"
	}
	const most = 8
	if more := len(found) - most; more > 0 {
		found = append(found[:most], fmt.Sprintf("and %d more", more))
	}
	return "files there: " + strings.Join(found, ", ")
}

func yamlFiles(dir string) []string {
	found, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil // the directory's name is no pattern; there is no hint then
	}
	return found
}
