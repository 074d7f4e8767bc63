package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/lifecycle"
)

// api is the verbs that this package uses, on objects of the core group. Each call is tried again while its failure may pass, for as long
// as Patience says; that is safe since names are fixed beforehand, deletes name a UID, and updates a version.
type api struct {
	rest      rest.Interface
	params    runtime.ParameterCodec
	namespace string
	patience  Patience
	backoff   lifecycle.Backoff
	forbidden func(what string, err error) // told of each call that was forbidden, and with nil of one that was not; may be nil
}

func newAPI(at *rest.Config, namespace string, patience Patience) (*api, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the core group: %w", err)
	}
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	config := rest.CopyConfig(at)
	config.GroupVersion, config.APIPath = &corev1.SchemeGroupVersion, "/api"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.UserAgent = "weir"
	if config.QPS == 0 {
		config.QPS, config.Burst = 100, 200 // client-go's own 5 a second would make 100 pods take 40 s
	}
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server: %w", err)
	}
	return &api{rest: client, params: runtime.NewParameterCodec(scheme), namespace: namespace, patience: patience,
		backoff: lifecycle.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second, Factor: 2, Jitter: 0.5}}, nil
}

// call is one verb on one thing, for errors and retries.
type call struct {
	verb, resource, namespace, name string
}

func (c call) String() string {
	s := c.verb + " " + c.resource
	if c.name != "" {
		s += " " + c.name
	}
	if c.namespace != "" {
		s += " in namespace " + c.namespace
	}
	return s
}

// try makes a call until it succeeds, fails for good, or the time for it is over.
func (a *api) try(ctx context.Context, c call, once func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, a.patience.Retry, fmt.Errorf("no success within %s", a.patience.Retry))
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := a.once(ctx, once)
		if err == nil || !passing(err) {
			return a.answer(c, err)
		}
		wait := a.backoff.Next(attempt, 0.5)
		if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
			wait = max(wait, time.Duration(seconds)*time.Second)
		}
		if lifecycle.Sleep(ctx, wait) != nil {
			return fmt.Errorf("%s: %w: %w", c, context.Cause(ctx), err)
		}
	}
}

// answer is the last of a call: its error says what to do about it, and whoever asks later which verbs are forbidden is told.
func (a *api) answer(c call, err error) error {
	if err != nil {
		err = explain(c, err)
	}
	f := (*fault.Error)(nil)
	if a.forbidden != nil && (err == nil || errors.As(err, &f)) {
		a.forbidden(c.verb+" "+c.resource, err)
	}
	return err
}

func (a *api) once(ctx context.Context, once func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.patience.Call)
	defer cancel()
	return once(ctx)
}

// passing says whether a failure may pass by itself: the server is busy, ill or away. What the server refused stays refused.
func passing(err error) bool {
	status := apierrors.APIStatus(nil)
	if refused := (*fault.Error)(nil); errors.As(err, &refused) {
		return false // by the guard
	}
	if !errors.As(err, &status) {
		return true // no answer, or one that nobody can read
	}
	code := status.Status().Code
	return code == 429 || code >= 500
}

// permission is what RBAC says when it refuses: who, and what.
var permission = regexp.MustCompile(`User "([^"]+)" cannot (\S+) resource "([^"]+)"`)

// explain makes a refusal say what to do about it.
func explain(c call, err error) error {
	if !apierrors.IsForbidden(err) {
		return fmt.Errorf("%s: %w", c, err)
	}
	m := permission.FindStringSubmatch(err.Error())
	if m == nil { // a quota, or an admission rule: its own words say it best
		return fault.Denied("E-KUBERNETES", c.verb+" "+c.resource, c.name, fault.Cause(err))
	}
	return fault.Denied("E-RBAC", c.verb+" "+c.resource, c.name, fault.Causef("%s may not %s %s in %s", m[1], m[2], m[3], where(c.namespace)),
		fault.Hint(grant(m[1], m[2], m[3], c.namespace)))
}

// tell is an error with what to type next, for who reads no rendered faults: a task's status, a log.
func tell(err error) string {
	if f := (*fault.Error)(nil); errors.As(err, &f) && f.Code == "E-RBAC" {
		return err.Error() + "; grant it with: " + f.Hint
	}
	return err.Error()
}

func where(namespace string) string {
	if namespace == "" {
		return "the cluster"
	}
	return "namespace " + namespace
}

// grant is the command that gives a user the permission that it lacks.
func grant(user, verb, resource, namespace string) string {
	kind, in := "clusterrole", ""
	if namespace != "" {
		kind, in = "role", " -n "+namespace
	}
	name := fmt.Sprintf("weir-%s-%s", verb, asLabel(resource))
	return fmt.Sprintf("kubectl create %s %s --verb=%s --resource=%s%s && kubectl create %sbinding %s --%s=%s --user=%s%s",
		kind, name, verb, resource, in, kind, name, kind, name, user, in)
}

