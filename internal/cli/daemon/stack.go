package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/evaluate"
	"github.com/weir-project/weir/operators/reconcile"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/stacks"
)

// stackRecord is what is stored of a stack.
type stackRecord struct {
	Bundle api.Bundle `json:"bundle"`
	Hash   string     `json:"hash"`
	Down   bool       `json:"down,omitempty"` // stopped by `weir down`; `up` clears it
	orders            // of its services
}

// stack is one that was applied.
type stack struct {
	d         *Daemon
	name      string
	record    stackRecord
	written   *stacks.Resolved // as the file says it
	resolved  *stacks.Resolved // with the sizes that stand now
	services  []*service
	pipelines []*pipeline
	failure   error
	view      atomic.Pointer[view]              // what the workers' plan is decided on; replaced whole
	workers   atomic.Pointer[reconcile.Service] // the fleet's, for those who wake it
	assigned  stream.State                      // stored before it is sent
	lost      map[string]time.Time              // workers whose link broke while their task may run, and when
	sampled   time.Time
	scaler    *scaler // of its workers, where the file gives bounds
}

// view is a stack as its reconcilers see it, on goroutines of their own: never written after it was stored.
type view struct {
	graphs   []physical.Graph
	services map[string]operators.ServiceSpec
}

// service is one of a stack's services with its reconciler, which starts when its artifacts are here.
type service struct {
	spec    operators.ServiceSpec
	fetched atomic.Pointer[fetch] // nil: it needs none; read by its reconciler too
	rec     *reconcile.Service    // written once, before its goroutine starts
	failed  error
}

// outdated reports whether the service's artifacts must be fetched: never asked for, of another version, or not to be had the last time.
func (v *service) outdated(spec operators.ServiceSpec) bool {
	f := v.fetched.Load()
	if f == nil {
		return true
	}
	_, err := f.state()
	return err != nil || v.spec.Operator != spec.Operator || v.spec.Version != spec.Version
}

// resolve checks a bundle as the CLI did: the server trusts no client's validation.
func resolve(b api.Bundle) (*stacks.Resolved, error) {
	dir := b.File
	if i := strings.LastIndexByte(dir, '/'); i >= 0 {
		dir = dir[:i]
	}
	return stacks.Resolve(stacks.Bundle{File: b.File, Dir: dir, Source: b.Source, Files: b.Files})
}

// specs translates the stack's services into what the operators understand.
func specs(r *stacks.Resolved) []operators.ServiceSpec {
	var out []operators.ServiceSpec
	for _, v := range r.Stack.Services {
		out = append(out, operators.ServiceSpec{Stack: r.Stack.Name, Name: v.Name, Operator: v.Operator, Version: v.Version, Size: v.Size,
			StorageMiB: v.StorageMiB, MemoryMiB: v.MemoryMiB, Port: v.Port, Profile: string(r.Stack.Profile), Settings: settings(v)})
	}
	return out
}

// settings are what only one kind of service knows.
func settings(v stacks.Service) map[string]string {
	if v.Cores == 0 {
		return nil
	}
	return map[string]string{stream.Cores: strconv.Itoa(v.Cores)}
}

func byName(r *stacks.Resolved) map[string]operators.ServiceSpec {
	out := map[string]operators.ServiceSpec{}
	for _, v := range specs(r) {
		out[v.Name] = v
	}
	return out
}

// apply makes a stack what a bundle says. Everything is checked before anything changes (I7).
// replay names a pipeline that begins a new run with its new graph; empty: none.
func (d *Daemon) apply(ctx context.Context, b api.Bundle, r *stacks.Resolved, replay string) (api.Apply, error) {
	if d.stopping != nil {
		return api.Apply{}, fault.New("E-STOPPING", "apply stack", r.Stack.Name, fault.Causef("the server is stopping"), fault.Hint("run it again when it has stopped"))
	}
	hash, err := r.Hash()
	if err != nil {
		return api.Apply{}, err
	}
	out := api.Apply{Stack: r.Stack.Name}
	s := d.stacks[r.Stack.Name]
	orders, notes := s.carried(r, hash, time.Now())
	out.Notes = notes
	if s != nil && s.record.Hash == hash && !s.record.Down && s.failure == nil && replay == "" {
		out.Notes = append(out.Notes, fmt.Sprintf("stack %s is as the file says: nothing to change", s.name))
		return out, nil
	}
	written := r
	r = orders.sized(r)
	if err := d.check(s, r, replay); err != nil {
		return out, err
	}
	record := stackRecord{Bundle: b, Hash: hash, orders: orders}
	if err := d.saveStack(ctx, r.Stack.Name, record); err != nil {
		return out, err
	}
	out.Changed = true
	if s == nil {
		s = d.newStack(r.Stack.Name)
		d.stacks[s.name] = s
	}
	s.record, s.written, s.resolved, s.failure = record, written, r, nil
	if err := s.sync(ctx); err != nil {
		return out, err
	}
	if p := s.pipeline(replay); p != nil {
		return d.begin(ctx, s, p)
	}
	return out, nil
}

