// Command weir-beam runs one bounded stage on Apache Beam, for `weir run` and for the workers of a stack, which start it in a network namespace of its
// own and read from its output what it staged. People start it through them:
//
//	weir run pipeline.yaml      # with a stage that says `engine: beam`
//
// It is the only program that links Beam (about 100 MB), so it stands apart: make beam.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
