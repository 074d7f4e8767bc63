package daemon

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/reconcile"
	"github.com/weir-project/weir/stacks"
)

// orders are what was ordered of a stack's services beside its file, by service. They are stored with the stack, in one write.
type orders struct {
	Sizes   map[string]int         `json:"sizes,omitempty"`   // that `weir scale` or the autoscaler set; the file's number counts where there is none
	Paused  map[string]time.Time   `json:"paused,omitempty"`  // since when a plan is held
	Changes map[string]plan.Change `json:"changes,omitempty"` // the last change of each service, from which its plan is named
}

func (o orders) clone() orders {
	c := orders{Sizes: map[string]int{}, Paused: map[string]time.Time{}, Changes: map[string]plan.Change{}}
	maps.Copy(c.Sizes, o.Sizes)
	maps.Copy(c.Paused, o.Paused)
	maps.Copy(c.Changes, o.Changes)
	return c
}

// sized is the stack with the sizes that stand, which may be others than the file's.
func (o orders) sized(r *stacks.Resolved) *stacks.Resolved {
	stack := *r.Stack
	stack.Services = append([]stacks.Service(nil), stack.Services...)
	for i, v := range stack.Services {
		if n, ok := o.Sizes[v.Name]; ok {
			stack.Services[i] = v.Of(n)
		}
	}
	return &stacks.Resolved{Stack: &stack, Graphs: r.Graphs}
}

// carried are the orders that hold once r is applied, and what a person should know about them. A size that was scaled stays while the
// file's number does; a number that changed in the file wins; a range in the file bounds it.
func (s *stack) carried(r *stacks.Resolved, hash string, now time.Time) (orders, []string) {
	var notes []string
	next := orders{}.clone()
	if s != nil {
		next = s.record.clone()
	}
	for _, v := range r.Stack.Services {
		n, scaled := next.Sizes[v.Name]
		if !scaled {
			continue
		}
		was, _ := s.written.Stack.Service(v.Name)
		keep := n
		switch {
		case v.Ranges():
			keep = min(max(n, v.Size), v.Max)
		case was.Size != v.Size || was.Ranges():
			keep = v.Size
		}
		switch {
		case keep == n && v.Ranges(): // the load decides, or somebody who wants it until then
			notes = append(notes, fmt.Sprintf("service %s stays at size %d, within the file's %s", v.Name, n, v.Sizes()))
		case keep == n:
			notes = append(notes, fmt.Sprintf("service %s stays at size %d, which weir scale set (the file says %s); weir scale %s/%s=%d goes back to it", v.Name, n, v.Sizes(), r.Stack.Name, v.Name, v.Size))
		case keep == v.Size:
			notes = append(notes, fmt.Sprintf("service %s: the file's size %s replaces %d, which weir scale had set", v.Name, v.Sizes(), n))
			delete(next.Sizes, v.Name)
		default:
			notes = append(notes, fmt.Sprintf("service %s: size %d, which weir scale had set, becomes %d: the file allows %s", v.Name, n, keep, v.Sizes()))
			next.Sizes[v.Name] = keep
		}
	}
	s.note(&next, r, s != nil && s.record.Hash != hash, "weir up", now)
	return next, notes
}

// note names what becomes of each service, from which its plan is told. The workers' plan makes the channels too, so that any other document
// changes it.
func (s *stack) note(next *orders, r *stacks.Resolved, changed bool, why string, now time.Time) {
	for _, spec := range specs(next.sized(r)) {
		was, c := s.spec(spec.Name), next.Changes[spec.Name]
		switch {
		case was == nil || s.record.Down:
			next.Changes[spec.Name] = plan.Change{To: spec.Size, Why: why, At: now}
		case was.Revision() != spec.Revision() || changed && spec.Operator == operators.Stream:
			if c.To == 0 { // of a record that knew no changes
				c = plan.Change{To: was.Size, Ended: now}
			}
			next.Changes[spec.Name] = c.Next(spec.Size, why, now)
		}
	}
}