func (d *Daemon) saveStack(ctx context.Context, name string, record stackRecord) error {
	if err := d.put(ctx, "stacks/"+name, record); err != nil {
		return fmt.Errorf("store stack %s: %w", name, err)
	}
	return nil
}

// put stores v as JSON under a key that this server alone writes.
func (d *Daemon) put(ctx context.Context, key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return keep{d}.Save(ctx, key, data)
}

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
		if was != nil && was.Operator != spec.Operator {
			errs.Add(fault.Invalid("E-OPERATOR", "apply service", spec.Name, fault.Causef("it is a %s and cannot become a %s", was.Operator, spec.Operator), fault.Hint("give the new service another name")))
		}
	}
	for _, g := range r.Graphs {
		if other := d.stackOf(g.Pipeline); other != nil && other != old {
			errs.Add(fault.Invalid("E-DUPLICATE", "apply stack", r.Stack.Name, fault.Causef("pipeline %q belongs to stack %s already", g.Pipeline, other.name), fault.Hint("give it another metadata.name")))
		}
	}
	if replay != "" && old.pipeline(replay) == nil {
		errs.Add(fault.NotFound("E-NOT-FOUND", "rerun pipeline", replay, fault.Causef("stack %s has not run it", r.Stack.Name), fault.Hint("weir get pipelines")))
	}
	if old == nil {
		return errs.Err()
	}
	for _, v := range old.resolved.Stack.Services {
		if _, ok := r.Stack.Service(v.Name); !ok {
			errs.Add(fault.Invalid("E-REMOVE", "apply stack", r.Stack.Name, fault.Causef("service %q is no longer in the file, and this version removes no service from a stack", v.Name), fault.Hint("keep it, or begin anew after weir down --purge")))
		}
	}
	for _, p := range old.pipelines {
		if !slices.ContainsFunc(r.Graphs, func(g *physical.Graph) bool { return g.Pipeline == p.name }) {
			errs.Add(fault.Invalid("E-REMOVE", "apply stack", r.Stack.Name, fault.Causef("pipeline %q is no longer in the file, and this version removes none from a stack", p.name), fault.Hint("keep it, or begin anew after weir down --purge")))
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

// checkPort refuses a fixed port that somebody else listens on.
func checkPort(was *operators.ServiceSpec, spec operators.ServiceSpec) error {
	if spec.Port == 0 || spec.Operator != operators.Kafka || was != nil && was.Port == spec.Port {
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

func (d *Daemon) newStack(name string) *stack {
	return &stack{d: d, name: name, lost: map[string]time.Time{}}
}

func (s *stack) spec(name string) *operators.ServiceSpec {
	if s == nil {
		return nil
	}
	for _, v := range s.services {
		if v.spec.Name == name {
			return &v.spec
		}
	}
	return nil
}

func (s *stack) service(name string) *service {
	for _, v := range s.services {
		if v.spec.Name == name {
			return v
		}
	}
	return nil
}

func (s *stack) pipeline(name string) *pipeline {
	if s == nil {
		return nil
	}
	for _, p := range s.pipelines {
		if p.name == name {
			return p
		}
	}
	return nil
}

// load brings back what was applied before the server died or was stopped.
func (d *Daemon) load() error {
	for _, e := range d.store.List("stacks") {
		var record stackRecord
		if err := json.Unmarshal(e.Value, &record); err != nil {
			return fmt.Errorf("read stored %s: %w", e.Key, err)
		}
		r, err := resolve(record.Bundle)
		if err != nil {
			return fmt.Errorf("read stored %s: %w", e.Key, err)
		}
		s := d.newStack(r.Stack.Name)
		s.record, s.written, s.resolved = record, r, record.sized(r)
		if err := s.loadAssigned(); err != nil {
			return err
		}
		d.stacks[s.name] = s
		if err := s.sync(d.group.Context()); err != nil {
			return err
		}
	}
	return nil
}

// sync brings services and pipelines into line with the resolved stack. A stack that is down has its records loaded and nothing started.
func (s *stack) sync(ctx context.Context) error {
	for _, spec := range specs(s.resolved) {
		v := s.service(spec.Name)
		if v == nil {
			v = &service{}
			s.services = append(s.services, v)
		}
		if !s.record.Down && v.outdated(spec) {
			v.fetched.Store(s.d.fetch(spec))
		}
		v.spec, v.failed = spec, nil
		if v.rec != nil {
			v.rec.Order(s.ordersOf(v.spec))
			v.rec.Want(spec, !s.record.Down)
		}
	}
	s.view.Store(viewOf(s.resolved))
	for _, g := range s.resolved.Graphs {
		p := s.pipeline(g.Pipeline)
		if p == nil {
			p = newPipeline(s.name, *g)
			if data, _, ok := s.d.store.Get(pipelineKey(s.name, g.Pipeline)); ok {
				var err error
				if p, err = loadPipeline(s.name, g.Pipeline, data); err != nil {
					return err
				}
			}
			s.pipelines = append(s.pipelines, p)
		}
		if err := p.setGraph(*g); err != nil {
			return err
		}
		if err := s.d.savePipeline(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// viewOf is what the workers' plan is decided on.
func viewOf(r *stacks.Resolved) *view {
	v := &view{services: byName(r)}
	for _, g := range r.Graphs {
		setHomes(g, v.services)
		v.graphs = append(v.graphs, *g)
	}
	return v
}

// owns reports whether a task id is one of this stack's.
func (s *stack) owns(task string) bool { return strings.HasPrefix(task, s.name+".") }

// pass looks at the stack once.
func (s *stack) pass(ctx context.Context, now time.Time) {
	if s.record.Down && s.d.stopping == nil {
		return
	}
	for _, v := range s.services {
		s.start(ctx, v)
	}
	if !s.record.Down {
		s.runPipelines(ctx, now)
		s.settle(ctx)
		s.autoscale(ctx, now)
	}
	s.sample(now)
}

// start starts a service's reconciler when its artifacts are here.
func (s *stack) start(ctx context.Context, v *service) {
	if v.rec != nil || s.record.Down || v.failed != nil {
		return
	}
	if f := v.fetched.Load(); f != nil {
		done, err := f.state()
		if err != nil && s.failure == nil {
			s.failure = err
		}
		if !done || err != nil {
			return
		}
	}
	rec, err := reconcile.New(reconcile.Config{Spec: v.spec, Kind: s.kind(v), Master: s.d.master, Store: keep{s.d}, Log: s.d.cfg.Log,
		Orders: s.ordersOf(v.spec), Changed: func() { s.changed(v) }})
	if err != nil {
		s.failure, v.failed = err, err
		return
	}
	v.rec = rec
	if v.spec.Operator == operators.Stream {
		s.workers.Store(rec)
	}
	s.d.group.Go("service "+v.spec.Role(), rec.Run)
}

// changed wakes the loop, and the workers' reconciler where it waits for another service.
func (s *stack) changed(v *service) {
	select {
	case s.d.wake <- struct{}{}:
	default:
	}
	if f := s.workers.Load(); f != nil && v.spec.Operator != operators.Stream {
		f.Reprobe()
	}
}

// keep is the store as reconcilers see it.
type keep struct{ d *Daemon }

func (k keep) Load(key string) []byte {
	value, _, ok := k.d.store.Get(key)
	if !ok {
		return nil
	}
	return value
}

func (k keep) Save(ctx context.Context, key string, value []byte) error {
	return k.d.store.Update(ctx, key, func([]byte) ([]byte, error) { return value, nil })
}

// beginShutdown stops every stack: workers first, then the services; the returned channel closes when the last task has ended.
func (d *Daemon) beginShutdown(ctx context.Context) (<-chan struct{}, error) {
	if d.stopping != nil {
		return d.stopping, nil
	}
	for _, s := range d.stacks {
		record := s.record
		record.Down = true
		if err := d.saveStack(ctx, s.name, record); err != nil {
			return nil, err
		}
		s.record = record
		for _, p := range s.pipelines {
			if err := d.savePipeline(ctx, p); err != nil {
				return nil, err
			}
		}
	}
	d.stopping = make(chan struct{})
	return d.stopping, nil
}

// checkStopped drives a shutdown on: workers end before what they write to.
func (d *Daemon) checkStopped() {
	if d.stopping == nil {
		return
	}
	workers, others := 0, 0
	for _, s := range d.stacks {
		for _, v := range s.services {
			if v.spec.Operator == operators.Stream {
				workers += v.stop()
			}
		}
	}
	if workers > 0 {
		return
	}
	for _, s := range d.stacks {
		for _, v := range s.services {
			others += v.stop()
		}
	}
	if others > 0 {
		return
	}
	select {
	case <-d.stopping:
	default:
		close(d.stopping)
		// The answer to the shutdown leaves before the listener closes.
		time.AfterFunc(200*time.Millisecond, func() { d.quit(errStopped) })
	}
}

// stop lets a service's tasks end and returns how many may still run.
func (v *service) stop() int {
	if v.rec == nil {
		return 0
	}
	st := v.rec.Status()
	if st.Wanted {
		v.rec.Want(v.spec, false)
		return 1 // the next status knows
	}
	live := 0
	if st.Busy {
		live = 1
	}
	for _, t := range st.Observed.Tasks {
		if t.Live() {
			live++
		}
	}
	return live
}

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

var errNotReady = errors.New("it is not ready yet")
