package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/cli/connect"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

// long reads for longer than it takes to be killed.
const long = `
pipeline:
  type: chain
  transforms:
    - {type: GenerateSequence, config: {start: 0, end: 2000000}}
    - {type: Filter, config: {language: python, keep: value % 1000 == 0}}
    - {type: WriteToJson, config: {path: "OUT"}}
`

func TestAJobThatIsKilledOrGivenUpLeavesNothingBehind(t *testing.T) {
	errStop := errors.New("given up")
	for what, c := range map[string]struct {
		end  func(pid int, cancel context.CancelCauseFunc)
		want string
	}{
		"killed":   {func(pid int, _ context.CancelCauseFunc) { syscall.Kill(pid, syscall.SIGKILL) }, "ended without a result: signal: killed"}, //nolint:errcheck // seen by the job's end
		"given up": {func(_ int, cancel context.CancelCauseFunc) { cancel(errStop) }, "given up"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			g, err := compile.Pipeline(compile.Input{File: "long.yaml", Source: document(long, physical.EngineBeam, dir), Dir: dir, Local: true})
			if err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			pool := connect.NewPool("test")
			defer pool.Close() //nolint:errcheck // it opened nothing
			pool.Beam = self
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			done := make(chan error, 1)
			go func() {
				_, err := engine.RunLocal(ctx, engine.Local{Graph: *g, Connections: pool.With(nil, "local")})
				done <- err
			}()
			pid := child(t)
			c.end(pid, cancel)
			if err := <-done; err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it ended with %v, want %s", err, c.want)
			}
			if err := syscall.Kill(pid, 0); err == nil {
				t.Errorf("process %d is still there", pid)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
}

// child waits for the process that runs the job.
func child(t *testing.T) int {
	t.Helper()
	self := strconv.Itoa(os.Getpid())
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range stats {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // it has ended
			}
			_, rest, _ := strings.Cut(string(text), ") ")
			if f := strings.Fields(rest); len(f) > 1 && f[1] == self && f[0] != "Z" {
				pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				if err != nil {
					t.Fatal(err)
				}
				return pid
			}
		}
	}
	t.Fatal("no child was started for 20 seconds")
	return 0
}