func (a *api) create(ctx context.Context, resource, name string, body, into runtime.Object) error {
	c := call{"create", resource, a.namespace, name}
	return a.try(ctx, c, func(ctx context.Context) error {
		return a.rest.Post().MaxRetries(0).NamespaceIfScoped(a.namespace, a.namespace != "").Resource(resource).Body(body).Do(ctx).Into(into)
	})
}

func (a *api) get(ctx context.Context, resource, name string, into runtime.Object) error {
	c := call{"get", resource, a.namespace, name}
	return a.try(ctx, c, func(ctx context.Context) error {
		return a.rest.Get().MaxRetries(0).NamespaceIfScoped(a.namespace, a.namespace != "").Resource(resource).Name(name).Do(ctx).Into(into)
	})
}

// update replaces an object at the version that body names. A conflict whose cause is an earlier attempt of this very call cannot be told
// from another writer's: the caller reads again in both cases.
func (a *api) update(ctx context.Context, resource, name string, body, into runtime.Object) error {
	c := call{"update", resource, a.namespace, name}
	return a.try(ctx, c, func(ctx context.Context) error {
		return a.rest.Put().MaxRetries(0).NamespaceIfScoped(a.namespace, a.namespace != "").Resource(resource).Name(name).Body(body).Do(ctx).Into(into)
	})
}

// own makes a pod the owner of its Secret, so that the cluster deletes the one with the other.
func (a *api) own(ctx context.Context, secret string, pod *corev1.Pod) error {
	c := call{"patch", "secrets", a.namespace, secret}
	patch := fmt.Sprintf(`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":%q,"uid":%q}]}}`, pod.Name, pod.UID)
	return a.try(ctx, c, func(ctx context.Context) error {
		return a.rest.Patch(types.MergePatchType).MaxRetries(0).NamespaceIfScoped(a.namespace, a.namespace != "").Resource("secrets").Name(secret).Body([]byte(patch)).Do(ctx).Error()
	})
}

// bind puts a pod on a node; a pod that is on a node already says Conflict.
func (a *api) bind(ctx context.Context, pod string, uid types.UID, node string) error {
	c := call{"create", "pods/binding", a.namespace, pod}
	body := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: a.namespace, UID: uid}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	return a.try(ctx, c, func(ctx context.Context) error {
		return a.rest.Post().MaxRetries(0).NamespaceIfScoped(a.namespace, a.namespace != "").Resource("pods").Name(pod).SubResource("binding").Body(body).Do(ctx).Error()
	})
}

// remove deletes an object, if it is still the one of that UID and of that version (any, where empty). What is not there is deleted. No
// grace is given: the object has its own, and only a kubelet may say that a pod is over.
func (a *api) remove(ctx context.Context, resource, name string, uid types.UID, version string) error {
	c := call{"delete", resource, a.namespace, name}
	options := &metav1.DeleteOptions{}
	if uid != "" {
		options.Preconditions = &metav1.Preconditions{UID: &uid}
		if version != "" {
			options.Preconditions.ResourceVersion = &version
		}
	}
	err := a.try(ctx, c, func(ctx context.Context) error {
		return a.rest.Delete().MaxRetries(0).NamespaceIfScoped(a.namespace, a.namespace != "").Resource(resource).Name(name).Body(options).Do(ctx).Error()
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// list reads what is now, never a cache of what was: no resource version is named.
func (a *api) list(ctx context.Context, resource, namespace, selector string, into runtime.Object) error {
	c := call{verb: "list", resource: resource, namespace: namespace}
	return a.try(ctx, c, func(ctx context.Context) error {
		return a.rest.Get().MaxRetries(0).NamespaceIfScoped(namespace, namespace != "").Resource(resource).
			VersionedParams(&metav1.ListOptions{LabelSelector: selector}, a.params).Do(ctx).Into(into)
	})
}

func (a *api) watch(ctx context.Context, resource, selector, version string) (watch.Interface, error) {
	seconds := int64(max(1, a.patience.Watch/time.Second))
	w, err := a.rest.Get().MaxRetries(0).Resource(resource).VersionedParams(
		&metav1.ListOptions{LabelSelector: selector, ResourceVersion: version, Watch: true, AllowWatchBookmarks: true, TimeoutSeconds: &seconds}, a.params).Watch(ctx)
	if err != nil {
		return nil, explain(call{verb: "watch", resource: resource}, err)
	}
	return w, nil
}
