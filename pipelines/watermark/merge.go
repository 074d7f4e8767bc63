package watermark

import (
	"fmt"
	"slices"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

// maxPending bounds what is kept of one writer for one partition: a reader that is far behind merges the oldest pending publications into later
// ones, which only delays the watermark.
const maxPending = 64

// Merge is the watermark of a channel as one reader slot sees it, one for each partition that it reads. It is used by one goroutine.
type Merge struct {
	run        uint64
	writers    int // as the latest publication of the run says; 0 = nobody was heard
	epoch      map[string]uint64
	partitions map[int32]*partition
}

type partition struct {
	position int64
	mark     column.Time // never goes back
	writers  map[string]*writer
}

// writer is what one upstream slot said about one partition.
type writer struct {
	mark    column.Time
	idle    bool
	ended   bool
	pending []pending // by rising end
}

type pending struct {
	end   int64
	mark  column.Time
	idle  bool
	ended bool
}

// NewMerge makes the merge of a slot that reads these partitions. Begin must follow.
func NewMerge(partitions []int32) *Merge {
	m := &Merge{epoch: map[string]uint64{}, partitions: map[int32]*partition{}}
	for _, p := range partitions {
		m.partitions[p] = &partition{mark: column.MinTime, writers: map[string]*writer{}}
	}
	return m
}

// Begin sets the run whose publications count. If it is not the run that the state is of, all but the positions is forgotten.
func (m *Merge) Begin(run uint64) {
	if m.run == run {
		return
	}
	m.run, m.writers, m.epoch = run, 0, map[string]uint64{}
	for _, p := range m.partitions {
		p.mark, p.writers = column.MinTime, map[string]*writer{}
	}
}

// Observe takes one publication. Those of other runs and those that were overtaken (an older epoch of the same writer) are ignored.
func (m *Merge) Observe(p checkpoint.Published) {
	if p.Run != m.run || p.Writers <= 0 || p.Epoch < m.epoch[p.Writer] {
		return
	}
	m.epoch[p.Writer] = p.Epoch
	m.writers = p.Writers
	for id, part := range m.partitions {
		w := part.writers[p.Writer]
		if w == nil {
			w = &writer{mark: column.MinTime}
			part.writers[p.Writer] = w
		}
		w.push(pending{end: p.Ends[id], mark: p.Watermark, idle: p.Idle, ended: p.Ended})
		part.settle(m.writers)
	}
}

// push queues a publication. One that names the same end as the last replaces it: it is later.
func (w *writer) push(p pending) {
	if n := len(w.pending); n > 0 && w.pending[n-1].end >= p.end {
		p.end = w.pending[n-1].end
		w.pending[n-1] = p
		return
	}
	if w.pending = append(w.pending, p); len(w.pending) > maxPending {
		// Every second of the older half goes; the last of them stays.
		kept := w.pending[:0]
		for i, q := range w.pending {
			if i >= maxPending/2 || i%2 == 1 {
				kept = append(kept, q)
			}
		}
		w.pending = kept
	}
}

// Advance says that everything of the partition before position was read and processed.
func (m *Merge) Advance(id int32, position int64) {
	part := m.partitions[id]
	if part == nil || position <= part.position {
		return
	}
	part.position = position
	part.settle(m.writers)
}

// settle applies what the position has passed.
func (p *partition) settle(writers int) {
	for _, w := range p.writers {
		n := 0
		for n < len(w.pending) && w.pending[n].end <= p.position {
			q := w.pending[n]
			w.mark, w.idle, w.ended = max(w.mark, q.mark), q.idle, w.ended || q.ended
			n++
		}
		w.pending = slices.Delete(w.pending, 0, n)
	}
	if mark, _ := p.now(writers); mark > p.mark {
		p.mark = mark
	}
}

// now computes the watermark and whether all writers are idle.
func (p *partition) now(writers int) (column.Time, bool) {
	if writers == 0 || len(p.writers) < writers {
		return column.MinTime, false
	}
	inputs := make([]Input, 0, len(p.writers))
	for _, w := range p.writers {
		if w.ended {
			inputs = append(inputs, Input{Mark: column.MaxTime})
			continue
		}
		inputs = append(inputs, Input{Mark: w.mark, Idle: w.idle})
	}
	return Min(inputs, p.mark)
}

// Watermark is where the partition stands, and whether all its writers that have not ended are idle, so that it holds nobody up.
func (m *Merge) Watermark(id int32) (mark column.Time, idle bool) {
	p := m.partitions[id]
	if p == nil {
		return column.MinTime, false
	}
	_, idle = p.now(m.writers)
	return p.mark, idle && !m.Ended(id)
}

// Ended reports whether every writer said that it ended and all that they wrote to the partition was read.
func (m *Merge) Ended(id int32) bool {
	p := m.partitions[id]
	if p == nil || m.writers == 0 || len(p.writers) < m.writers {
		return false
	}
	for _, w := range p.writers {
		if !w.ended {
			return false
		}
	}
	return true
}

// Waiting says in words what holds the partition's watermark, for a person who asks why.
func (m *Merge) Waiting(id int32) string {
	p := m.partitions[id]
	switch {
	case p == nil:
		return "the partition is not read here"
	case m.writers == 0:
		return fmt.Sprintf("no writer of run %d has published yet", m.run)
	case len(p.writers) < m.writers:
		return fmt.Sprintf("%d of %d writers have published", len(p.writers), m.writers)
	}
	name, least := "", column.MaxTime
	for n, w := range p.writers {
		if !w.ended && !w.idle && (w.mark < least || name == "" || w.mark == least && n < name) {
			name, least = n, w.mark
		}
	}
	if name == "" {
		return "all writers have ended or are idle"
	}
	return fmt.Sprintf("writer %s is at %d", name, least)
}
