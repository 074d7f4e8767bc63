package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/stacks"
)

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE...", Short: "Check stack and pipeline files: every mistake with its place, a reason and a hint",
		Args: args(1, many),
		RunE: func(c *cobra.Command, argv []string) error {
			var all fault.List
			for _, path := range argv {
				what, err := a.validate(c.Context(), path)
				if err != nil {
					all.Add(err)
					continue
				}
				fmt.Fprintf(a.out, "%s: %s is valid\n", path, what)
			}
			return all.Err()
		},
	}
}

func (a *app) validate(ctx context.Context, path string) (string, error) {
	src, err := readInput(path, stacks.MaxSource)
	if err != nil {
		return "", err
	}
	if isStack(src) {
		_, r, err := bundle(path)
		if err != nil {
			return "", err
		}
		return "stack " + r.Stack.Name, nil
	}
	g, err := compileFile(path, src, a.lookup(ctx, nil))
	if err != nil {
		return "", err
	}
	return "pipeline " + g.Pipeline, nil
}

// isStack tells a Stack from a pipeline without parsing: a wrong guess ends in the other parser's diagnostics.
func isStack(src []byte) bool {
	for _, line := range strings.Split(string(src), "\n") {
		if strings.HasPrefix(line, "kind:") {
			return strings.Contains(line, "Stack")
		}
	}
	return false
}

func (a *app) graphCommand() *cobra.Command {
	return &cobra.Command{
		Use: "graph FILE", Short: "Show what a pipeline compiles to: stages, fragments, slots, channels, guarantees", Args: args(1, 1),
		Long:    "Of a stack file it shows the pipelines as the stack's workers run them, of a pipeline file as weir run does: in one process, with one slot.",
		Example: "  weir graph stacks/catalog/flights/stack.yaml\n  weir graph my-pipeline.yaml",
		RunE: func(c *cobra.Command, argv []string) error {
			src, err := readInput(argv[0], stacks.MaxSource)
			if err != nil {
				return err
			}
			if !isStack(src) {
				g, err := compileFile(argv[0], src, a.lookup(c.Context(), nil))
				if err != nil {
					return err
				}
				fmt.Fprint(a.out, compile.Explain(g))
				return nil
			}
			_, r, err := bundle(argv[0])
			if err != nil {
				return err
			}
			for _, g := range r.Graphs {
				fmt.Fprint(a.out, compile.Explain(g))
			}
			return nil
		},
	}
}

