package daemon

import (
	"fmt"
	"net"
	"slices"

	"github.com/weir-project/weir/internal/cli/connect"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/evaluate"
	"github.com/weir-project/weir/operators/kafka"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/stacks"
)

// check refuses what cannot be carried out: a service that fits nowhere, a port that is taken, a removal, a pipeline that cannot go on.
func (d *Daemon) check(old *stack, r *stacks.Resolved, replay string) error {
	var errs fault.List
	for _, spec := range specs(r) {
		was := old.spec(spec.Name)
		if err := checkPort(was, spec); err != nil {
			errs.Add(err)
		} else {
			errs.Add(d.checkFit(old, r, spec))
		}
		if v := old.service(spec.Name); v != nil {
			errs.Add(v.checkShrink(spec))
		}
		if was != nil && was.Operator != spec.Operator {
			errs.Add(fault.Invalid("E-OPERATOR", "apply service", spec.Name, fault.Causef("it is a %s and cannot become a %s", was.Operator, spec.Operator), fault.Hint("give the new service another name")))
		}
	}
	for _, g := range r.Graphs {
		if other := d.stackOf(g.Pipeline); other != nil && other != old {
			errs.Add(fault.Invalid("E-DUPLICATE", "apply stack", r.Stack.Name, fault.Causef("pipeline %q belongs to stack %s already", g.Pipeline, other.name), fault.Hint("give it another metadata.name")))
		}
	}
	for _, g := range r.Graphs {
		errs.Add(connect.BeamFor(g))
	}
	if replay != "" && old.pipeline(replay) == nil {
		errs.Add(fault.NotFound("E-NOT-FOUND", "rerun pipeline", replay, fault.Causef("stack %s has not run it", r.Stack.Name), fault.Hint("weir get pipelines")))
	}
	if old == nil {
		return errs.Err()
	}
	for _, v := range old.resolved.Stack.Services {
		if _, ok := r.Stack.Service(v.Name); !ok {
			errs.Add(fault.Invalid("E-REMOVE", "apply stack", r.Stack.Name, fault.Causef("service %q is no longer in the file, and this version removes no service from a stack", v.Name), fault.Hint(old.anew())))
		}
	}
	for _, p := range old.pipelines {
		if !slices.ContainsFunc(r.Graphs, func(g *physical.Graph) bool { return g.Pipeline == p.name }) {
			errs.Add(fault.Invalid("E-REMOVE", "apply stack", r.Stack.Name, fault.Causef("pipeline %q is no longer in the file, and this version removes none from a stack", p.name), fault.Hint(old.anew())))
		}
	}
	for _, g := range r.Graphs {
		if p := old.pipeline(g.Pipeline); p != nil {
			setHomes(g, byName(r))
			change, err := compile.Compatible(&p.Graph, g)
			if g.Pipeline == replay && !change.Fixed() {
				err = p.mayRerun()
			}
			errs.Add(err)
		}
	}
	return errs.Err()
}

// anew is how a stack is begun without what it had.
func (s *stack) anew() string {
	if s.origin() != nil {
		return "keep it, or give the object another name"
	}
	return "keep it, or begin anew after weir down --purge"
}

// checkFit refuses a pod that fits on no agent, and more pods than there is room for beside all others that shall run.
func (d *Daemon) checkFit(old *stack, r *stacks.Resolved, spec operators.ServiceSpec) error {
	agents, err := d.agents()
	if err != nil || len(agents) == 0 {
		return err // none: it is registering; the plan says so if it never does
	}
	pod, was := podOf(spec, 0), old.spec(spec.Name)
	if err := evaluate.Fits(agents, pod); err != nil {
		return err
	}
	if was != nil && was.Size >= spec.Size && was.PodRevision() == spec.PodRevision() {
		return nil // it asks for no more than it has
	}
	others := specs(r)
	for _, s := range d.stacks {
		if s != old && !s.record.Down {
			others = append(others, specs(s.resolved)...)
		}
	}
	var beside []operators.PodSpec
	for _, other := range others {
		if other.Role() == spec.Role() {
			continue
		}
		for i := range other.Size {
			beside = append(beside, podOf(other, i))
		}
	}
	return evaluate.FitsAll(agents, beside, pod, spec.Size)
}

// checkShrink refuses a size that a running service's data has no room for.
func (v *service) checkShrink(spec operators.ServiceSpec) error {
	if v.rec == nil || v.spec.Operator != operators.Kafka || spec.Operator != operators.Kafka {
		return nil
	}
	return kafka.CheckSize(v.spec, spec, v.rec.Status().Observed.Kafka)
}

// checkPort refuses a fixed port that somebody else listens on.
func checkPort(was *operators.ServiceSpec, spec operators.ServiceSpec) error {
	if spec.Port == 0 || spec.Operator != operators.Kafka && spec.Operator != operators.Nats || was != nil && was.Port == spec.Port {
		return nil
	}
	at := fmt.Sprintf("127.0.0.1:%d", spec.Port)
	l, err := net.Listen("tcp", at)
	if err != nil {
		return fault.Invalid("E-PORT", "apply service", spec.Name, fault.Causef("its fixed port %d is in use: %w", spec.Port, err),
			fault.Hint("leave `port` out, so that a free one is chosen, or end the program that listens there"))
	}
	return l.Close()
}
