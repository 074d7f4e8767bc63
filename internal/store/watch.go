package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
)

// watcher collects what its consumer has not taken yet: one entry a key, the newest, so that a slow consumer costs no more
// memory than the keys that it watches.
type watcher struct {
	prefix string
	ready  chan struct{} // holds one token while pending has something

	mu      sync.Mutex // guards pending; taken after Store.mu
	pending map[string]Entry
}

// Watch sends the entries at and below a prefix as they are now, then every change, deletions included, until ctx ends or the
// store is closed; then the channel is closed. A consumer that is slower than the writers misses values that were overwritten
// meanwhile, never the last one: look at the state, not at the events. Entries come in the order of their revisions among those
// that wait together.
func (s *Store) Watch(ctx context.Context, prefix string) <-chan Entry {
	w := &watcher{prefix: prefix, ready: make(chan struct{}, 1), pending: map[string]Entry{}}
	out := make(chan Entry)
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
		close(out)
		return out
	default:
	}
	for _, e := range s.list(prefix) {
		w.tell(e)
	}
	s.watchers[w] = struct{}{}
	s.watching.Go(func() {
		defer close(out)
		defer s.forget(w)
		w.run(ctx, s.stop, out)
	})
	return out
}

func (s *Store) forget(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}

func (w *watcher) tell(e Entry) {
	if !under(e.Key, w.prefix) {
		return
	}
	w.mu.Lock()
	w.pending[e.Key] = e
	w.mu.Unlock()
	select {
	case w.ready <- struct{}{}:
	default: // the token is there already
	}
}

func (w *watcher) take() []Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	batch := make([]Entry, 0, len(w.pending))
	for _, e := range w.pending {
		e.Value = bytes.Clone(e.Value)
		batch = append(batch, e)
	}
	clear(w.pending)
	slices.SortFunc(batch, func(a, b Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	return batch
}

func (w *watcher) run(ctx context.Context, stop <-chan struct{}, out chan<- Entry) {
	for {
		select {
		case <-w.ready:
		case <-ctx.Done():
			return
		case <-stop:
			return
		}
		for _, e := range w.take() {
			select {
			case out <- e:
			case <-ctx.Done():
				return
			case <-stop:
				return
			}
		}
	}
}
