package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/console"
	"github.com/weir-project/weir/internal/fault"
)

func (a *app) scaleCommand() *cobra.Command {
	var dry, noWait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use: "scale STACK/SERVICE=N...", Short: "Change how many workers or brokers a service has, step by step, while it works",
		Long: `Sets the size of services. The stack file is not touched: the size stands with the stack until the file's own number changes,
or until it is set to the file's number again. A change that comes while one goes on extends it. The command waits until the plan is
complete; Ctrl-C leaves it running.`,
		Example: "  weir scale flights/workers=3 --dry-run\n  weir scale flights/workers=3\n  weir scale flights/workers=3 flights/events=2 --no-wait",
		Args:    args(1, many),
		RunE: func(c *cobra.Command, argv []string) error {
			targets, err := parseTargets(argv)
			if err != nil {
				return err
			}
			client, err := a.server(c.Context())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(c.Context(), timeout, fault.TimedOut("E-TIMEOUT", "wait for", strings.Join(argv, " "),
				fault.Causef("it was not done after %s; it goes on", timeout), fault.Hint("weir rollout "+targets[0].Stack+"/"+targets[0].Service+" says what it waits for")))
			defer cancel()
			return a.scale(ctx, client, api.Scale{Targets: targets, DryRun: dry}, !noWait)
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "print the plan, step by step, and change nothing")
	c.Flags().BoolVar(&noWait, "no-wait", false, "return when the change is accepted, do not wait for its plan")
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "give up waiting after this (the work goes on)")
	return c
}

// parseTargets reads STACK/SERVICE=N.
func parseTargets(argv []string) ([]api.Target, error) {
	var out []api.Target
	for _, arg := range argv {
		name, size, found := strings.Cut(arg, "=")
		n, err := strconv.Atoi(size)
		if !found || err != nil {
			return nil, fault.Usage("E-USAGE", "scale", arg, fault.Causef("it is not STACK/SERVICE=N with a whole number N"), fault.Hint("weir scale flights/workers=3"))
		}
		stack, service, err := parseService("scale", name)
		if err != nil {
			return nil, err
		}
		out = append(out, api.Target{Stack: stack, Service: service, Size: n})
	}
	return out, nil
}

// parseService reads STACK/SERVICE.
func parseService(op, name string) (stack, service string, err error) {
	stack, service, found := strings.Cut(name, "/")
	if !found || stack == "" || service == "" || strings.Contains(service, "/") {
		return "", "", fault.Usage("E-USAGE", op, name, fault.Causef("it is not STACK/SERVICE"), fault.Hint("weir rollout lists the services, such as flights/workers"))
	}
	return stack, service, nil
}

func (a *app) scale(ctx context.Context, client *api.Client, req api.Scale, wait bool) error {
	var done api.Scaled
	err := client.Do(ctx, "POST", "/v1/scale", req, &done)
	if errors.Is(err, api.ErrUnreachable) && ctx.Err() == nil {
		// The server died under the call, before or after it was stored. Asked again of the next one it comes to the same.
		if client, err = a.server(ctx); err == nil {
			err = client.Do(ctx, "POST", "/v1/scale", req, &done)
		}
	}
	if err != nil {
		return err
	}
	for _, note := range done.Notes {
		fmt.Fprintln(a.err, note)
	}
	fmt.Fprint(a.out, done.Text)
	if req.DryRun || !wait {
		return nil
	}
	return a.followSizes(ctx, req.Targets)
}

