package daemon

import (
	"context"
	"time"

	"github.com/weir-project/weir/operators"
)

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
