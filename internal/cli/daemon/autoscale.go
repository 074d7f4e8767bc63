package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/autoscale"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/pipelines/physical"
)

// scaler keeps what the size of a stack's worker fleet is decided on, and the last decisions.
type scaler struct {
	window *autoscale.Window
	scaled
	last    autoscale.Decision
	asked   time.Time
	refused string // why the last decision was not carried out; empty: it was
}

// scaled is what is stored of it, when the size changes: a server that died knows its cool-down and its history. What was measured is not stored: it is measured again.
type scaled struct {
	Memory  autoscale.Memory     `json:"memory"`
	Changes []autoscale.Decision `json:"changes,omitempty"` // the last ones, oldest first
}

const (
	decideEvery = time.Second
	keptChanges = 20
)

func scalerKey(stack, service string) string { return "autoscale/" + stack + "/" + service }

// scalerOf brings back what is stored.
func (s *stack) scalerOf(v *service) (*scaler, error) {
	if s.scaler != nil {
		return s.scaler, nil
	}
	sc := &scaler{window: autoscale.NewWindow()}
	if data, _, ok := s.d.store.Get(scalerKey(s.name, v.spec.Name)); ok {
		if err := json.Unmarshal(data, &sc.scaled); err != nil {
			return nil, fmt.Errorf("read the stored scaling of %s: %w", v.spec.Role(), err)
		}
	}
	s.scaler = sc
	return sc, nil
}

// autoscale decides on the fleet's size once a second, where the file gives bounds, and carries the decision out.
func (s *stack) autoscale(ctx context.Context, now time.Time) {
	v := s.fleet()
	if v == nil || v.rec == nil {
		return
	}
	written, _ := s.written.Stack.Service(v.spec.Name)
	if !written.Ranges() {
		s.scaler = nil
		return
	}
	sc, err := s.scalerOf(v)
	if err != nil {
		s.d.cfg.Log.Error("the fleet is not scaled", "service", v.spec.Role(), "error", err)
		return
	}
	if now.Sub(sc.asked) < decideEvery {
		return
	}
	sc.asked = now
	fleet := autoscale.Fleet{Service: v.spec.Role(), Workers: v.spec.Size, Min: written.Size, Max: written.Max, Changing: s.changing(v)}
	o := sc.window.Observe(fleet, s.registeredTasks(), s.running(), now)
	sc.last, sc.Memory = autoscale.Decide(autoscale.Policy{}, o, sc.Memory)
	if sc.last.Want == v.spec.Size {
		return
	}
	if err := s.rescale(ctx, v, sc); err != nil {
		sc.last.Verdict, sc.last.Want = autoscale.Refused, v.spec.Size
		sc.last.Reason.Under = append([]autoscale.Reason{{Text: "it was not carried out: " + err.Error()}}, sc.last.Reason.Under...)
		sc.last.Next = fault.From(err).Flat().Hint
		if text := err.Error(); text != sc.refused { // it is tried again every second
			s.d.cfg.Log.Warn("the fleet was not scaled", "service", v.spec.Role(), "error", err)
			sc.refused = text
		}
		return
	}
	sc.refused = ""
}

// rescale carries a decision out. What cannot be is refused before anything is stored (I7). The cool-down is stored before the size: a server that
// dies in between waits and decides again.
func (s *stack) rescale(ctx context.Context, v *service, sc *scaler) error {
	d := sc.last
	changes, err := s.d.resizings([]api.Target{{Stack: s.name, Service: v.spec.Name, Size: d.Want}}, "the autoscaler: "+d.Reason.Under[0].Text, time.Now())
	if err != nil {
		return err
	}
	next := scaled{Memory: sc.Memory.Change(d), Changes: append(slices.Clone(sc.Changes), d)}
	next.Changes = next.Changes[max(0, len(next.Changes)-keptChanges):]
	if err := s.d.put(ctx, scalerKey(s.name, v.spec.Name), next); err != nil {
		return fmt.Errorf("store the scaling of %s: %w", v.spec.Role(), err)
	}
	for _, c := range changes { // it is one
		if err := c.s.resize(ctx, c.next); err != nil {
			return err
		}
	}
	s.d.cfg.Log.Info("scaled", "service", v.spec.Role(), "from", d.Workers, "to", d.Want, "because", d.Reason.Under[0].Text)
	sc.scaled = next
	return nil
}

