package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// The frames between a worker and the server (C5); each body is the type of that name in package physical.
const (
	FrameRegister = "register"
	FrameAssign   = "assign"
	FrameReport   = "report"
	frameVersion  = 1
)

// stopPatience is how long slots may take for their last commit when the worker is told to end.
const stopPatience = 5 * time.Second

// WorkerConfig describes a worker: a process that runs the slots which the server assigns to it.
type WorkerConfig struct {
	Task  string // id of the task that this process is
	Build string
	Dial  func(ctx context.Context) (*link.Conn, error)
	// Connect makes the connections that an assignment describes. It is called for each assignment, and what it returns serves every recovery
	// of every slot from then on, so that a service that moved is found again.
	Connect  func(physical.Assign) (Connections, error)
	Clock    Clock
	Log      *slog.Logger  // slog.Default
	Interval time.Duration // between reports; 1 s
}

// RunWorker registers with the server, runs what it assigns and reports, for ever: a lost server is dialled again, while the slots go on (no leases: the
// logs fence). When ctx ends, the slots commit what they have (within 5 s) and RunWorker returns ctx's cause.
func RunWorker(ctx context.Context, cfg WorkerConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	w := &worker{cfg: cfg, began: time.Now(), slots: map[checkpoint.Slot]*running{}, wake: make(chan struct{}, 1)}
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer w.cancel()
	loop := link.Loop{Dial: cfg.Dial, Session: w.session, Failed: func(attempt int, err error, wait time.Duration) {
		if attempt == 1 || attempt%30 == 0 { // not once a second for a server that is away for an hour
			cfg.Log.Warn("the link to the server is down; slots go on", "attempt", attempt, "error", err, "wait", wait)
		}
	}}
	err := loop.Run(ctx)
	w.shutDown()
	return err
}

// worker holds the slots. The map and what the server wants are guarded by mu, which is held for no I/O.
type worker struct {
	cfg    WorkerConfig
	began  time.Time
	ctx    context.Context //nolint:containedctx // the life of the slots, which is longer than that of any call
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{} // holds one: report at once
	live   liveConnections

	mu      sync.Mutex
	slots   map[checkpoint.Slot]*running
	desired *physical.Assign
	ending  bool
}

// running is a slot that was started under a task; one that has ended stays, so that it is not started again and its end is told again.
type running struct {
	task   physical.SlotTask
	run    uint64
	slot   *Slot
	cancel context.CancelFunc
	done   bool
	report physical.SlotReport
}

