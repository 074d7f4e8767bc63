package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/console"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/stacks"
)

func (a *app) upCommand() *cobra.Command {
	var timeout time.Duration
	var detach bool
	c := &cobra.Command{
		Use: "up STACK.yaml", Short: "Bring a stack up on this machine, in the background, and wait until it is ready",
		Long: `Starts the server where none runs, applies the stack, waits until its services are ready and its bounded pipelines have
come to their end, and prints what they show. Run again it changes nothing; after "weir down" it finds the data as it was.`,
		Example: "  weir up stacks/catalog/flights/stack.yaml",
		Args:    args(1, 1),
		RunE: func(c *cobra.Command, argv []string) error {
			ctx, cancel := context.WithTimeoutCause(c.Context(), timeout, fault.TimedOut("E-TIMEOUT", "wait for the stack", argv[0],
				fault.Causef("it was not ready after %s", timeout), fault.Hint("weir get, weir rollout and weir logs SERVICE say where it stands; run up again to go on waiting")))
			defer cancel()
			return a.up(ctx, argv[0], detach)
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "give up waiting after this (the work goes on)")
	c.Flags().BoolVar(&detach, "detach", false, "return when the services are ready, do not wait for pipelines to end")
	return c
}

// bundle reads a stack and the files it names, and checks all of it here, so that bad input changes nothing.
func bundle(path string) (api.Bundle, *stacks.Resolved, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return api.Bundle{}, nil, fmt.Errorf("find %s: %w", path, err)
	}
	b := api.Bundle{File: abs, Files: map[string][]byte{}}
	if b.Source, err = readInput(path, stacks.MaxSource); err != nil {
		return b, nil, err
	}
	s, err := stacks.Load(path, b.Source)
	if err != nil {
		return b, nil, err
	}
	for _, ref := range append(s.Pipelines, s.Show...) {
		if b.Files[ref.Path], err = readInput(filepath.Join(filepath.Dir(path), ref.Path), stacks.MaxSource); err != nil {
			return b, nil, fault.Invalid("E-FILE", "read stack", s.Name, fault.AtPos(ref.Pos), fault.Cause(err))
		}
	}
	r, err := stacks.Resolve(stacks.Bundle{File: path, Dir: filepath.Dir(abs), Source: b.Source, Files: b.Files})
	return b, r, err
}

func (a *app) up(ctx context.Context, path string, detach bool) error {
	b, resolved, err := bundle(path)
	if err != nil {
		return err
	}
	l, err := a.openLocal()
	if err != nil {
		return err
	}
	defer l.root.Close()
	client, err := l.ensureServer(ctx)
	if err != nil {
		return err
	}
	var applied api.Apply
	if err := client.Do(ctx, "PUT", "/v1/stacks/"+resolved.Stack.Name, b, &applied); err != nil {
		return err
	}
	for _, note := range applied.Notes {
		fmt.Fprintln(a.err, note)
	}
	s, err := a.follow(ctx, client, resolved.Stack.Name, detach)
	if err != nil {
		return err
	}
	return a.finish(ctx, client, s)
}

// follow shows progress until the stack is where a person wants it, or cannot get there. The server may be killed meanwhile: its supervisor
// brings it back, and following goes on.
func (a *app) follow(ctx context.Context, client *api.Client, name string, detach bool) (*api.Stack, error) {
	p := console.NewProgress(a.err)
	defer p.Close()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var away time.Time
	for {
		var s api.Stack
		err := client.Do(ctx, "GET", "/v1/stacks/"+name, nil, &s)
		switch {
		case errors.Is(err, api.ErrUnreachable):
			if away.IsZero() {
				away = time.Now()
			}
			if err := a.revive(); err != nil {
				return nil, err
			}
			if time.Since(away) > 20*time.Second {
				return nil, fault.New("E-NO-SERVER", "follow the stack", name, fault.Cause(err), fault.Hint("weir up starts its supervisor again; server.log in the state directory says why it died"))
			}
		case err != nil:
			return nil, err
		default:
			away = time.Time{}
			p.Show(lines(&s))
			if done, err := arrived(&s, detach); done {
				return &s, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// revive starts the supervisor again where it was killed together with its server; a server that shall not run is left alone.
func (a *app) revive() error {
	l, err := a.openLocal()
	if err != nil {
		return err
	}
	defer l.root.Close()
	return l.superviseAgain()
}

// arrived says whether there is nothing left to wait for.
func arrived(s *api.Stack, detach bool) (bool, error) {
	switch s.State {
	case "stopped":
		return true, fault.New("E-STOPPED", "wait for stack", s.Name, fault.Causef("somebody stopped it meanwhile"), fault.Hint("weir up STACK.yaml starts it again"))
	case "failed":
		return true, fault.New("E-STACK", "bring up stack", s.Name, fault.Causef("%s", s.Reason), fault.Hint(s.Hint), fault.Exit(s.Exit))
	}
	if s.State != "running" && s.State != "complete" {
		return false, nil
	}
	for _, v := range s.Services {
		if v.Ready < v.Want {
			return false, nil // the plan for the new size is not made yet
		}
	}
	for _, p := range s.Pipelines {
		if p.Bounded && p.State != "complete" && !detach {
			return false, nil
		}
		if p.State == "waiting" { // ready means that its slots run
			return false, nil
		}
	}
	return true, nil
}

// lines is the picture of a stack's progress.
func lines(s *api.Stack) []console.Line {
	var out []console.Line
	for _, step := range s.Steps {
		out = append(out, console.Line{Key: "jars", ID: step.Key, Text: step.What, Done: step.Done, Total: step.Total, Ended: step.Ended})
	}
	for _, v := range s.Services {
		text := fmt.Sprintf("%s %s: %s", v.Operator, v.Version, v.State)
		if v.Operator == "stream" {
			text = fmt.Sprintf("%d of %d workers: %s", v.Ready, v.Want, v.State)
		}
		if v.State == "ready" && v.Took > 0 {
			text += fmt.Sprintf(" after %.1fs", v.Took.Seconds())
		}
		note := ""
		if v.Reason != "" && v.State != "ready" {
			var reason string
			reason, note = api.Steady(v.Reason)
			text += ", " + reason
		}
		if v.Elapsed > 0 {
			note = fmt.Sprintf("%s %.0fs", note, v.Elapsed.Seconds())
		}
		out = append(out, console.Line{Key: v.Name, Text: text, Note: note, Ended: v.State == "ready"})
	}
	for _, p := range s.Pipelines {
		for _, st := range p.Stages {
			out = append(out, stageLine(p.Name, st))
		}
	}
	return out
}

func stageLine(pipeline string, st api.Stage) console.Line {
	l := console.Line{Key: st.Name, Text: fmt.Sprintf("%s/%s: %s", pipeline, st.Name, st.State), Ended: st.State == "ended", Done: st.Counters.In, Total: st.Total}
	switch {
	case st.State == "ended":
		l.Text += fmt.Sprintf(", %s rows in, %s out", group(st.Counters.In), group(st.Counters.Written))
	case st.Reason != "":
		l.Text += ", " + st.Reason
	}
	if st.State == "running" {
		l.Note = fmt.Sprintf("%s rows in, %d of %d slots", group(st.Counters.In), st.Running, st.Slots)
	}
	return l
}

// group writes a count with thousands separated: 100,000.
func group(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
