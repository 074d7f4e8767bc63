package daemon

import (
	"context"
	"fmt"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
)

// rerun begins a new run of a pipeline that is complete (C9).
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

// mayRerun refuses while a run goes on: the records between its readers and its writers would become the next run's.
func (p *pipeline) mayRerun() error {
	if p.Ended.IsZero() {
		return fault.Invalid("E-RUNNING", "rerun pipeline", p.name, fault.Causef("run %d has not ended", p.Run), fault.Hint("weir get pipelines shows how far it is"))
	}
	return nil
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
