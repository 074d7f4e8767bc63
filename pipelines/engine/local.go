package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/physical"
)

// Local is a run of a whole graph in this process, with no server (`weir run`).
type Local struct {
	Graph       physical.Graph
	Connections Connections // its Log is not asked for
	Out         io.Writer   // where log nodes print; os.Stdout
	// Progress is told of every change of state of a fragment and once a second, one call at a time. It may be nil.
	Progress func(LocalProgress)
	// Dir keeps the manifests, so that a run that was killed is completed by the next. Empty: a directory that is deleted at the end.
	Dir   string
	Clock Clock
	Log   *slog.Logger // slog.Default
}

// LocalProgress says where a fragment stands.
type LocalProgress struct {
	Stage, Fragment string
	Report          physical.SlotReport
}

// Result is what a local run did.
type Result struct {
	Fragments []LocalProgress // the last of each fragment, in the graph's order
	Took      time.Duration
}

// Counters are the sums over all fragments.
func (r Result) Counters() checkpoint.Counters {
	var c checkpoint.Counters
	for _, f := range r.Fragments {
		x := f.Report.Counters
		c.In, c.Out, c.Filtered, c.Late = c.In+x.In, c.Out+x.Out, c.Filtered+x.Filtered, c.Late+x.Late
		c.DeadLettered, c.Absorbed, c.Emitted = c.DeadLettered+x.DeadLettered, c.Absorbed+x.Absorbed, c.Emitted+x.Emitted
		c.Copied, c.Written = c.Copied+x.Copied, c.Written+x.Written
	}
	return c
}

// RunLocal runs every fragment as one slot, a stage after those that it names in after, until bounded inputs have ended, an error (the first; the others are
// cancelled), or the end of ctx (its cause). What sinks have made visible is complete or absent, never half.
func RunLocal(ctx context.Context, l Local) (Result, error) {
	r := &localRun{Local: l, latest: map[string]LocalProgress{}, done: map[string]chan struct{}{}}
	if r.Out == nil {
		r.Out = os.Stdout
	}
	if err := r.refuse(); err != nil {
		return Result{}, err
	}
	done, err := r.directory()
	if err != nil {
		return Result{}, err
	}
	began := l.Clock.now()
	err = errors.Join(r.run(ctx), done())
	return r.result(l.Clock.now().Sub(began)), err
}

type localRun struct {
	Local
	root *os.Root                 // of the manifests
	done map[string]chan struct{} // by stage: closed when it has ended

	mu     sync.Mutex // guards latest, and that Progress is called once at a time
	latest map[string]LocalProgress
}

// refuse finds at once what a local run cannot do.
func (r *localRun) refuse() error {
	for _, st := range r.Graph.Stages {
		for _, f := range st.Fragments {
			for _, n := range f.Nodes {
				if n.Op != physical.OpWrite {
					continue
				}
				cfg, err := kernel.Config[physical.WriteConfig](n)
				if err != nil {
					return err
				}
				if ch, ok := r.Graph.Channels[cfg.Channel]; ok && ch.Kafka != nil {
					return fmt.Errorf("run %s: stage %s writes the Kafka channel %s, which needs a transaction; `weir up` runs it in a stack that has a Kafka", n.Path, st.Name, cfg.Channel)
				}
			}
		}
	}
	return nil
}

// directory opens the directory of the manifests, and says how to be done with it.
func (r *localRun) directory() (done func() error, err error) {
	dir, remove := r.Dir, func() error { return nil }
	if dir == "" {
		if dir, err = os.MkdirTemp("", "weir-run-"); err != nil {
			return nil, fmt.Errorf("make a directory for the run's manifests: %w", err)
		}
		remove = func() error { return os.RemoveAll(dir) }
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the run's manifests: %w", err)
	}
	if r.root, err = os.OpenRoot(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open the directory of the run's manifests: %w", err), remove())
	}
	return func() error { return errors.Join(r.root.Close(), remove()) }, nil
}

func (r *localRun) run(ctx context.Context) error {
	group := lifecycle.NewGroup(ctx)
	for _, st := range r.Graph.Stages {
		r.done[st.Name] = make(chan struct{})
	}
	for _, st := range r.Graph.Stages {
		group.Go("stage "+st.Name, func(ctx context.Context) error { return r.stage(ctx, st) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (r *localRun) stage(ctx context.Context, st physical.Stage) error {
	for _, name := range st.After {
		done := r.done[name]
		if done == nil {
			return fmt.Errorf("it runs after stage %s, which the graph does not have", name)
		}
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	group := lifecycle.NewGroup(ctx)
	for _, f := range st.Fragments {
		group.Go("fragment "+f.Name, func(ctx context.Context) error { return r.fragment(ctx, st, f) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	close(r.done[st.Name])
	return nil
}

func (r *localRun) fragment(ctx context.Context, st physical.Stage, f physical.Fragment) error {
	f.Slots = 1 // one process needs no exchange
	print, err := fingerprint(f)
	if err != nil {
		return err
	}
	log, err := openManifest(r.root, st.Name+"-"+f.Name+".manifest", print)
	if err != nil {
		return err
	}
	slot := NewSlot(SlotConfig{
		Slot:     checkpoint.Slot{Pipeline: r.Graph.Pipeline, UID: "local", Stage: st.Name, Fragment: f.Name},
		Fragment: f, Channels: r.Graph.Channels, Run: log.run(), Term: log.m.Term + 1, CommitInterval: st.CommitInterval,
		Connections: localConnections{r.Connections, log}, Clock: r.Clock, Log: r.Log, Out: r.Out, FailFast: true,
		Engine: st.Engine, Runner: st.Runner,
		Report: func(s physical.SlotReport) { r.report(LocalProgress{Stage: st.Name, Fragment: f.Name, Report: s}) },
	})
	return slot.Run(ctx)
}

func (r *localRun) report(p LocalProgress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest[p.Stage+"/"+p.Fragment] = p
	if r.Progress != nil {
		r.Progress(p)
	}
}

func (r *localRun) result(took time.Duration) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := Result{Took: took}
	for _, st := range r.Graph.Stages {
		for _, f := range st.Fragments {
			if p, ok := r.latest[st.Name+"/"+f.Name]; ok {
				out.Fragments = append(out.Fragments, p)
			}
		}
	}
	return out
}

// localConnections puts the manifest in place of the stack's log.
type localConnections struct {
	Connections
	log *manifestLog
}

func (c localConnections) Log(context.Context, checkpoint.Slot, physical.Fragment) (checkpoint.Log, error) {
	return c.log, nil
}

// RunJob implements Elsewhere, where the connections do.
func (c localConnections) RunJob(ctx context.Context, job physical.Job) (physical.JobResult, error) {
	return runJob(ctx, c.Connections, job)
}

// fingerprint tells whether a fragment is the one that a manifest is of.
func fingerprint(f physical.Fragment) (string, error) {
	data, err := json.Marshal(f.Nodes)
	if err != nil {
		return "", fmt.Errorf("fingerprint the fragment: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
