package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/stacks"
)

// verdict is what the server said to a generation of an object.
type verdict struct {
	reason  string // Accepted, or why not in one word
	message string
	stale   bool
}

func (v *verdict) accepted() bool { return v.reason == "Accepted" }

// reconcile brings one object a step further. Each step is done again when it is interrupted (I4).
func (c *Controller) reconcile(ctx context.Context, it *item, now time.Time) error {
	if it.object.GetDeletionTimestamp() != nil {
		return c.finish(ctx, it)
	}
	if !slices.Contains(it.object.GetFinalizers(), Finalizer) {
		if err := c.finalizers(ctx, it, func(have []string) []string { return append(have, Finalizer) }); err != nil {
			return err
		}
	}
	if it.verdict == nil || now.Sub(it.applied) >= c.cfg.Resync {
		v, err := c.apply(ctx, it.object)
		if err != nil {
			return err
		}
		it.verdict, it.applied = v, now
	}
	if it.verdict.stale {
		return nil
	}
	return c.tell(ctx, it, now)
}

// apply hands the object to the server. An error is one of the API or of the server's life, and no verdict.
func (c *Controller) apply(ctx context.Context, o *unstructured.Unstructured) (*verdict, error) {
	object, err := c.read(ctx, o)
	var mistake fault.List
	switch _, one := err.(*fault.Error); {
	case err == nil:
		err = c.cfg.Server.Apply(ctx, object)
	case !one && !errors.As(err, &mistake):
		return nil, err // nobody's mistake: the API server did not answer
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, ErrStale):
		return &verdict{stale: true}, nil
	case err == nil:
		return &verdict{reason: "Accepted", message: "the server carries it out"}, nil
	}
	return &verdict{reason: word(err), message: refusal(object.Source, err)}, nil
}

// read makes of an object what a laptop has as files: the document, and beside it what the ConfigMap of its name holds.
func (c *Controller) read(ctx context.Context, o *unstructured.Unstructured) (Object, error) {
	out := Object{Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID()), Generation: o.GetGeneration(), Files: map[string][]byte{}}
	var err error
	out.Source, err = yaml.Marshal(map[string]any{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(),
		"metadata": map[string]any{"name": o.GetName()}, "spec": o.Object["spec"]})
	if err != nil {
		return out, fmt.Errorf("write the document of %s: %w", out.Name, err)
	}
	s, err := stacks.Load(Document, out.Source)
	if err != nil {
		return out, err
	}
	refs := append(slices.Clone(s.Pipelines), s.Show...)
	if len(refs) == 0 {
		return out, nil
	}
	files, err := call(ctx, c, func(ctx context.Context) (*unstructured.Unstructured, error) {
		return c.maps.Get(ctx, out.Name, metav1.GetOptions{})
	})
	if apierrors.IsNotFound(err) {
		return out, fault.Invalid("E-FILE", "read stack", out.Name, fault.AtPos(refs[0].Pos),
			fault.Causef("its files are looked for in the ConfigMap %s, which is not there", out.Name),
			fault.Hintf("kubectl -n %s create configmap %s --from-file=%s", out.Namespace, out.Name, refs[0].Path))
	} else if err != nil {
		return out, fmt.Errorf("read the ConfigMap of %s: %w", out.Name, err)
	}
	for _, ref := range refs {
		data, err := file(files, ref)
		if err != nil {
			return out, err
		}
		out.Files[ref.Path] = data
	}
	return out, nil
}

// file finds a file among a ConfigMap's keys, which hold no slash.
func file(m *unstructured.Unstructured, ref stacks.Ref) ([]byte, error) {
	text, found, err := unstructured.NestedString(m.Object, "data", ref.Path)
	if err != nil {
		return nil, fmt.Errorf("read the ConfigMap %s: %w", m.GetName(), err)
	}
	if found {
		return []byte(text), nil
	}
	data, _, err := unstructured.NestedMap(m.Object, "data")
	if err != nil {
		return nil, fmt.Errorf("read the ConfigMap %s: %w", m.GetName(), err)
	}
	var known []string
	for key := range data {
		known = append(known, key)
	}
	slices.Sort(known)
	return nil, fault.Invalid("E-FILE", "read stack", m.GetName(), fault.AtPos(ref.Pos),
		fault.Causef("the ConfigMap %s has no key %q (keys: %s)", m.GetName(), ref.Path, strings.Join(known, ", ")),
		fault.Hintf("kubectl -n %s create configmap %s --from-file=%s --dry-run=client -o yaml | kubectl apply -f -; a key holds no slash", m.GetNamespace(), m.GetName(), ref.Path))
}

// finish ends the services of an object that is being deleted, and then lets it go.
func (c *Controller) finish(ctx context.Context, it *item) error {
	o := it.object
	if !slices.Contains(o.GetFinalizers(), Finalizer) {
		return nil
	}
	done, err := c.cfg.Server.End(ctx, o.GetName(), string(o.GetUID()))
	if err != nil {
		return fmt.Errorf("end the stack: %w", err)
	}
	if !done {
		return c.tell(ctx, it, time.Now())
	}
	return c.finalizers(ctx, it, func(have []string) []string {
		return slices.DeleteFunc(have, func(f string) bool { return f == Finalizer })
	})
}

// finalizers changes the finalizers of an object; a conflict is decided again on a fresh read (I8).
func (c *Controller) finalizers(ctx context.Context, it *item, change func([]string) []string) error {
	return c.write(ctx, it, func(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		next := o.DeepCopy()
		next.SetFinalizers(change(next.GetFinalizers()))
		return c.objects.Update(ctx, next, metav1.UpdateOptions{})
	})
}

// write carries out an update that names the revision it was made for. Where that is no longer the latest, the object is read afresh and the
// update made anew; an object that became another (a new uid, a deletion that began) is left to the next pass.
func (c *Controller) write(ctx context.Context, it *item, update func(context.Context, *unstructured.Unstructured) (*unstructured.Unstructured, error)) error {
	const attempts = 5
	for i := 0; ; i++ {
		next, err := call(ctx, c, func(ctx context.Context) (*unstructured.Unstructured, error) { return update(ctx, it.object) })
		if err == nil {
			it.object = next
			return nil
		}
		if !apierrors.IsConflict(err) || i == attempts-1 {
			return err
		}
		fresh, err := c.get(ctx, it.object.GetName())
		if err != nil {
			return err
		}
		was := it.object
		deleting := (fresh.GetDeletionTimestamp() == nil) != (was.GetDeletionTimestamp() == nil)
		if fresh.GetUID() != was.GetUID() || fresh.GetGeneration() != was.GetGeneration() || deleting {
			c.see(fresh)
			return errMoved
		}
		it.object = fresh
	}
}

// errMoved ends a pass over an object that changed under it; the next one looks again.
var errMoved = errors.New("the object changed meanwhile")
