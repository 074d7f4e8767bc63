package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/weir-project/weir/internal/cli/connect"
	"github.com/weir-project/weir/internal/isolate"
	"github.com/weir-project/weir/pipelines/beam"
	"github.com/weir-project/weir/pipelines/physical"
)

// exitUsage is that of `weir` for a command that is not understood.
const exitUsage = 64

// run reads a job from in and writes its result to out, a failure too. The exit code is not 0 where there is no result to read.
func run(ctx context.Context, in io.Reader, out, log io.Writer) int {
	slog.SetDefault(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	inside, err := isolate.Enter(func() { os.Exit(1) }) // nobody is left who would read the result
	if err != nil {
		fmt.Fprintf(log, "weir-beam: %v\nIt is started by `weir run FILE` and by the workers of a stack, for stages that say `engine: beam`.\n", err)
		return exitUsage
	}
	result, err := runJob(ctx, in, inside)
	if err != nil {
		result = physical.JobResult{Version: physical.JobVersion, Error: err.Error()}
	}
	if err := json.NewEncoder(out).Encode(result); err != nil {
		fmt.Fprintf(log, "weir-beam: write the result: %v\n", err)
		return 1
	}
	return 0
}

func runJob(ctx context.Context, in io.Reader, inside *isolate.Inside) (physical.JobResult, error) {
	var job physical.Job
	if err := json.NewDecoder(in).Decode(&job); err != nil {
		return physical.JobResult{}, fmt.Errorf("read the job: %w", err)
	}
	pool := connect.NewPool("weir-beam")
	pool.Dialer = inside
	defer pool.Close() //nolint:errcheck // what was read is complete, and nothing was written through it
	beam.Init()
	return beam.Run(ctx, job, pool.With(job.Connections, ""))
}
