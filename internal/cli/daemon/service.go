package daemon

import (
	"fmt"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/reconcile"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/resources"
)

// serviceStatus is what people see of a service, with what was ordered of it.
func (s *stack) serviceStatus(v *service) api.Service {
	out := v.status(s.record.Down, s.record.Changes[v.spec.Name])
	if _, scaled := s.record.Sizes[v.spec.Name]; scaled {
		written, _ := s.written.Stack.Service(v.spec.Name)
		out.Written = written.Size
	}
	since, paused := s.record.Paused[v.spec.Name]
	if out.Rollout != nil {
		out.Rollout.Paused = since
	}
	if paused && out.Reason == "" {
		out.Reason = fmt.Sprintf("its plan is paused; weir resume %s lets it go on", v.spec.Role())
	}
	return out
}

func (v *service) status(down bool, c plan.Change) api.Service {
	out := api.Service{Name: v.spec.Name, Operator: v.spec.Operator, Version: v.spec.Version, Want: v.spec.Size, State: "waiting"}
	if v.rec == nil {
		switch {
		case down:
			out.State = "stopped"
		case v.fetched.Load() != nil:
			out.Reason = "its jars are being fetched"
		}
		return out
	}
	st := v.rec.Status()
	out.Plan, out.Took, out.Rollout = st.Plan.String(), st.Took, rollout(st.Plan, c)
	out.Ready = min(v.ready(st), out.Want)
	out.Endpoint = endpoint(v.spec, st.Observed)
	switch {
	case down:
		out.State = "stopped"
	case len(st.Plan.Phases) == 0 || st.Plan.Revision != v.spec.Revision():
		out.State, out.Reason = "waiting", "its plan is being made" // the reconciler has not looked since the start or the change
	case st.Plan.Summary() == plan.Done:
		out.State = "ready"
	default:
		out.State, out.Reason = doing(c, st.Plan.Broken()), currently(st.Plan)
		if !st.Began.IsZero() && st.Took == 0 {
			out.Elapsed = time.Since(st.Began)
		}
	}
	return out
}

// ready counts the pods that run and of which the plan waits for nothing more.
func (v *service) ready(st reconcile.Status) int {
	n, waits := 0, st.Plan.Summary() != plan.Done && v.spec.Operator != operators.Stream
	for pod, t := range st.Observed.Tasks {
		i, ok := stream.Index(v.spec.Name, pod)
		if !ok || i >= v.spec.Size || t.State != resources.Running {
			continue
		}
		if step, ok := st.Plan.Step(plan.ReadyID(pod)); waits && (!ok || !step.Done) {
			continue
		}
		n++
	}
	return n
}

// doing is the word for what goes on with a service whose plan is not complete.
func doing(c plan.Change, broken bool) string {
	switch {
	case !c.GoesOn() && c.To != 0 && broken:
		return "recovering"
	case !c.GoesOn() && c.To != 0:
		return "waiting" // the server has just started, or cannot see
	case c.From == 0:
		return "deploying"
	case c.String() == "update":
		return "updating"
	}
	return "scaling"
}

// currently is the first step that is not done, and why.
func currently(p plan.Plan) string {
	step, more := current(p)
	if !more {
		return ""
	}
	text := step.ID + " " + string(step.Status)
	if step.Failed {
		return text + ": " + step.Reason // what failed is not left out
	}
	if why, _, _ := strings.Cut(step.Reason, ": "); why != "" {
		text += ": " + why // the whole of it is in the plan
	}
	return text
}

// current is the first step that is not done.
func current(p plan.Plan) (plan.Step, bool) {
	for _, ph := range p.Phases {
		for _, s := range ph.Steps {
			if !s.Done {
				return s, true
			}
		}
	}
	return plan.Step{}, false
}

// rollout is a plan for machines.
func rollout(p plan.Plan, c plan.Change) *api.Rollout {
	out := &api.Rollout{Name: p.Name, Revision: p.Revision, Summary: string(p.Summary()), Why: c.Why, Since: c.At, Phases: []api.Phase{}}
	for _, ph := range p.Phases {
		phase := api.Phase{Name: ph.Name, Strategy: string(ph.Strategy), Summary: string(ph.Summary()), Steps: []api.Step{}}
		for _, s := range ph.Steps {
			phase.Steps = append(phase.Steps, api.Step{ID: s.ID, Action: s.Action.String(), Status: string(s.Status), Reason: s.Reason})
		}
		out.Phases = append(out.Phases, phase)
	}
	return out
}
