package cli

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
)

// whyScale prints the last decision on a worker service's size, and the last changes.
func (a *app) whyScale(ctx context.Context, client *api.Client, name, output string) error {
	var s api.Scaling
	if err := client.Do(ctx, "GET", "/v1/scaling/"+url.PathEscape(name), nil, &s); err != nil {
		return err
	}
	if output != "text" {
		return encode(a.out, output, s)
	}
	fmt.Fprint(a.out, s.Reason)
	if s.Auto {
		fmt.Fprintf(a.out, "between min %d and max %d workers\n", s.Min, s.Max)
	}
	if s.Next != "" {
		fmt.Fprintf(a.out, "next: %s\n", s.Next)
	}
	if len(s.Changes) == 0 {
		return nil
	}
	fmt.Fprintln(a.out, "changes:")
	for _, c := range s.Changes {
		why := ""
		if len(c.Reason.Under) > 0 {
			why = c.Reason.Under[0].Text
		}
		fmt.Fprintf(a.out, "  %s  %d to %d: %s\n", c.At.UTC().Format(time.RFC3339), c.Workers, c.Want, why)
	}
	return nil
}
