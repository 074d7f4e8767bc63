package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/evaluate"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/resources"
)

// idle is for how long an unused offer is refused; a service that wants one again revives.
const idle = time.Hour

// commandTime bounds the building of a command, which holds an offer.
const commandTime = 20 * time.Second

// killAgain is the pause before a kill whose effect is not seen is repeated.
const killAgain = 2 * time.Second

// pass looks at the world once and carries out what the plan's candidates say.
func (s *Service) pass(ctx context.Context) {
	s.mu.Lock()
	spec, wanted, orders := s.spec, s.wanted, s.orders
	s.mu.Unlock()
	now := s.cfg.Now()
	s.place()
	o := s.observe(now)
	p := s.decide(spec, wanted, orders, o)
	launches := 0
	for _, step := range p.Candidates(now) {
		if s.busy[step.ID] {
			continue
		}
		switch a := step.Action.(type) {
		case operators.Launch:
			launches++
			s.launch(ctx, step.ID, a)
		case operators.Kill:
			s.kill(ctx, a.Task, now)
		case operators.Admin:
			s.admin(ctx, step.ID, a)
		}
	}
	s.appetite(ctx, launches > 0)
	s.inquire(ctx, now)
	s.show(spec, wanted, p, o, now)
}

// inquire asks about tasks that were launched and never spoken of: the server may have died between the accept and the first status.
func (s *Service) inquire(ctx context.Context, now time.Time) {
	if now.Sub(s.asked) < killAgain {
		return
	}
	var ids []resources.TaskID
	for id, a := range s.rec.Attempts {
		pod, launch := strings.CutSuffix(id, plan.LaunchID(""))
		if launch && !s.busy[id] && a.Unheard(s.tasks[pod]) && now.Sub(a.At) > killAgain {
			ids = append(ids, a.Task)
		}
	}
	if len(ids) == 0 {
		return
	}
	s.asked = now
	s.say(s.call(ctx, resources.Call{Type: resources.CallReconcile, Tasks: ids}))
}

func (s *Service) decide(spec operators.ServiceSpec, wanted bool, orders Orders, o operators.Observed) plan.Plan {
	if wanted {
		p := s.cfg.Kind.Decide(spec, o).Told(orders.Change)
		p.Apply(orders.Overrides)
		return p
	}
	phase := plan.Phase{Name: "stop", Strategy: plan.Parallel}
	for _, pod := range slices.Sorted(maps.Keys(o.Tasks)) { // in an order that stays: a plan that looks different has changed
		phase.Steps = append(phase.Steps, plan.Stop(pod, o.Tasks[pod], "the stack goes down", o))
	}
	return plan.Plan{Service: spec.Name, Name: "stop", Revision: spec.Revision(), Phases: []plan.Phase{phase}}
}

// place finds where the pods' reservations are: in offers, or held by tasks.
func (s *Service) place() {
	role := s.cfg.Spec.Role()
	for pod, st := range s.statuses {
		if at, ok := evaluate.PlacementOf(st.Agent, st.Resource, role, pod); ok {
			s.reserved[pod] = at
		}
	}
	for _, offer := range s.offers {
		seen := map[string]bool{}
		for _, r := range offer.Resources {
			if r.Reservation == nil || seen[r.Reservation.Labels[operators.LabelPod]] {
				continue
			}
			pod := r.Reservation.Labels[operators.LabelPod]
			seen[pod] = true
			if t := s.tasks[pod]; t.Live() {
				continue // the task holds the rest of it and knows better
			}
			if at, ok := evaluate.PlacementOf(offer.Agent, offer.Resources, role, pod); ok {
				s.reserved[pod] = at
			}
		}
	}
}

// launch answers an offer that fits with the operations of the pod. The attempt is stored before the offer is accepted (C2).
func (s *Service) launch(ctx context.Context, id string, l operators.Launch) {
	pod := l.Pod.Name()
	offers := make([]resources.Offer, 0, len(s.offers))
	for _, o := range s.offers {
		offers = append(offers, o)
	}
	out, i := evaluate.Best(offers, evaluate.Request{Pod: l.Pod, At: s.reserved[pod]})
	if !out.Fits {
		s.noOffer = out.Reasons.String()
		return
	}
	s.noOffer = ""
	offer := offers[i]
	delete(s.offers, offer.ID)
	if s.began.IsZero() {
		s.began = s.cfg.Now()
	}
	attempt := s.rec.Attempts[id]
	attempt.Total = max(attempt.Total, s.tasks[pod].Attempt) // of a record that was lost: the adopted task must not hide its successor
	task := l.Pod.TaskID(attempt.Total+1, s.rec.Nonce)
	s.rec.Attempts[id] = attempt.Begin(s.cfg.Now(), task)
	s.rec.Specs[l.Pod.Revision] = l.Spec
	s.prune(l.Pod.Revision)
	if err := s.save(ctx); err != nil {
		s.rec.Attempts[id] = attempt
		s.offers[offer.ID] = offer // given back by this pass's decline
		s.say(err)
		return
	}
	at := evaluate.Complete(out.Placement, l.Pod)
	s.busy[id] = true
	s.away.Go(func() { s.accept(ctx, id, l, at, task, offer, out) })
}

