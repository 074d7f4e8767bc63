package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/console"
	"github.com/weir-project/weir/internal/fault"
)

var planFormats = []string{"text", "json", "yaml"}

// checkFormat refuses an output format that there is not; example is a command with one that there is.
func checkFormat(output, example string) error {
	if slices.Contains(planFormats, output) {
		return nil
	}
	return fault.Usage("E-USAGE", "print as", output, fault.Causef("there is no such format (formats: %s)", strings.Join(planFormats, ", ")), fault.Hint(fault.DidYouMean(output, planFormats, example)))
}

func (a *app) rolloutCommand() *cobra.Command {
	var watch bool
	var output string
	c := &cobra.Command{
		Use: "rollout [STACK/SERVICE | SERVICE]", Short: "Show the plans of the services: phases, steps, what each waits for", Args: args(0, 1),
		Example: "  weir rollout\n  weir rollout flights/workers --watch\n  weir rollout flights/workers -o json",
		RunE: func(c *cobra.Command, argv []string) error {
			if err := checkFormat(output, "weir rollout -o json"); err != nil {
				return err
			}
			client, err := a.server(c.Context())
			if err != nil {
				return err
			}
			if watch {
				return a.watchRollout(c.Context(), strings.Join(argv, ""))
			}
			var list []api.Stack
			if err := client.Do(c.Context(), "GET", "/v1/stacks", nil, &list); err != nil {
				return err
			}
			found, err := rollouts(list, strings.Join(argv, ""))
			if err != nil {
				return err
			}
			return a.printRollouts(found, output)
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show progress until the plans are complete")
	c.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml")
	return c
}

// named is a service's plan under its whole name.
type named struct {
	Name string       `json:"service"`
	Plan *api.Rollout `json:"plan"`
	of   api.Service
}

// rollouts are the plans of the service that is named, or of all.
func rollouts(list []api.Stack, name string) ([]named, error) {
	out := []named{}
	var known []string
	for _, s := range list {
		for _, v := range s.Services {
			role := s.Name + "/" + v.Name
			known = append(known, role)
			if name == "" || name == v.Name || name == role {
				out = append(out, named{Name: role, Plan: v.Rollout, of: v})
			}
		}
	}
	if len(known) == 0 {
		return nil, fault.NotFound("E-NOT-FOUND", "show the rollout of", cmp.Or(name, "the services"), fault.Causef("none runs"), fault.Hint("weir up STACK.yaml"))
	}
	if len(out) == 0 {
		return nil, fault.NotFound("E-NOT-FOUND", "show the rollout of", name, fault.Causef("no such service runs (services: %s)", strings.Join(known, ", ")),
			fault.Hint(fault.DidYouMean(name, known, "weir get services")))
	}
	return out, nil
}

func (a *app) printRollouts(found []named, output string) error {
	if output != "text" {
		return encode(a.out, output, found)
	}
	for _, r := range found {
		fmt.Fprintf(a.out, "%s\n%s", r.Name, r.of.Plan)
		if r.of.Plan == "" {
			fmt.Fprintf(a.out, "%s %s\n", r.of.State, r.of.Reason)
		}
		if r.Plan != nil && !r.Plan.Paused.IsZero() {
			fmt.Fprintf(a.out, "paused since %s; weir resume %s lets it go on\n", r.Plan.Paused.UTC().Format(time.RFC3339), r.Name)
		}
	}
	return nil
}

// watchRollout shows progress until the plans are complete.
func (a *app) watchRollout(ctx context.Context, name string) error {
	p := console.NewProgress(a.err)
	defer p.Close()
	return a.watch(ctx, func(list []api.Stack) (bool, error) {
		found, err := rollouts(list, name)
		if err != nil {
			return true, err
		}
		var shown []console.Line
		all := true
		for _, r := range found {
			shown = append(shown, rolloutLine(r.of))
			all = all && (r.of.State == "ready" || r.of.State == "stopped")
		}
		p.Show(shown)
		return all, nil
	})
}