// followSizes waits until the services have their sizes. Interrupted, it says that the work goes on and how to come back to it.
func (a *app) followSizes(ctx context.Context, targets []api.Target) error {
	p := console.NewProgress(a.err)
	defer p.Close()
	err := a.watch(ctx, func(list []api.Stack) (bool, error) {
		var shown []console.Line
		all := true
		for _, t := range targets {
			v, ok := find(list, t.Stack, t.Service)
			if !ok {
				return true, fault.NotFound("E-NOT-FOUND", "follow service", t.Stack+"/"+t.Service, fault.Causef("it is no longer there"), fault.Hint("weir get services"))
			}
			if v.Want != t.Size {
				return true, fault.New("E-REPLACED", "follow service", t.Stack+"/"+t.Service, fault.Causef("another change came meanwhile: size %d is wanted now, and not %d", v.Want, t.Size),
					fault.Hint("weir rollout "+t.Stack+"/"+t.Service))
			}
			shown = append(shown, rolloutLine(v))
			all = all && v.State == "ready"
		}
		p.Show(shown)
		return all, nil
	})
	if ctx.Err() != nil && err != nil && fault.ExitCode(err) == fault.ExitInterrupted {
		t := targets[0]
		fmt.Fprintf(a.err, "the change goes on: weir rollout %s/%s --watch follows it, weir pause %s/%s holds it\n", t.Stack, t.Service, t.Stack, t.Service)
	}
	return err
}

// watch looks at all stacks again and again until done says so. The server may be killed meanwhile: its supervisor brings it back, perhaps at
// another address, and watching goes on.
func (a *app) watch(ctx context.Context, done func([]api.Stack) (bool, error)) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	client, err := a.server(ctx)
	for {
		var list []api.Stack
		if err == nil {
			err = client.Do(ctx, "GET", "/v1/stacks", nil, &list)
		}
		switch {
		case err == nil:
			if ended, err := done(list); ended || err != nil {
				return err
			}
		case errors.Is(err, api.ErrUnreachable) && ctx.Err() == nil:
			client, err = a.server(ctx) // waits for the supervisor's next one
			if err == nil {
				continue
			}
			return err
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func find(list []api.Stack, stack, service string) (api.Service, bool) {
	for _, s := range list {
		for _, v := range s.Services {
			if s.Name == stack && v.Name == service {
				return v, true
			}
		}
	}
	return api.Service{}, false
}

// rolloutLine is a service's plan in a line: its name, how many steps are done, and what it is at.
func rolloutLine(v api.Service) console.Line {
	l := console.Line{Key: v.Name, Text: v.State, Ended: v.State == "ready"}
	if v.Rollout == nil {
		return l
	}
	l.Text = v.Rollout.Name + ": " + v.State
	for _, ph := range v.Rollout.Phases {
		for _, s := range ph.Steps {
			l.Total++
			if s.Status == "complete" {
				l.Done++
			}
		}
	}
	if v.Reason != "" && v.State != "ready" {
		var reason string
		reason, l.Note = api.Steady(v.Reason)
		l.Text += ", " + reason
	}
	return l
}

func (a *app) pauseCommand() *cobra.Command {
	return a.holdCommand("pause", "Hold a service's plan: no new step starts until `weir resume`", true,
		`What is in flight ends, and what ran and failed is brought back all the same: a pause holds a change up, it does not leave a service
broken. It outlives the server. A size that is set meanwhile is planned, and begins when the plan is resumed.`)
}

func (a *app) resumeCommand() *cobra.Command {
	return a.holdCommand("resume", "Let a service's plan go on that `weir pause` holds", false, "The plan is made anew from what is there, and goes on.")
}

func (a *app) holdCommand(name, short string, paused bool, long string) *cobra.Command {
	return &cobra.Command{
		Use: name + " STACK/SERVICE", Short: short, Long: long, Example: "  weir " + name + " flights/workers", Args: args(1, 1),
		RunE: func(c *cobra.Command, argv []string) error {
			stack, service, err := parseService(name, argv[0])
			if err != nil {
				return err
			}
			client, err := a.server(c.Context())
			if err != nil {
				return err
			}
			var done api.Apply
			if err := client.Do(c.Context(), "POST", "/v1/pause", api.Pause{Stack: stack, Service: service, Paused: paused}, &done); err != nil {
				return err
			}
			for _, note := range done.Notes {
				fmt.Fprintln(a.err, note)
			}
			return nil
		},
	}
}
