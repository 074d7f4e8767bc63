package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/stacks"
)

var (
	stackResource = schema.GroupVersionResource{Group: stacks.Group, Version: stacks.Version, Resource: stacks.Plural}
	mapResource   = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
)

// Config says which objects are watched, and for whom.
type Config struct {
	Rest      *rest.Config
	Namespace string
	Server    Server
	Log       *slog.Logger
	Tick      time.Duration      // how often the server's word is compared with each status; default 1 s
	Resync    time.Duration      // how often an object is applied again, with files that may have changed; default 10 s
	Call      time.Duration      // how long one answer of the API server may take; default 15 s
	Seen      func(kube.Request) // is told each request; may be nil
}

// Controller watches the objects. All its state belongs to Run.
type Controller struct {
	cfg     Config
	objects dynamic.ResourceInterface
	maps    dynamic.ResourceInterface
	known   map[string]*item  // by name
	version string            // resource version that the watch goes on from; empty: list first
	gone    map[string]string // names of objects that are no more, by uid, whose stacks may not have ended
	down    string            // what is wrong with the API server, as it was logged
}

// item is an object with what was made of it.
type item struct {
	object  *unstructured.Unstructured
	verdict *verdict  // nil: the server has not been asked
	applied time.Time // when it was last handed to the server
	failed  string    // the last failure to write, as it was logged
	attempt int
	notYet  time.Time // no attempt before
}

// New makes a controller whose client is held to Rules.
func New(cfg Config) (*Controller, error) {
	if cfg.Tick == 0 {
		cfg.Tick = time.Second
	}
	if cfg.Resync == 0 {
		cfg.Resync = 10 * time.Second
	}
	if cfg.Call == 0 {
		cfg.Call = 15 * time.Second
	}
	client, err := dynamic.NewForConfig(kube.Guard(cfg.Rest, Rules, cfg.Seen))
	if err != nil {
		return nil, fmt.Errorf("make a client of the Kubernetes API: %w", err)
	}
	return &Controller{cfg: cfg, known: map[string]*item{}, gone: map[string]string{},
		objects: client.Resource(stackResource).Namespace(cfg.Namespace), maps: client.Resource(mapResource).Namespace(cfg.Namespace)}, nil
}

// call bounds one request: an API server that never answers must not hold up all objects.
func call[T any](ctx context.Context, c *Controller, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Call, fmt.Errorf("no answer within %s", c.cfg.Call))
	defer cancel()
	return ask(ctx)
}

func (c *Controller) get(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	return call(ctx, c, func(ctx context.Context) (*unstructured.Unstructured, error) {
		return c.objects.Get(ctx, name, metav1.GetOptions{})
	})
}

// Run watches until ctx ends. An API server that is away or refuses is asked again, ever less often.
func (c *Controller) Run(ctx context.Context) error {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		lasted, err := c.session(ctx)
		if err != nil && ctx.Err() == nil {
			c.version = "" // with 410 Gone the history is lost; whatever it was, a list finds all there is
			if text := explain(err); text != c.down && !expired(err) {
				c.down = text
				c.cfg.Log.Warn("the Kubernetes API refuses Stack objects", "namespace", c.cfg.Namespace, "reason", text)
			}
		}
		if lasted {
			attempt = -1
			continue
		}
		if lifecycle.Sleep(ctx, c.backoff(attempt)) != nil {
			return nil //nolint:nilerr // it was told to end
		}
	}
	return nil
}

func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// backoff is half of it chance, so that many servers do not come back at once.
func (c *Controller) backoff(attempt int) time.Duration {
	return lifecycle.Backoff{Min: c.cfg.Tick, Max: 30 * c.cfg.Tick, Jitter: 0.5}.Next(attempt, rand.Float64())
}