// session speaks over one link until it breaks.
func (w *worker) session(ctx context.Context, c *link.Conn) error {
	if err := c.SendBody(ctx, FrameRegister, frameVersion, w.registration()); err != nil {
		return err
	}
	group := lifecycle.NewGroup(ctx)
	group.Go("receive", func(ctx context.Context) error {
		err := w.receive(ctx, c)
		if err == nil {
			err = io.EOF // ends the sender too
		}
		return err
	})
	group.Go("send", func(ctx context.Context) error { return w.send(ctx, c) })
	err := group.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (w *worker) registration() physical.Register {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := physical.Register{Task: w.cfg.Task, Build: w.cfg.Build}
	for _, id := range w.ids() {
		if s := w.slots[id]; !s.done {
			r.Running = append(r.Running, physical.RunningSlot{Slot: id, Term: s.task.Term})
		}
	}
	return r
}

// ids are the slots in a stable order. mu is held.
func (w *worker) ids() []checkpoint.Slot {
	return slices.SortedFunc(maps.Keys(w.slots), func(a, b checkpoint.Slot) int {
		if c := strings.Compare(a.UID+"/"+a.Stage+"/"+a.Fragment, b.UID+"/"+b.Stage+"/"+b.Fragment); c != 0 {
			return c
		}
		return a.Index - b.Index
	})
}

func (w *worker) receive(ctx context.Context, c *link.Conn) error {
	for {
		var f link.Frame
		if err := c.Recv(ctx, &f); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if f.Type != FrameAssign {
			w.cfg.Log.Warn("the server sent a frame that this worker does not know", "type", f.Type, "version", f.Version)
			continue
		}
		var as physical.Assign
		if err := f.Decode(&as); err != nil {
			return err
		}
		if err := w.assign(&as); err != nil {
			return fmt.Errorf("take assignment %d: %w", as.Revision, err)
		}
	}
}

func (w *worker) send(ctx context.Context, c *link.Conn) error {
	tick := time.NewTicker(w.cfg.Interval)
	defer tick.Stop()
	for {
		if err := c.SendBody(ctx, FrameReport, frameVersion, w.reports()); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-w.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (w *worker) reports() physical.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := physical.Report{Task: w.cfg.Task, Slots: []physical.SlotReport{}, Usage: usage(w.began)}
	for _, id := range w.ids() {
		r.Slots = append(r.Slots, w.slots[id].report)
	}
	return r
}

// assign makes an assignment the desired state.
func (w *worker) assign(as *physical.Assign) error {
	c, err := w.cfg.Connect(*as)
	if err != nil {
		return err
	}
	w.live.set(c)
	w.mu.Lock()
	w.desired = as
	w.mu.Unlock()
	w.reconcile()
	return nil
}

// reconcile compares what runs with what shall: it gives up what is not wanted any more and starts what is missing. A slot that shall run under another
// term starts when its earlier self has ended, which calls reconcile again.
func (w *worker) reconcile() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.desired == nil || w.ending {
		return
	}
	want := map[checkpoint.Slot]physical.SlotTask{}
	for _, t := range w.desired.Slots {
		want[t.Slot] = t
	}
	for id, s := range w.slots {
		t, ok := want[id]
		run := w.runOf(id)
		switch {
		case ok && t.Term == s.task.Term && run == s.run, ok && t.Term < s.task.Term:
			continue
		case s.done:
			delete(w.slots, id)
		case ok: // a higher term or another run: what is not committed would be fenced anyway
			s.cancel()
		default:
			s.slot.Stop()
		}
	}
	for _, t := range w.desired.Slots {
		if w.slots[t.Slot] == nil {
			w.start(t)
		}
	}
}

// runOf is the run of a slot's pipeline, 0 if the assignment has none. mu is held.
func (w *worker) runOf(id checkpoint.Slot) uint64 {
	for i := range w.desired.Pipelines {
		if w.desired.Pipelines[i].UID == id.UID {
			return w.desired.Pipelines[i].Run
		}
	}
	return 0
}

// start starts a slot. mu is held.
func (w *worker) start(t physical.SlotTask) {
	r := &running{task: t, run: w.runOf(t.Slot), report: physical.SlotReport{Slot: t.Slot, Term: t.Term, State: StateStarting, Watermark: column.MinTime}}
	w.slots[t.Slot] = r
	cfg, err := w.slotConfig(t)
	if err != nil {
		r.done = true
		r.report.State, r.report.Reason = StateFailed, err.Error()
		w.report()
		return
	}
	cfg.Report = func(s physical.SlotReport) { w.note(r, s) }
	r.slot = NewSlot(cfg)
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(w.ctx)
	w.wg.Go(func() {
		err := r.slot.Run(ctx)
		r.cancel()
		w.ended(r, err)
	})
}

func (w *worker) slotConfig(t physical.SlotTask) (SlotConfig, error) {
	for i := range w.desired.Pipelines {
		p := &w.desired.Pipelines[i]
		if p.UID != t.Slot.UID {
			continue
		}
		writers, err := writersOf(&p.Graph)
		if err != nil {
			return SlotConfig{}, err
		}
		for _, st := range p.Graph.Stages {
			if st.Name != t.Slot.Stage {
				continue
			}
			for _, f := range st.Fragments {
				if f.Name == t.Slot.Fragment {
					return SlotConfig{Slot: t.Slot, Fragment: f, Channels: p.Graph.Channels, Run: p.Run, Term: t.Term, Splits: t.Splits, Writers: writers,
						Engine: st.Engine, Runner: st.Runner, CommitInterval: st.CommitInterval, Connections: &w.live, Clock: w.cfg.Clock, Log: w.cfg.Log}, nil
				}
			}
		}
	}
	return SlotConfig{}, fmt.Errorf("run slot %s: the assignment has no such stage and fragment", t.Slot)
}

// note keeps a slot's report, and tells the server at once where the state changed.
func (w *worker) note(r *running, s physical.SlotReport) {
	w.mu.Lock()
	changed := r.report.State != s.State
	r.report = s
	w.mu.Unlock()
	if changed {
		w.report()
	}
}

func (w *worker) report() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// ended notes how a slot came to its end. One that was stopped is forgotten; one whose input ended, or that was fenced, stays known.
func (w *worker) ended(r *running, err error) {
	w.mu.Lock()
	r.done = true
	switch {
	case errors.Is(err, checkpoint.ErrFenced):
		// Told, not silent: where the server knows of no other owner, a term that it has forgotten stands in the log.
		r.report.State, r.report.Reason = StateFenced, err.Error()
	case r.report.State == StateEnded || r.report.State == StateFailed:
	default:
		delete(w.slots, r.task.Slot)
	}
	w.mu.Unlock()
	w.report()
	w.reconcile()
}

// shutDown lets the slots commit, within limits.
func (w *worker) shutDown() {
	w.mu.Lock()
	w.ending = true
	for _, s := range w.slots {
		if s.slot != nil {
			s.slot.Stop()
		}
	}
	w.mu.Unlock()
	patience := time.AfterFunc(stopPatience, w.cancel)
	w.wg.Wait()
	patience.Stop()
}

// liveConnections are those of the latest assignment. Its lock guards the value.
type liveConnections struct {
	mu sync.RWMutex
	c  Connections
}

func (l *liveConnections) set(c Connections) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c = c
}

func (l *liveConnections) get() Connections {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.c
}

// Source implements Connections.
func (l *liveConnections) Source(ctx context.Context, cfg physical.ReadConfig, ch *physical.Channel) (connectors.Source, error) {
	return l.get().Source(ctx, cfg, ch)
}

// Outbox implements Connections.
func (l *liveConnections) Outbox(ctx context.Context, cfg physical.WriteConfig, ch *physical.Channel, in column.Schema, slot checkpoint.Slot) (connectors.Outbox, error) {
	return l.get().Outbox(ctx, cfg, ch, in, slot)
}

// RunJob implements Elsewhere, where the connections do.
func (l *liveConnections) RunJob(ctx context.Context, job physical.Job) (physical.JobResult, error) {
	return runJob(ctx, l.get(), job)
}

// Log implements Connections.
func (l *liveConnections) Log(ctx context.Context, slot checkpoint.Slot, fragment physical.Fragment) (checkpoint.Log, error) {
	return l.get().Log(ctx, slot, fragment)
}

// Watermarks implements Connections.
func (l *liveConnections) Watermarks(ctx context.Context, ch physical.Channel, place int64) (connectors.WatermarkReader, error) {
	return l.get().Watermarks(ctx, ch, place)
}