// ordersOf is what a service's reconciler must know.
func (s *stack) ordersOf(spec operators.ServiceSpec) reconcile.Orders {
	o := reconcile.Orders{Change: s.record.Changes[spec.Name]}
	if since, ok := s.record.Paused[spec.Name]; ok {
		o.Overrides = plan.Overrides{Paused: map[string]bool{"plan": true},
			Why: fmt.Sprintf("paused at %s; weir resume %s lets it go on", since.UTC().Format("15:04:05Z"), spec.Role())}
	}
	return o
}

// settle notes the end of changes whose plans are complete.
func (s *stack) settle(ctx context.Context) {
	next, ended := s.record.clone(), false
	for _, v := range s.services {
		c := next.Changes[v.spec.Name]
		if v.rec == nil || !c.GoesOn() {
			continue
		}
		st := v.rec.Status()
		if st.At.After(c.At) && st.Plan.Revision == v.spec.Revision() && st.Plan.Summary() == plan.Done {
			c.Ended, ended = st.At, true
			next.Changes[v.spec.Name] = c
			s.d.cfg.Log.Info("plan complete", "service", v.spec.Role(), "plan", c.String(), "took", c.Ended.Sub(c.At))
		}
	}
	if !ended {
		return
	}
	if err := s.order(ctx, next); err != nil {
		s.d.cfg.Log.Error("the end of a change is not stored", "stack", s.name, "error", err) // the next pass sees it again
	}
}

// order stores orders and hands them to the reconcilers.
func (s *stack) order(ctx context.Context, next orders) error {
	record := s.record
	record.orders = next
	if err := s.d.saveStack(ctx, s.name, record); err != nil {
		return err
	}
	s.record = record
	for _, v := range s.services {
		if v.rec != nil {
			v.rec.Order(s.ordersOf(v.spec))
		}
	}
	return nil
}

// pause holds a service's plan or lets it go on. What is in flight ends, and what ran and failed is brought back all the same.
func (d *Daemon) pause(ctx context.Context, p api.Pause) (api.Apply, error) {
	op := map[bool]string{true: "pause", false: "resume"}[p.Paused]
	s, v, err := d.target(op, p.Stack, p.Service)
	if err != nil {
		return api.Apply{}, err
	}
	role := v.spec.Role()
	next := s.record.clone()
	since, held := next.Paused[p.Service]
	switch {
	case p.Paused && held:
		return api.Apply{Stack: s.name, Notes: []string{fmt.Sprintf("the plan of %s is paused already, since %s; weir resume %s lets it go on", role, since.UTC().Format(time.RFC3339), role)}}, nil
	case !p.Paused && !held:
		return api.Apply{Stack: s.name, Notes: []string{fmt.Sprintf("the plan of %s is not paused: nothing to change", role)}}, nil
	case p.Paused:
		next.Paused[p.Service] = time.Now()
	default:
		delete(next.Paused, p.Service)
	}
	if err := s.order(ctx, next); err != nil {
		return api.Apply{}, err
	}
	note := fmt.Sprintf("the plan of %s goes on; weir rollout %s shows it", role, role)
	if p.Paused {
		note = fmt.Sprintf("the plan of %s starts no new step, what is in flight ends; weir resume %s lets it go on", role, role)
	}
	return api.Apply{Stack: s.name, Changed: true, Notes: []string{note}}, nil
}

// target finds a service that something is asked of.
func (d *Daemon) target(op, stack, name string) (*stack, *service, error) {
	role := stack + "/" + name
	s := d.stacks[stack]
	if s == nil {
		_, err := d.getStack(stack)
		return nil, nil, err
	}
	v := s.service(name)
	if v == nil {
		var known []string
		for _, v := range s.services {
			known = append(known, v.spec.Role())
		}
		return nil, nil, fault.NotFound("E-NOT-FOUND", op+" service", role, fault.Causef("stack %s has none of that name (services: %s)", stack, strings.Join(known, ", ")),
			fault.Hint(fault.DidYouMean(role, known, "weir get services")))
	}
	if d.stopping != nil {
		return nil, nil, fault.New("E-STOPPING", op+" service", role, fault.Causef("the server is stopping"), fault.Hint("run it again when the stack is up again"))
	}
	if s.record.Down {
		return nil, nil, fault.New("E-DOWN", op+" service", role, fault.Causef("its stack %s is down", s.name), fault.Hint("weir up the stack first"))
	}
	return s, v, nil
}
