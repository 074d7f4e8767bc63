package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/reconcile"
	"github.com/weir-project/weir/operators/stream"
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
	if err := s.checkOwner(b.Object); err != nil {
		return out, err
	}
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
	if s == nil {
		return nil
	}
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
		Orders: s.ordersOf(v.spec), Changed: s.changed(v.spec.Operator)})
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

// changed is what the reconciler of a service calls, on its own goroutine: it wakes the loop, and the workers' reconciler where it may wait for
// the service.
func (s *stack) changed(operator string) func() {
	return func() {
		select {
		case s.d.wake <- struct{}{}:
		default:
		}
		if f := s.workers.Load(); f != nil && operator != operators.Stream {
			f.Reprobe()
		}
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

var errNotReady = errors.New("it is not ready yet")