func (a *app) planCommand() *cobra.Command {
	var detailed bool
	var output string
	c := &cobra.Command{
		Use: "plan STACK.yaml", Short: "Show what applying a stack would change, and why, before anything runs", Args: args(1, 1),
		Example: "  weir plan stacks/catalog/flights/stack.yaml\n  weir plan stack.yaml --detailed-exitcode && echo nothing to change",
		RunE: func(c *cobra.Command, argv []string) error {
			if err := checkFormat(output, "weir plan STACK.yaml -o json"); err != nil {
				return err
			}
			b, r, err := bundle(argv[0])
			if err != nil {
				return err
			}
			p, err := a.plan(c.Context(), b, r)
			if err != nil {
				return err
			}
			if output == "text" {
				fmt.Fprint(a.out, p.Text)
			} else if err := encode(a.out, output, p); err != nil {
				return err
			}
			if detailed && p.Changes > 0 {
				return fault.New("", "", "", fault.Cause(errQuiet), fault.Exit(fault.ExitChanges))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 2 where something would change")
	c.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml")
	return c
}

// plan asks the server, which knows what runs; where there is none, everything is new.
func (a *app) plan(ctx context.Context, b api.Bundle, r *stacks.Resolved) (api.Plan, error) {
	client, err := a.server(ctx)
	if err == nil {
		var p api.Plan
		return p, client.Do(ctx, "POST", "/v1/plan", b, &p)
	}
	if !fault.HasCode(err, "E-NO-SERVER") {
		return api.Plan{}, err
	}
	fmt.Fprintln(a.err, "no server runs: everything counts as new; `weir up` checks what fits and which ports are free")
	text, changes := stacks.Diff(nil, r)
	return api.Plan{Stack: r.Stack.Name, Text: text, Changes: changes}, nil
}

func (a *app) rerunCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rerun PIPELINE [STACK.yaml]", Short: "Start a new run of a pipeline that is complete or stands still", Args: args(1, 2),
		Long: `Starts the next run: sources are read from their beginning, channels carry on behind the records of the run before. With a stack
file the pipeline is first replaced by the one in it, also where it could not go on from where it stands.`,
		RunE: func(c *cobra.Command, argv []string) error {
			client, err := a.server(c.Context())
			if err != nil {
				return err
			}
			done, err := rerun(c.Context(), client, argv)
			if err != nil {
				return err
			}
			for _, note := range done.Notes {
				fmt.Fprintln(a.err, note)
			}
			s, err := a.follow(c.Context(), client, done.Stack, false)
			if err != nil {
				return err
			}
			return a.finish(c.Context(), client, s)
		},
	}
}

func rerun(ctx context.Context, client *api.Client, argv []string) (done api.Apply, err error) {
	if len(argv) == 1 {
		return done, client.Do(ctx, "POST", "/v1/pipelines/"+url.PathEscape(argv[0])+"/rerun", nil, &done)
	}
	b, r, err := bundle(argv[1])
	if err != nil {
		return done, err
	}
	return done, client.Do(ctx, "PUT", "/v1/stacks/"+url.PathEscape(r.Stack.Name)+"?replay="+url.QueryEscape(argv[0]), b, &done)
}

func (a *app) whyCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "why offers|step|placement|scale NAME", Short: "Print the reasons of a decision", Args: args(2, 2),
		Example: "  weir why offers events\n  weir why step workers\n  weir why placement serving\n  weir why scale flights/workers -o json",
		RunE: func(c *cobra.Command, argv []string) error {
			if err := checkFormat(output, "weir why scale flights/workers -o json"); err != nil {
				return err
			}
			client, err := a.server(c.Context())
			if err != nil {
				return err
			}
			if argv[0] == "scale" {
				return a.whyScale(c.Context(), client, argv[1], output)
			}
			if output != "text" {
				return fault.Usage("E-USAGE", "print as", output, fault.Causef("why %s has only text", argv[0]), fault.Hint("weir why "+argv[0]+" "+argv[1]))
			}
			var p api.Plan
			if err := client.Do(c.Context(), "GET", "/v1/why/"+url.PathEscape(argv[0])+"/"+url.PathEscape(argv[1]), nil, &p); err != nil {
				return err
			}
			fmt.Fprint(a.out, p.Text)
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml (json and yaml: of scale)")
	return c
}

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	var lines int
	var file string
	c := &cobra.Command{
		Use: "logs TASK|SERVICE", Short: "Print what a task writes", Args: args(1, 1), Example: "  weir logs events\n  weir logs workers-0 -f",
		RunE: func(c *cobra.Command, argv []string) error {
			client, err := a.server(c.Context())
			if err != nil {
				return err
			}
			at := int64(-1)
			for {
				var l api.Log
				q := url.Values{"file": {file}, "lines": {fmt.Sprint(lines)}, "from": {fmt.Sprint(at)}}
				if err := client.Do(c.Context(), "GET", "/v1/logs/"+url.PathEscape(argv[0])+"?"+q.Encode(), nil, &l); err != nil {
					return err
				}
				if _, err := a.out.Write(l.Text); err != nil {
					return err
				}
				if !follow {
					a.nothingIn(l, argv[0], file)
					return nil
				}
				at = l.Next
				select {
				case <-c.Context().Done():
					return nil
				case <-time.After(500 * time.Millisecond):
				}
			}
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	c.Flags().IntVarP(&lines, "lines", "n", 50, "how many of the last lines")
	c.Flags().StringVar(&file, "file", "stdout", "stdout or stderr")
	return c
}

// nothingIn says where else to look when a task wrote nothing; one that writes to the other file alone would look silent.
func (a *app) nothingIn(l api.Log, name, file string) {
	other := map[string]string{"stdout": "stderr", "stderr": "stdout"}[file]
	if l.Next == 0 {
		fmt.Fprintf(a.err, "%s has written nothing to %s; weir logs %s --file %s\n", name, file, name, other)
	}
}