// changing says what goes on with the fleet that must end before its size is looked at; empty: nothing.
func (s *stack) changing(v *service) string {
	st, c := v.rec.Status(), s.record.Changes[v.spec.Name]
	if _, paused := s.record.Paused[v.spec.Name]; paused {
		return "its plan is paused; weir resume " + v.spec.Role() + " lets it go on"
	}
	if len(st.Plan.Phases) == 0 || st.Plan.Revision != v.spec.Revision() {
		return "its plan is being made"
	}
	if st.Plan.Summary() != plan.Done {
		return currently(st.Plan)
	}
	if c.GoesOn() {
		return c.String()
	}
	return ""
}

// registeredTasks are the stack's workers that report.
func (s *stack) registeredTasks() []string {
	var out []string
	for task, w := range s.d.workers {
		if w.stack == s.name {
			out = append(out, task)
		}
	}
	slices.Sort(out)
	return out
}

// measured takes a worker's report into the window.
func (s *stack) measured(task string, rep physical.Report, now time.Time) {
	if s.scaler == nil {
		return
	}
	for _, o := range s.assigned.Slots { // only the word of a slot's present owner
		for _, r := range rep.Slots {
			if o.Slot == r.Slot && o.Task == task && o.Term == r.Term {
				s.scaler.window.Slot(task, r, now)
			}
		}
	}
	if rep.Usage != nil {
		s.scaler.window.Worker(task, *rep.Usage, now)
	}
}

// running are the stages that run, those that write before those that read, with their slots that have not ended.
func (s *stack) running() []autoscale.Plan {
	var out []autoscale.Plan
	for _, p := range s.pipelines {
		for i := range p.Graph.Stages {
			st := &p.Graph.Stages[i]
			due, _ := p.due(st)
			if !due || !p.Stages[st.Name].Listed {
				continue
			}
			a := autoscale.Plan{Stage: autoscale.Stage{Name: p.name + "/" + st.Name, MaxWorkers: st.MaxWorkers, From: p.writersFor(st), Sink: sinkOf(&p.Graph, st)}}
			for _, slot := range p.slots(st) {
				if _, ended := p.Stages[st.Name].Slots[slot.Index]; !ended {
					a.Expected = append(a.Expected, slot)
				}
			}
			if len(a.Expected) > 0 {
				out = append(out, a)
			}
		}
	}
	return out
}

