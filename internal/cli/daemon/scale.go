package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/stacks"
)

// resizing is a change of sizes of one stack that was checked, and is not made yet.
type resizing struct {
	s     *stack
	next  orders
	notes []string
}

// scale changes the sizes of services, of several stacks too: all of it is checked before anything changes (I7).
func (d *Daemon) scale(ctx context.Context, req api.Scale, why string) (api.Scaled, error) {
	out := api.Scaled{Notes: []string{}}
	changes, err := d.resizings(req.Targets, why, time.Now())
	if err != nil {
		return out, err
	}
	for _, c := range changes {
		out.Notes = append(out.Notes, c.notes...)
		if req.DryRun {
			out.Text += c.s.preview(c.next.sized(c.s.written), c.next)
			continue
		}
		if err := c.s.resize(ctx, c.next); err != nil {
			return out, err
		}
		out.Changed = true
	}
	return out, nil
}

// resizings checks all targets and gathers what is to change by stack.
func (d *Daemon) resizings(targets []api.Target, why string, now time.Time) ([]*resizing, error) {
	var out []*resizing
	var errs fault.List
	by, seen := map[string]*resizing{}, map[string]bool{}
	for _, t := range targets {
		s, v, err := d.target("scale", t.Stack, t.Service)
		if err == nil && seen[v.spec.Role()] {
			err = fault.Usage("E-USAGE", "scale service", v.spec.Role(), fault.Causef("it is named twice"), fault.Hint("name each service once"))
		}
		if err == nil {
			seen[v.spec.Role()] = true
			err = s.checkSize(v, t.Size)
		}
		if err != nil {
			errs.Add(err)
			continue
		}
		c := by[t.Stack]
		if c == nil {
			c = &resizing{s: s, next: s.record.clone()}
			by[t.Stack] = c
			out = append(out, c)
		}
		written, _ := s.written.Stack.Service(t.Service)
		c.next.Sizes[t.Service] = t.Size
		if t.Size == written.Size {
			delete(c.next.Sizes, t.Service)
		}
		c.notes = append(c.notes, s.foretell(v, t.Size, why, now))
	}
	for _, c := range out {
		c.s.note(&c.next, c.s.written, false, why, now)
		errs.Add(d.check(c.s, c.next.sized(c.s.written), ""))
	}
	return out, errs.Err()
}

// foretell says in a line what becomes of a service.
func (s *stack) foretell(v *service, n int, why string, now time.Time) string {
	role, was := v.spec.Role(), s.record.Changes[v.spec.Name]
	if n == v.spec.Size {
		return fmt.Sprintf("%s has size %d already: nothing to change", role, n)
	}
	next := was.Next(n, why, now)
	text := fmt.Sprintf("%s: %s", role, next)
	if was.GoesOn() {
		text += fmt.Sprintf("; this extends the change that is under way (%s)", was)
	}
	if _, paused := s.record.Paused[v.spec.Name]; paused {
		text += fmt.Sprintf("; its plan is paused, and weir resume %s lets it go on", role)
	}
	return text
}

// checkSize refuses a size that the service's operator cannot bring about, or that the document does not allow.
func (s *stack) checkSize(v *service, n int) error {
	role, word := v.spec.Role(), sizeWord(v.spec.Operator)
	refuse := func(hint, format string, args ...any) error {
		return fault.Invalid("E-SIZE", "scale service", role, fault.Causef(format, args...), fault.Hint(hint))
	}
	written, _ := s.written.Stack.Service(v.spec.Name)
	switch {
	case n == v.spec.Size:
		return nil
	case !scales(v.spec.Operator):
		return refuse("leave it at "+fmt.Sprint(v.spec.Size), "it is a %s, and this version does not change its number of %s", v.spec.Operator, word)
	case n < 1:
		return refuse("weir down stops a stack and keeps its data", "%d %s are asked for, and a service has at least 1", n, word)
	case n > stacks.MaxPods:
		return refuse(fmt.Sprintf("the most is weir scale %s=%d", role, stacks.MaxPods), "%d %s are asked for, and a service has at most %d", n, word, stacks.MaxPods)
	case written.Ranges() && (n < written.Size || n > written.Max):
		return refuse(fmt.Sprintf("change `%s` in the stack file and run weir up", word), "%d %s are asked for, and the stack file allows %s", n, word, written.Sizes())
	}
	return nil
}

// scales reports whether this version can change the size of such a service.
func scales(operator string) bool { return operator == operators.Stream || operator == operators.Kafka }

// sizeWord is what a service's size counts, as the stack file calls it.
func sizeWord(operator string) string {
	switch operator {
	case operators.Kafka:
		return "brokers"
	case operators.Stream:
		return "workers"
	case operators.Nats:
		return "servers"
	}
	return "nodes"
}

// resize makes the sizes so: stored first, then the reconcilers are told.
func (s *stack) resize(ctx context.Context, next orders) error {
	if err := s.order(ctx, next); err != nil {
		return err
	}
	s.resolved = next.sized(s.written)
	return s.sync(ctx)
}

// preview prints the plans that the services would have under other orders, step by step.
func (s *stack) preview(r *stacks.Resolved, next orders) string {
	shadow := &stack{d: s.d, name: s.name}
	shadow.view.Store(viewOf(r))
	text := ""
	for _, spec := range specs(r) {
		v := s.service(spec.Name)
		if v == nil || v.rec == nil {
			continue
		}
		p := shadow.kind(v).Decide(spec, v.rec.Status().Observed).Told(next.Changes[spec.Name])
		text += p.Preview()
	}
	return text
}