// session lists where it must, watches, and looks at the objects until the watch breaks. lasted says that it did for a while, so that the next
// may follow at once.
func (c *Controller) session(ctx context.Context) (lasted bool, err error) {
	if c.version == "" {
		if err := c.list(ctx); err != nil {
			return false, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 11*time.Minute) // a server that forgot its own limit is left
	defer cancel()
	patience := time.AfterFunc(c.cfg.Call, cancel) // until the watch is open
	seconds := int64(600)
	w, err := c.objects.Watch(ctx, metav1.ListOptions{ResourceVersion: c.version, AllowWatchBookmarks: true, TimeoutSeconds: &seconds})
	if err != nil {
		return false, err
	}
	defer w.Stop()
	if !patience.Stop() {
		return false, fmt.Errorf("watch Stack objects: no answer within %s", c.cfg.Call)
	}
	if c.down != "" {
		c.cfg.Log.Info("the Kubernetes API answers again", "namespace", c.cfg.Namespace)
		c.down = ""
	}
	tick := time.NewTicker(c.cfg.Tick)
	defer tick.Stop()
	for {
		c.pass(ctx, time.Now())
		select {
		case <-ctx.Done():
			return lasted, nil
		case e, open := <-w.ResultChan():
			if !open {
				return lasted, nil
			}
			if err := c.event(e); err != nil {
				return lasted, err
			}
		case <-tick.C:
			lasted = true
		}
	}
}

// list asks for the latest state, not for one that a cache may hold.
func (c *Controller) list(ctx context.Context) error {
	found, err := call(ctx, c, func(ctx context.Context) (*unstructured.UnstructuredList, error) {
		return c.objects.List(ctx, metav1.ListOptions{})
	})
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for i := range found.Items {
		o := &found.Items[i]
		there[o.GetName()] = true
		c.see(o)
	}
	for name := range c.known {
		if !there[name] {
			delete(c.known, name)
		}
	}
	c.version = found.GetResourceVersion()
	return c.findGone(ctx)
}

// findGone notes the stacks whose objects ended while nobody looked.
func (c *Controller) findGone(ctx context.Context) error {
	applied, err := c.cfg.Server.Applied(ctx)
	if err != nil {
		return fmt.Errorf("list what was applied: %w", err)
	}
	clear(c.gone)
	for uid, name := range applied {
		if it := c.known[name]; it == nil || string(it.object.GetUID()) != uid {
			c.gone[uid] = name
		}
	}
	return nil
}

// see takes an object in, unless a later revision of it is known: events come after the answers to our own writes.
func (c *Controller) see(o *unstructured.Unstructured) {
	it := c.known[o.GetName()]
	if it != nil && it.object.GetUID() == o.GetUID() && earlier(o.GetResourceVersion(), it.object.GetResourceVersion()) {
		return
	}
	if it != nil && it.object.GetUID() != o.GetUID() {
		c.gone[string(it.object.GetUID())] = o.GetName() // another took its name
		it = nil
	}
	if it == nil {
		it = &item{}
		c.known[o.GetName()] = it
	}
	if it.object != nil && it.object.GetGeneration() != o.GetGeneration() {
		it.verdict, it.notYet = nil, time.Time{}
	}
	it.object = o
}

// earlier compares resource versions, which are whole numbers that grow (Kubernetes 1.35 made that a promise; etcd's always were).
func earlier(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

func (c *Controller) event(e watch.Event) error {
	if e.Type == watch.Error {
		return apierrors.FromObject(e.Object)
	}
	o, ok := e.Object.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("watch Stack objects: an event of type %T came", e.Object)
	}
	c.version = o.GetResourceVersion()
	switch e.Type {
	case watch.Added, watch.Modified:
		c.see(o)
	case watch.Deleted:
		if it := c.known[o.GetName()]; it != nil && it.object.GetUID() == o.GetUID() {
			delete(c.known, o.GetName())
		}
		c.gone[string(o.GetUID())] = o.GetName()
	}
	return nil
}

// pass looks at every object once.
func (c *Controller) pass(ctx context.Context, now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(c.known)) {
		it := c.known[name]
		if now.Before(it.notYet) {
			continue
		}
		err := c.reconcile(ctx, it, now)
		if ctx.Err() != nil {
			return
		}
		c.account(name, it, err, now)
	}
	for uid, name := range c.gone {
		if err := c.end(ctx, uid, name); err != nil && ctx.Err() == nil {
			c.cfg.Log.Warn("end the stack of a Stack object that is gone", "stack", name, "reason", err.Error())
		}
	}
}

// account remembers a failure: it is told once, and tried again ever less often.
func (c *Controller) account(name string, it *item, err error, now time.Time) {
	if err == nil || apierrors.IsNotFound(err) { // gone meanwhile: its event is on the way
		it.failed, it.attempt, it.notYet = "", 0, time.Time{}
		return
	}
	if errors.Is(err, errMoved) {
		return // the next pass looks again
	}
	if text := explain(err); text != it.failed {
		it.failed = text
		c.cfg.Log.Warn("a Stack object", "stack", name, "reason", text)
	}
	it.notYet = now.Add(c.backoff(it.attempt))
	it.attempt++
}

// end stops what an object left behind; whether it is gone is asked of the API server itself, since a list may lag.
func (c *Controller) end(ctx context.Context, uid, name string) error {
	o, err := c.get(ctx, name)
	switch {
	case err == nil && string(o.GetUID()) == uid:
		delete(c.gone, uid)
		c.see(o)
		return nil
	case err != nil && !apierrors.IsNotFound(err):
		return err
	}
	done, err := c.cfg.Server.End(ctx, name, uid)
	if done && err == nil {
		delete(c.gone, uid)
	}
	return err
}

// explain adds to a denial what mends it.
func explain(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return err.Error() + "; the chart's Role grants it: helm upgrade, or kubectl auth can-i --list"
	case apierrors.IsNotFound(err):
		return err.Error() + "; is the definition of Stacks there? weir explain stack -o crd | kubectl apply --server-side -f -"
	}
	return err.Error()
}