// writersFor are the stages whose channels a stage reads.
func (p *pipeline) writersFor(st *physical.Stage) []string {
	var out []string
	for _, ch := range p.Graph.Channels {
		if ch.Kafka == nil || !slices.Contains(ch.Readers, st.Name) {
			continue
		}
		for _, w := range ch.Writers {
			if w != st.Name {
				out = append(out, p.name+"/"+w)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// sinkOf names what a stage's slots apply their outboxes to; empty where they have none.
func sinkOf(g *physical.Graph, st *physical.Stage) string {
	var out []string
	for _, f := range st.Fragments {
		for _, n := range f.Nodes {
			var cfg physical.WriteConfig
			if n.Op != physical.OpWrite || json.Unmarshal(n.Config, &cfg) != nil {
				continue
			}
			switch c := g.Channels[cfg.Channel]; {
			case c.Cassandra != nil:
				out = append(out, fmt.Sprintf("cassandra %s (table %s.%s)", c.Cassandra.Service, c.Cassandra.Keyspace, c.Cassandra.Table))
			case cfg.Connector != "" && cfg.Connector != "discard":
				out = append(out, fmt.Sprintf("%s %s", cfg.Connector, n.Path))
			}
		}
	}
	return strings.Join(out, ", ")
}

// scaling answers `weir why scale`: of a service by its name, or of a stage by "pipeline/stage".
func (d *Daemon) scaling(name string) (api.Scaling, error) {
	var known []string
	for _, stack := range slices.Sorted(maps.Keys(d.stacks)) {
		s := d.stacks[stack]
		v := s.fleet()
		for _, other := range s.services {
			if other != v && (other.spec.Role() == name || other.spec.Name == name) {
				return api.Scaling{}, notByLoad(name, other.spec)
			}
		}
		if v == nil {
			continue
		}
		known = append(known, v.spec.Role())
		if name == v.spec.Role() || name == v.spec.Name {
			return s.scalingOf(v, ""), nil
		}
		for _, p := range s.pipelines {
			for _, st := range p.Graph.Stages {
				known = append(known, p.name+"/"+st.Name)
				if name == p.name+"/"+st.Name {
					return s.scalingOf(v, name), nil
				}
			}
		}
	}
	slices.Sort(known)
	return api.Scaling{}, fault.NotFound("E-NOT-FOUND", "why scale", name, fault.Causef("there is neither such a worker service nor such a stage (there are: %s)", listed(known)),
		fault.Hint(fault.DidYouMean(name, known, "weir get services")))
}

// notByLoad says what decides the size of a service that the load does not.
func notByLoad(name string, spec operators.ServiceSpec) error {
	hint := "weir get services shows its size"
	if scales(spec.Operator) {
		hint = "weir scale " + spec.Role() + "=N sets a size"
	}
	return fault.Invalid("E-SCALE", "why scale", name, fault.Causef("it is a %s: only workers are scaled by the load", spec.Operator), fault.Hint(hint))
}

// listed are the names that there are, or that there are none.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (s *stack) scalingOf(v *service, stage string) api.Scaling {
	written, _ := s.written.Stack.Service(v.spec.Name)
	out := api.Scaling{Service: v.spec.Role(), Stage: stage, Workers: v.spec.Size, Min: written.Size, Max: max(written.Size, written.Max), Auto: written.Ranges(), Changes: []autoscale.Decision{}}
	switch {
	case !out.Auto:
		out.Next = "weir scale " + out.Service + "=N"
		out.Reason = autoscale.Reason{Text: fmt.Sprintf("%s has %s because the stack file says so: it is not scaled by the load", out.Service, fault.Count(out.Workers, "worker")),
			Under: []autoscale.Reason{{Text: fmt.Sprintf("`workers: {min: 1, max: %d}` in the stack file and weir up turn that on", max(2, 2*out.Workers))}}}
		if _, scaled := s.record.Sizes[v.spec.Name]; scaled {
			out.Reason.Text = fmt.Sprintf("%s has %s because weir scale said so: it is not scaled by the load", out.Service, fault.Count(out.Workers, "worker"))
		}
	case s.record.Down:
		out.Reason, out.Next = autoscale.Reason{Text: out.Service + ": its stack is down"}, "weir up STACK.yaml"
	case s.scaler == nil || s.scaler.last.At.IsZero():
		out.Reason = autoscale.Reason{Text: fmt.Sprintf("%s: nothing was decided yet: its workers are being started", out.Service)}
		out.Next = "weir rollout " + out.Service
	default:
		last := s.scaler.last
		out.Last, out.Reason, out.Next = &last, about(last.Reason, stage), last.Next
	}
	if _, paused := s.record.Paused[v.spec.Name]; paused {
		out.Next = "weir resume " + out.Service
	}
	if s.scaler != nil {
		out.Changes = append(out.Changes, s.scaler.Changes...)
	}
	return out
}

// about leaves of a decision's reasons those of one stage, and what holds for all.
func about(r autoscale.Reason, stage string) autoscale.Reason {
	if stage == "" {
		return r
	}
	out := autoscale.Reason{Text: r.Text}
	for _, u := range r.Under {
		if !strings.HasPrefix(u.Text, "stage ") || strings.HasPrefix(u.Text, "stage "+stage) {
			out.Under = append(out.Under, u)
		}
	}
	return out
}
