package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/artifact"
)

// fetch is one set of artifacts on its way onto this machine.
type fetch struct {
	set artifact.Set

	mu       sync.Mutex
	progress artifact.Progress
	java     artifact.Java
	jars     artifact.Jars
	done     bool
	err      error
}

// fetch starts to bring a service's artifacts here, in the background; nil where it needs none.
func (d *Daemon) fetch(spec operators.ServiceSpec) *fetch {
	if spec.Operator == operators.Stream || spec.Operator == operators.Nats {
		return nil
	}
	f := &fetch{}
	set, err := artifact.For(spec.Operator, spec.Version)
	if err != nil {
		f.err = err
		return f
	}
	f.set = set
	d.group.Go(fmt.Sprintf("fetch %s", set), func(ctx context.Context) error {
		f.run(ctx, d.cfg.Cache)
		d.post(func() {})
		return nil // a failure is the stack's, not the server's
	})
	return f
}

func (f *fetch) run(ctx context.Context, cache string) {
	java, err := artifact.FindJava(artifact.JavaVersion, artifact.DefaultLook())
	var jars artifact.Jars
	if err == nil {
		store := artifact.Store{Dir: cache, JavaHome: java.Home, Progress: func(p artifact.Progress) {
			f.mu.Lock()
			f.progress = p
			f.mu.Unlock()
		}}
		jars, err = store.Resolve(ctx, f.set)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.java, f.jars, f.err, f.done = java, jars, err, err == nil
}

// state says whether the artifacts are here, or why they cannot be.
func (f *fetch) state() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.done, f.err
}

// result is what was fetched; an error until it is here.
func (f *fetch) result() (artifact.Java, artifact.Jars, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.done {
		return artifact.Java{}, artifact.Jars{}, errors.Join(errNotReady, f.err)
	}
	return f.java, f.jars, nil
}

// step is what people see of it.
func (f *fetch) step() (api.Progress, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.progress.Phase == "" || f.progress.Phase == "ready" && f.progress.Total == 0 {
		return api.Progress{}, false
	}
	return api.Progress{Key: f.set.String(), What: f.progress.String(), Done: int64(f.progress.Done), Total: int64(f.progress.Total), Unit: "jars", Ended: f.done}, true
}
