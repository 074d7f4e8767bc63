package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// watchEvery is how often a service is looked at: the kernel counts its CPU in steps of as much.
const watchEvery = 10 * time.Millisecond

// ErrGone refuses to measure a service whose process ended meanwhile: what it took is not known.
var ErrGone = errors.New("the process that was measured ended meanwhile")

// sighting is what a process tree had taken at a time.
type sighting struct {
	at  time.Time
	cpu time.Duration
	rss int64
	ok  bool
}

// Watch is what a process tree that somebody else started takes as time goes by, for a service that runs before the work and after it.
//
//	w := harness.NewWatch(pid)
//	…
//	w.Stop()
//	usage, err := w.Between(from, to)
type Watch struct {
	pid  int
	seen []sighting
	stop chan struct{}
	done chan struct{}
}

// NewWatch begins to look; whoever calls it calls Stop.
func NewWatch(pid int) *Watch {
	w := &Watch{pid: pid, stop: make(chan struct{}), done: make(chan struct{})}
	w.look()
	go w.run()
	return w
}

func (w *Watch) run() {
	defer close(w.done)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look()
		case <-w.stop:
			w.look()
			w.look() // so that there is one behind the first look after any time before Stop
			return
		}
	}
}

// look notes the time behind what is read, so that all work before that time is in it.
func (w *Watch) look() {
	var s sighting
	s.cpu, s.ok = CPU(w.pid)
	for _, p := range Tree(w.pid) {
		s.rss += memory(p, "VmRSS:")
	}
	s.at = time.Now()
	w.seen = append(w.seen, s)
}

// Stop ends the looking; Between may be called then.
func (w *Watch) Stop() {
	close(w.stop)
	<-w.done
}

// Between is what the tree took from one time to another, both between NewWatch and Stop: from the last look before the first to the first look after
// the second, so that no work is missed and at most two looks' worth is too much.
func (w *Watch) Between(from, to time.Time) (Usage, error) {
	first, last := -1, -1
	for i, s := range w.seen {
		if !s.at.After(from) {
			first = i
		}
		if last < 0 && i > 0 && !w.seen[i-1].at.Before(to) {
			last = i // the one before may have been read partly before the time
		}
	}
	if first < 0 || last < 0 || to.Before(from) {
		return Usage{}, fmt.Errorf("it was watched from %s to %s, and asked for %s to %s", clock(w.seen[0].at), clock(w.seen[len(w.seen)-1].at), clock(from), clock(to))
	}
	u := Usage{CPU: w.seen[last].cpu - w.seen[first].cpu, Wall: to.Sub(from)}
	for i := first; i <= last; i++ {
		if s := w.seen[i]; !s.ok || i > first && s.cpu < w.seen[first].cpu {
			return Usage{}, fmt.Errorf("process %d at %s: %w", w.pid, clock(s.at), ErrGone)
		}
		u.PeakRSS = max(u.PeakRSS, w.seen[i].rss)
	}
	return u, nil
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// memory is a number of a living process's status, in bytes; 0 of one that has ended.
func memory(pid int, what string) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, ok := bytes.Cut(data, []byte(what))
	if fields := strings.Fields(string(rest)); ok && len(fields) > 0 {
		if kb, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			return kb << 10
		}
	}
	return 0
}
