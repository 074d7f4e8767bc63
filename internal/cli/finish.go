package cli

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/weir-project/weir/internal/cli/api"
)

// finish prints what the stack shows, what the run cost, and what to type next.
func (a *app) finish(ctx context.Context, client *api.Client, s *api.Stack) error {
	for _, p := range s.Pipelines {
		if p.State == "complete" {
			fmt.Fprintf(a.err, "pipeline %s is complete (run %d); `weir rerun %s` runs it again\n", p.Name, p.Run, p.Name)
		}
	}
	complete := true
	for _, p := range s.Pipelines {
		complete = complete && p.State == "complete"
	}
	if complete {
		for i, show := range s.Show {
			between := a.err // what stands above the first table is progress
			if i > 0 {
				between = a.out
			}
			fmt.Fprintln(between)
			if err := a.runSource(ctx, client, show.Path, show.Source); err != nil {
				return err
			}
		}
	}
	for _, p := range s.Pipelines {
		if p.State == "complete" && p.Records > 0 {
			fmt.Fprintln(a.out)
			fmt.Fprintf(a.out, "%s: %s records end to end in %.1fs, %s records/s, %.1f CPU-seconds (%s)\n", p.Name, group(p.Records),
				p.Ended.Sub(p.Started).Seconds(), group(int64(p.RecordsPerSecond)), total(p.CPUSeconds), breakdown(p.CPUSeconds))
		}
	}
	fmt.Fprintf(a.err, "\nnext:  weir get              what runs\n       weir logs SERVICE     what it says\n       weir down             stop everything, keep the data (--purge deletes it)\n")
	return nil
}

func total(by map[string]float64) float64 {
	sum := 0.0
	for _, v := range by {
		sum += v
	}
	return sum
}

func breakdown(by map[string]float64) string {
	names := make([]string, 0, len(by))
	for name := range by {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.1f", name, by[name])
	}
	return strings.Join(names, ", ")
}
