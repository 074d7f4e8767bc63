package kubernetes

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/weir-project/weir/internal/lifecycle"
)

// object is what a mirror holds.
type object interface {
	runtime.Object
	metav1.Object
}

// mirror keeps a copy of all objects of one resource: a list, then a watch from its version, for ever. Whoever is told of a change looks
// at the copy again; that an event comes twice, or late, does no harm.
type mirror[T object] struct {
	api      *api
	resource string
	selector string                // of labels; empty: all
	empty    func() runtime.Object // a list
	trim     func(T)               // drops what nobody reads; may be nil
	// changed is told of every object that is new, different or gone (with its last state). It must not wait.
	changed func(o T, gone bool)
	state   func(error) // of the connection: nil when it works
	log     *slog.Logger

	synced chan struct{} // closed after the first list
	mu     sync.Mutex    // guards held
	held   map[string]T
}

func newMirror[T object](a *api, resource string, empty func() runtime.Object, log *slog.Logger) *mirror[T] {
	return &mirror[T]{api: a, resource: resource, empty: empty, log: log, synced: make(chan struct{}), held: map[string]T{},
		changed: func(T, bool) {}, state: func(error) {}}
}

func key(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }

func (m *mirror[T]) get(namespace, name string) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.held[namespace+"/"+name]
	return o, ok
}

// all are the objects that a test accepts. They are shared: nobody may change them.
func (m *mirror[T]) all(want func(T) bool) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []T
	for _, o := range m.held {
		if want(o) {
			out = append(out, o)
		}
	}
	return out
}

// run mirrors until ctx ends.
func (m *mirror[T]) run(ctx context.Context) error {
	version, attempt := "", 0
	for ctx.Err() == nil {
		began := time.Now()
		next, err := m.once(ctx, version)
		if ctx.Err() != nil {
			break
		}
		version = next
		if err == nil {
			attempt = 0
			continue
		}
		if time.Since(began) > m.api.backoff.Max {
			attempt = 0
		}
		m.state(err)
		m.log.Warn("the view of the cluster is interrupted", "resource", m.resource, "err", tell(err))
		wait := m.api.backoff.Next(attempt, rand.Float64())
		attempt++
		if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
			wait = max(wait, time.Duration(seconds)*time.Second)
		}
		if lifecycle.Sleep(ctx, wait) != nil {
			break
		}
	}
	return context.Cause(ctx)
}

// once lists where no version is known, and watches until the watch ends. It returns the version to go on from; "" asks for a new list.
func (m *mirror[T]) once(ctx context.Context, version string) (string, error) {
	if version == "" {
		list := m.empty()
		if err := m.api.list(ctx, m.resource, "", m.selector, list); err != nil {
			return "", err
		}
		v, err := m.replace(list)
		if err != nil {
			return "", err
		}
		version = v
	}
	// A watch that hangs tells nothing: it is ended here a while after the server should have ended it.
	ctx, cancel := context.WithTimeout(ctx, m.api.patience.Watch+m.api.patience.Call)
	defer cancel()
	w, err := m.api.watch(ctx, m.resource, m.selector, version)
	if err != nil {
		if expired(err) {
			return "", nil
		}
		return version, err
	}
	m.state(nil)
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return version, nil
		case e, open := <-w.ResultChan():
			if !open {
				return version, nil
			}
			next, err := m.take(e)
			if err != nil {
				if expired(err) {
					return "", nil
				}
				return version, err
			}
			version = next
		}
	}
}

// expired says that the API server no longer remembers what happened since a version, or, after its store was restored, has never heard of it.
func expired(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

func (m *mirror[T]) take(e watch.Event) (string, error) {
	if e.Type == watch.Error {
		return "", apierrors.FromObject(e.Object)
	}
	o, ok := e.Object.(T)
	if !ok {
		return "", fmt.Errorf("watch %s: a %s of %T", m.resource, e.Type, e.Object)
	}
	switch e.Type {
	case watch.Added, watch.Modified:
		m.put(o)
	case watch.Deleted:
		m.drop(o)
	case watch.Bookmark:
	default:
		return "", fmt.Errorf("watch %s: an event %q is unknown", m.resource, e.Type)
	}
	return o.GetResourceVersion(), nil
}

func (m *mirror[T]) put(o T) {
	if m.trim != nil {
		m.trim(o)
	}
	m.mu.Lock()
	old, had := m.held[key(o)]
	same := had && old.GetResourceVersion() == o.GetResourceVersion() && old.GetUID() == o.GetUID()
	m.held[key(o)] = o
	m.mu.Unlock()
	if same {
		return
	}
	if had && old.GetUID() != o.GetUID() {
		m.changed(old, true)
	}
	m.changed(o, false)
}

func (m *mirror[T]) drop(o T) {
	m.mu.Lock()
	delete(m.held, key(o))
	m.mu.Unlock()
	m.changed(o, true)
}

func (m *mirror[T]) replace(list runtime.Object) (string, error) {
	items, err := meta.ExtractList(list)
	if err != nil {
		return "", fmt.Errorf("list %s: %w", m.resource, err)
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return "", fmt.Errorf("list %s: %w", m.resource, err)
	}
	seen := map[string]bool{}
	for _, item := range items {
		o, ok := item.(T)
		if !ok {
			return "", fmt.Errorf("list %s: an item of %T", m.resource, item)
		}
		seen[key(o)] = true
		m.put(o)
	}
	for _, o := range m.all(func(o T) bool { return !seen[key(o)] }) {
		m.drop(o)
	}
	select {
	case <-m.synced:
	default:
		close(m.synced)
	}
	return accessor.GetResourceVersion(), nil
}
