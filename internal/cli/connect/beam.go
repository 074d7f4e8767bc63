package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/isolate"
	"github.com/weir-project/weir/pipelines/physical"
)

// Beam is the program that runs jobs on Beam, looked for beside this one.
const Beam = "weir-beam"

// BeamFor refuses a pipeline that has a stage on Beam where the program for it is not there. Workers run beside the server, from the same directory.
func BeamFor(g *physical.Graph) error {
	for _, st := range g.Stages {
		if st.Engine != physical.EngineBeam {
			continue
		}
		if _, err := findBeam(); err != nil {
			return err
		}
	}
	return nil
}

// findBeam is the path of the program that runs jobs on Beam.
func findBeam() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program beside this one: %w", err)
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	p := filepath.Join(filepath.Dir(self), Beam)
	if info, err := os.Stat(p); err != nil || info.IsDir() {
		return "", fault.Invalid("E-BEAM", "run on beam", "", fault.Causef("there is no %s", p), fault.Hint("build it with `make beam`, or leave `engine` and `runner` out of the stage"))
	}
	return p, nil
}

// RunJob implements engine.Elsewhere: the job runs in a process of its own, isolated from the network, since the runner's ports ask nobody for a password
// (I9). It is given the connections of the channels that it reads over its standard input, reaches nothing else, and ends with ctx.
func (c *Connections) RunJob(ctx context.Context, job physical.Job) (physical.JobResult, error) {
	path := c.pool.Beam
	if path == "" {
		var err error
		if path, err = findBeam(); err != nil {
			return physical.JobResult{}, err
		}
	}
	var allowed []string
	job.Connections, allowed = c.needed(job)
	in, err := json.Marshal(job)
	if err != nil {
		return physical.JobResult{}, fmt.Errorf("run on beam: describe the job: %w", err)
	}
	var out bytes.Buffer
	log := &tail{limit: 8 << 10}
	child, err := isolate.Start(ctx, func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, path)
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = bytes.NewReader(in), &out, log, []string{"TMPDIR=" + os.TempDir()}
		cmd.WaitDelay = 5 * time.Second
		return cmd
	}, allowed)
	if err != nil {
		return physical.JobResult{}, fmt.Errorf("run on beam: %w", err)
	}
	err = child.Wait()
	if ctx.Err() != nil {
		return physical.JobResult{}, context.Cause(ctx)
	}
	var res physical.JobResult
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &res)
	}
	if err != nil {
		return physical.JobResult{}, fmt.Errorf("run on beam: %s ended without a result: %w%s", filepath.Base(path), err, log)
	}
	if res.Error != "" {
		return physical.JobResult{}, errors.New("run on beam: " + res.Error)
	}
	return res, nil
}

// needed are the connections of the channels that the job's fragment reads, and their addresses.
func (c *Connections) needed(job physical.Job) (map[string]physical.Connection, []string) {
	need, addresses := map[string]physical.Connection{}, []string{}
	for _, n := range job.Fragment.Nodes {
		var cfg physical.ReadConfig
		if n.Op != physical.OpRead || json.Unmarshal(n.Config, &cfg) != nil {
			continue
		}
		ch := job.Channels[cfg.Channel].Cassandra
		if ch == nil {
			continue
		}
		if conn, ok := c.services[ch.Service]; ok {
			need[ch.Service] = conn
			addresses = append(addresses, conn.Servers...)
		}
	}
	slices.Sort(addresses)
	return need, slices.Compact(addresses)
}

// tail keeps the end of what a program said.
type tail struct {
	limit int
	text  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if n := len(t.text) - t.limit; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

// String is the text behind a colon, for the end of an error.
func (t *tail) String() string {
	if s := strings.TrimSpace(string(t.text)); s != "" {
		return ": " + s
	}
	return ""
}