// accept builds the command away from the loop, since it may make certificates and wait for artifacts, and accepts the offer.
func (s *Service) accept(ctx context.Context, id string, l operators.Launch, at operators.Placement, task resources.TaskID, offer resources.Offer, out evaluate.Outcome) {
	limited, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	spec, err := s.cfg.Kind.Command(limited, l, at, task)
	s.post(ctx, func() {
		if err == nil && !s.isWanted() {
			err = errors.New("the service was stopped meanwhile")
		}
		delete(s.busy, id)
		attempt := s.rec.Attempts[id]
		if err == nil {
			info := spec.Info(l.Pod, at, attempt.Total, s.rec.Nonce, out.Take)
			info.Framework = s.framework()
			err = s.call(ctx, resources.Call{Type: resources.CallAccept, Offers: []resources.OfferID{offer.ID}, Operations: out.Launch(info)})
		}
		if err != nil {
			attempt.Task = s.tasks[l.Pod.Name()].ID // nothing was launched: the step is not "prepared"
			s.rec.Attempts[id] = attempt.Failed(s.cfg.Now(), err.Error())
			s.say(err)
			s.say(s.save(ctx))
			s.offers[offer.ID] = offer // given back by this pass's decline; one that the master does not know any more is ignored
			return
		}
		if l.Pod.Stateful() {
			s.reserved[l.Pod.Name()] = at
		}
	})
}

// prune forgets the specs of revisions that no task runs any more.
func (s *Service) prune(now string) {
	used := map[string]bool{now: true}
	for _, t := range s.tasks {
		used[t.Revision] = true
	}
	maps.DeleteFunc(s.rec.Specs, func(revision string, _ operators.ServiceSpec) bool { return !used[revision] })
}

func (s *Service) isWanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted
}

func (s *Service) post(ctx context.Context, f func()) {
	select {
	case s.work <- f:
	case <-ctx.Done():
	}
}

// kill asks for a task's end, and again while it is not seen to go.
func (s *Service) kill(ctx context.Context, task resources.TaskID, now time.Time) {
	if now.Sub(s.killed[task]) < killAgain {
		return
	}
	s.killed[task] = now
	s.say(s.call(ctx, resources.Call{Type: resources.CallKill, Task: task}))
}

// admin carries out a call away from the loop.
func (s *Service) admin(ctx context.Context, id string, a operators.Admin) {
	attempt := s.rec.Attempts[id]
	s.rec.Attempts[id] = attempt.Begin(s.cfg.Now(), "")
	if err := s.save(ctx); err != nil {
		s.rec.Attempts[id] = attempt
		s.say(err)
		return
	}
	s.busy[id] = true
	at := maps.Clone(s.reserved)
	s.away.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		err := s.cfg.Kind.Admin(ctx, a, at)
		s.post(ctx, func() {
			delete(s.busy, id)
			attempt := s.rec.Attempts[id]
			if err != nil {
				s.rec.Attempts[id] = attempt.Failed(s.cfg.Now(), err.Error())
				s.say(fmt.Errorf("%s: %w", a, err))
			} else {
				s.rec.Attempts[id] = attempt.Succeeded()
			}
			s.say(s.save(ctx))
			s.Reprobe()
		})
	})
}

// appetite asks for offers while a launch wants one, and gives back what is not needed.
func (s *Service) appetite(ctx context.Context, want bool) {
	if want != s.hungry {
		ask := resources.CallSuppress
		if want {
			ask = resources.CallRevive
		}
		err := s.call(ctx, resources.Call{Type: ask})
		s.say(err)
		if err == nil {
			s.hungry = want
		}
	}
	if want {
		if len(s.offers) > 0 {
			s.decline(ctx, 2*time.Second) // none of them fits: others may want them
		}
		return
	}
	if len(s.offers) > 0 {
		s.decline(ctx, idle)
	}
}

func (s *Service) decline(ctx context.Context, d time.Duration) {
	ids := make([]resources.OfferID, 0, len(s.offers))
	for id := range s.offers {
		ids = append(ids, id)
	}
	clear(s.offers)
	s.say(s.call(ctx, resources.Call{Type: resources.CallDecline, Offers: ids, Filter: resources.Filter{RefuseFor: d}}))
}

func (s *Service) holds() map[string]string {
	out := map[string]string{}
	for pod, st := range s.statuses {
		if !st.State.Terminal() {
			out[pod] = st.Resource.Summary()
		}
	}
	return out
}

// launching reports whether a task may come up that no status speaks of yet.
func (s *Service) launching() bool {
	for id, a := range s.rec.Attempts {
		if pod, launch := strings.CutSuffix(id, plan.LaunchID("")); launch && (s.busy[id] || a.Unheard(s.tasks[pod])) {
			return true
		}
	}
	return false
}

// show publishes the pass, and measures how long the service took from its first launch to ready.
func (s *Service) show(spec operators.ServiceSpec, wanted bool, p plan.Plan, o operators.Observed, now time.Time) {
	if p.Summary() == plan.Done && wanted && !s.began.IsZero() && s.took == 0 {
		s.took = now.Sub(s.began)
	}
	s.mu.Lock()
	changed := s.cfg.Changed != nil && s.status.Plan.String() != p.String()
	defer func() {
		s.mu.Unlock()
		if changed {
			s.cfg.Changed()
		}
	}()
	s.status = Status{Spec: spec, Plan: p, Observed: o, Wanted: wanted, Began: s.began, Took: s.took, NoOffer: s.noOffer, Holds: s.holds(), Busy: s.launching(), At: now}
}

// probe reads facts again and again: often while the plan is not complete, seldom when it is.
func (s *Service) probe(ctx context.Context) {
	for {
		st := s.Status()
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		put := s.cfg.Kind.Probe(limited, st.Spec, st.Observed.Reserved)
		cancel()
		s.post(ctx, func() { s.facts = put })
		wait := 200 * time.Millisecond
		if st.Plan.Summary() == plan.Done && len(st.Plan.Phases) > 0 {
			wait = 2 * time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-s.probed:
		case <-time.After(wait):
		}
	}
}

// Reprobe makes the facts be read soon: something was changed from outside.
func (s *Service) Reprobe() {
	select {
	case s.probed <- struct{}{}:
	default:
	}
}
