package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/engine"
)

// rerun begins a new run of a pipeline that is complete (C9), or that stands still.
func (d *Daemon) rerun(ctx context.Context, name string) (api.Apply, error) {
	for _, s := range d.stacks {
		p := s.pipeline(name)
		if p == nil {
			continue
		}
		if s.record.Down {
			return api.Apply{}, fault.New("E-DOWN", "rerun pipeline", name, fault.Causef("its stack %s is down", s.name), fault.Hint("weir up the stack first"))
		}
		if err := p.mayRerun(); err != nil {
			return api.Apply{}, err
		}
		return d.begin(ctx, s, p)
	}
	return api.Apply{}, fault.NotFound("E-NOT-FOUND", "rerun pipeline", name, fault.Causef("no stack has it"), fault.Hint("weir get pipelines"))
}

// stackOf finds the stack that a pipeline belongs to.
func (d *Daemon) stackOf(pipeline string) *stack {
	for _, s := range d.stacks {
		if s.pipeline(pipeline) != nil {
			return s
		}
	}
	return nil
}

// mayRerun refuses while a run goes on. One that stands still may begin anew (a stream that it read is gone), unless rows of it lie between its
// stages: they would become the next run's.
func (p *pipeline) mayRerun() error {
	refused := func(cause, hint string) error {
		return fault.Invalid("E-RUNNING", "rerun pipeline", p.name, fault.Causef("run %d has not ended%s", p.Run, cause), fault.Hint(hint))
	}
	switch {
	case !p.Ended.IsZero():
		return nil
	case !p.stands():
		return refused("", "weir get pipelines shows how far it is")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Graph.Channels)) {
		if p.Graph.Channels[name].Kafka != nil {
			return refused(", and the next would take its rows in channel "+name+" for its own", "give the pipeline another name in its file and weir up the stack: it begins anew under it")
		}
	}
	return nil
}

// stands reports whether a slot says why it does not go on, and none runs.
func (p *pipeline) stands() bool {
	stuck := false
	for _, r := range p.latest {
		if r.State == engine.StateRunning {
			return false
		}
		stuck = stuck || r.State == engine.StateWaiting && r.Reason != ""
	}
	return stuck
}

func (d *Daemon) begin(ctx context.Context, s *stack, p *pipeline) (api.Apply, error) {
	next := *p
	next.begin(p.Run + 1)
	if err := d.savePipeline(ctx, &next); err != nil {
		return api.Apply{}, err
	}
	*p = next
	return api.Apply{Stack: s.name, Changed: true, Notes: []string{fmt.Sprintf("pipeline %s begins run %d", p.name, p.Run)}}, nil
}
