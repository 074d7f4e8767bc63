package daemon

import (
	"context"
	"net/http"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

// worker is one registered stream worker.
type worker struct {
	task    string
	stack   string
	conn    *link.Conn
	since   time.Time
	reports map[checkpoint.Slot]physical.SlotReport
	sent    string // what the last Assign that it was sent was made of
}

// linkVersion is that of the worker messages' form (C5).
const linkVersion = 1

// workerLink serves one worker's stream: its first frame registers it, the others report.
func (d *Daemon) workerLink(w http.ResponseWriter, r *http.Request) {
	id, err := security.PeerIdentity(r.TLS)
	if err != nil {
		refuse(w, err)
		return
	}
	conn, err := link.Accept(w, r, link.Options{})
	if err != nil {
		d.cfg.Log.Warn("worker link refused", "worker", id.Name, "error", err)
		return
	}
	defer conn.Close() //nolint:errcheck // the peer's end says the same
	if err := d.followWorker(r.Context(), id.Name, conn); err != nil {
		d.cfg.Log.Info("worker link ended", "task", id.Name, "error", err)
	}
}

// followWorker passes a worker's frames to the loop until its link ends. The certificate's name is its task id: a worker cannot speak for another.
func (d *Daemon) followWorker(ctx context.Context, task string, conn *link.Conn) error {
	w := &worker{task: task, conn: conn, since: time.Now(), reports: map[checkpoint.Slot]physical.SlotReport{}}
	defer d.post(func() {
		if d.workers[task] == w {
			delete(d.workers, task)
			if s := d.stacks[w.stack]; s != nil {
				s.missed(task, time.Now())
			}
		}
	})
	for {
		var f link.Frame
		if err := conn.Recv(ctx, &f); err != nil {
			return err
		}
		switch f.Type {
		case "register":
			var reg physical.Register
			if err := f.Decode(&reg); err != nil {
				return err
			}
			d.post(func() { d.registered(w, reg) })
		case "report":
			var rep physical.Report
			if err := f.Decode(&rep); err != nil {
				return err
			}
			d.post(func() { d.reported(w, rep) })
		}
	}
}

// registered takes a worker in. What it already runs keeps running: the assignment counts it as the owner.
func (d *Daemon) registered(w *worker, reg physical.Register) {
	if old := d.workers[w.task]; old != nil && old != w {
		go old.conn.Close() //nolint:errcheck // replaced by the same worker's new link; closing lingers, and the loop waits for nobody
	}
	d.workers[w.task] = w
	for _, r := range reg.Running { // until its first report it holds what it says here
		w.reports[r.Slot] = physical.SlotReport{Slot: r.Slot, Term: r.Term, State: engine.StateRunning}
	}
	for _, s := range d.stacks {
		if s.owns(w.task) {
			w.stack = s.name
			delete(s.lost, w.task)
			if f := s.workers.Load(); f != nil {
				f.Reprobe() // a step may wait for it
			}
		}
	}
	d.cfg.Log.Info("worker registered", "task", w.task, "build", reg.Build, "slots", len(reg.Running))
}

// reported keeps the latest word of each slot, and tells its pipeline.
func (d *Daemon) reported(w *worker, rep physical.Report) {
	if d.workers[w.task] != w {
		return // an older link of a worker that came back
	}
	if s := d.stacks[w.stack]; s != nil {
		s.measured(w.task, rep, time.Now())
	}
	clear(w.reports) // a report names all that the worker holds
	for _, r := range rep.Slots {
		w.reports[r.Slot] = r
		if s := d.stacks[w.stack]; s != nil {
			s.slotReported(w.task, r, time.Now())
		}
	}
}

// sendAssign hands a worker its whole assignment. A link that cannot take it is closed: the worker redials and is sent it again.
func (d *Daemon) sendAssign(ctx context.Context, w *worker, a physical.Assign, made string) {
	w.sent = made
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := w.conn.SendBody(ctx, "assign", linkVersion, a); err != nil {
		d.cfg.Log.Warn("assignment not delivered", "task", w.task, "error", err)
		w.sent = ""
		go w.conn.Close() //nolint:errcheck // closing is the remedy, and lingers
	}
}
