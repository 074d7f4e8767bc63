package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/internal/kube"
)

type thing = map[string]any

// world is enough of an API server, over HTTP, to have faults: objects with versions, lists, watches, preconditions, and a kubelet
// that runs what is bound and ends what is deleted.
type world struct {
	url string

	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	version int
	objects map[string]thing // by resource/namespace/name
	events  []happened
	forgot  int // versions up to this one are "too old" for a watch

	// fault may answer a request itself, and says so. It holds no lock.
	fault   func(w http.ResponseWriter, r *http.Request, asked kube.Request) bool
	repeats int            // each event is sent this many times more
	watches map[string]int // that are open, by resource
}

type happened struct {
	version  int
	resource string
	kind     string // ADDED, MODIFIED, DELETED
	object   []byte
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{objects: map[string]thing{}, version: 100, watches: map[string]int{}}
	w.changed = sync.NewCond(&w.mu)
	srv := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	w.url = srv.URL
	return w
}

func (w *world) config() *rest.Config { return &rest.Config{Host: w.url, QPS: -1} }

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":%q}`, reason, code, fmt.Sprintf(format, args...))
}

func (w *world) answer(rw http.ResponseWriter, o any) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(o) //nolint:errcheck // a client that went away
}

var kinds = map[string]string{"pods": "Pod", "nodes": "Node", "secrets": "Secret", "configmaps": "ConfigMap", "persistentvolumeclaims": "PersistentVolumeClaim", "services": "Service"}

// serve is the server; what comes by way of /faulty has faults.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	rest, faulty := strings.CutPrefix(r.URL.Path, "/faulty")
	r.URL.Path = rest
	asked := kube.Parse(r)
	w.mu.Lock()
	fault := w.fault
	w.mu.Unlock()
	if faulty && fault != nil && fault(rw, r, asked) {
		return
	}
	w.do(rw, r, asked)
}

// snapshot keeps a request beyond its connection.
func snapshot(r *http.Request) *http.Request {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	out := r.Clone(context.Background())
	out.Body = io.NopCloser(bytes.NewReader(body))
	return out
}

// watching is how many watches of a resource are open.
func (w *world) watching(resource string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watches[resource]
}

func (w *world) do(rw http.ResponseWriter, r *http.Request, asked kube.Request) {
	if asked.Verb == "watch" {
		w.watch(rw, r, asked)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	where := r.URL.Path
	base, sub, _ := strings.Cut(asked.Resource, "/")
	if sub != "" {
		where = path.Dir(where)
	}
	name := path.Base(where)
	at := base + "/" + asked.Namespace + "/" + name
	switch asked.Verb {
	case "list":
		w.list(rw, r, asked)
	case "create":
		w.create(rw, base, asked, at, body)
	default:
		o, ok := w.objects[at]
		if !ok {
			refuse(rw, 404, metav1.StatusReasonNotFound, "%s %q not found", base, name)
			return
		}
		w.change(rw, asked, base, at, o, body)
	}
}

func metaOf(o thing) thing {
	m, _ := o["metadata"].(thing)
	return m
}

func clone(o thing) thing {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var out thing
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

// put stores an object under a new version and tells the watches.
func (w *world) put(resource, at, kind string, o thing) thing {
	o = clone(o)
	w.version++
	metaOf(o)["resourceVersion"] = strconv.Itoa(w.version)
	if kind == "DELETED" {
		delete(w.objects, at)
	} else {
		w.objects[at] = o
	}
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	w.events = append(w.events, happened{w.version, resource, kind, data})
	w.changed.Broadcast()
	return o
}

func (w *world) create(rw http.ResponseWriter, base string, asked kube.Request, at string, body []byte) {
	var o thing
	if err := json.Unmarshal(body, &o); err != nil {
		refuse(rw, 400, metav1.StatusReasonBadRequest, "%v", err)
		return
	}
	if asked.Resource == "pods/binding" {
		w.bind(rw, at, o)
		return
	}
	name, _ := metaOf(o)["name"].(string)
	at = base + "/" + asked.Namespace + "/" + name
	if _, exists := w.objects[at]; exists {
		refuse(rw, 409, metav1.StatusReasonAlreadyExists, "%s %q already exists", base, name)
		return
	}
	o["kind"], o["apiVersion"] = kinds[base], "v1"
	m := metaOf(o)
	m["uid"], m["creationTimestamp"] = fmt.Sprintf("uid-%d", w.version+1), time.Now().UTC().Format(time.RFC3339)
	o = w.put(base, at, "ADDED", o)
	w.answer(rw, o)
	if spec, _ := o["spec"].(thing); base == "pods" && spec["schedulerName"] == "default-scheduler" {
		for k := range w.objects { // the scheduler: the one node of the affinity
			if node, ok := strings.CutPrefix(k, "nodes//"); ok && strings.Contains(string(body), `"values":["`+node+`"]`) {
				w.run(at, node)
				return
			}
		}
	}
}

func (w *world) bind(rw http.ResponseWriter, at string, binding thing) {
	o, ok := w.objects[at]
	if !ok {
		refuse(rw, 404, metav1.StatusReasonNotFound, "no such pod")
		return
	}
	if node, _ := o["spec"].(thing)["nodeName"].(string); node != "" {
		refuse(rw, 409, metav1.StatusReasonConflict, "pod is already assigned to node %q", node)
		return
	}
	w.answer(rw, thing{"kind": "Status", "apiVersion": "v1", "status": "Success"})
	node, _ := binding["target"].(thing)["name"].(string)
	w.run(at, node)
}

// run is the kubelet of a pod that was bound.
func (w *world) run(at, node string) {
	o := clone(w.objects[at])
	o["spec"].(thing)["nodeName"] = node
	w.put("pods", at, "MODIFIED", o)
	o["status"] = thing{"phase": "Running", "containerStatuses": []any{thing{"name": container, "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
		"state": thing{"running": thing{"startedAt": time.Now().UTC().Format(time.RFC3339)}}}}}
	w.put("pods", at, "MODIFIED", o)
}

func (w *world) change(rw http.ResponseWriter, asked kube.Request, base, at string, o thing, body []byte) {
	switch asked.Verb {
	case "get":
		w.answer(rw, o)
	case "update":
		var next thing
		if err := json.Unmarshal(body, &next); err != nil {
			refuse(rw, 400, metav1.StatusReasonBadRequest, "%v", err)
			return
		}
		if v := metaOf(next)["resourceVersion"]; v != metaOf(o)["resourceVersion"] {
			refuse(rw, 409, metav1.StatusReasonConflict, "the object has been modified: version %v, not %v", metaOf(o)["resourceVersion"], v)
			return
		}
		next["kind"], next["apiVersion"] = kinds[base], "v1"
		metaOf(next)["uid"] = metaOf(o)["uid"]
		w.answer(rw, w.put(base, at, "MODIFIED", next))
	case "patch":
		var patch thing
		if err := json.Unmarshal(body, &patch); err != nil {
			refuse(rw, 400, metav1.StatusReasonBadRequest, "%v", err)
			return
		}
		next := clone(o)
		merge(next, patch)
		w.answer(rw, w.put(base, at, "MODIFIED", next))
	case "delete":
		w.remove(rw, base, at, o, body)
	}
}

func merge(into, patch thing) {
	for k, v := range patch {
		inner, isMap := v.(thing)
		if have, ok := into[k].(thing); ok && isMap {
			merge(have, inner)
			continue
		}
		into[k] = v
	}
}

func (w *world) remove(rw http.ResponseWriter, base, at string, o thing, body []byte) {
	var options metav1.DeleteOptions
	if len(body) > 0 {
		if err := json.Unmarshal(body, &options); err != nil {
			refuse(rw, 400, metav1.StatusReasonBadRequest, "%v", err)
			return
		}
	}
	if p := options.Preconditions; p != nil {
		if p.UID != nil && string(*p.UID) != metaOf(o)["uid"] || p.ResourceVersion != nil && *p.ResourceVersion != metaOf(o)["resourceVersion"] {
			refuse(rw, 409, metav1.StatusReasonConflict, "a precondition failed")
			return
		}
	}
	node := ""
	if spec, ok := o["spec"].(thing); ok && base == "pods" {
		node, _ = spec["nodeName"].(string)
	}
	if node != "" && options.GracePeriodSeconds == nil {
		o = clone(o)
		metaOf(o)["deletionTimestamp"] = time.Now().UTC().Format(time.RFC3339)
		o = w.put(base, at, "MODIFIED", o)
		w.answer(rw, o)
		if _, there := w.objects["nodes//"+node]; there { // its kubelet has stopped it
			w.drop(base, at, o)
		}
		return
	}
	w.answer(rw, o)
	w.drop(base, at, o)
}

// drop removes an object, and what it owns.
func (w *world) drop(base, at string, o thing) {
	w.put(base, at, "DELETED", o)
	for k, owned := range maps.Clone(w.objects) {
		owners, _ := metaOf(owned)["ownerReferences"].([]any)
		for _, x := range owners {
			if x.(thing)["uid"] == metaOf(o)["uid"] {
				resource, _, _ := strings.Cut(k, "/")
				w.put(resource, k, "DELETED", owned)
			}
		}
	}
}

// selected reads the label selectors that this package uses: "", and "key=value".
func selected(r *http.Request, o thing) bool {
	key, value, ok := strings.Cut(r.URL.Query().Get("labelSelector"), "=")
	labels, _ := metaOf(o)["labels"].(thing)
	return !ok || labels[key] == value
}

func (w *world) list(rw http.ResponseWriter, r *http.Request, asked kube.Request) {
	w.answerList(rw, r, asked, w.objects, w.version)
}

func (w *world) answerList(rw http.ResponseWriter, r *http.Request, asked kube.Request, objects map[string]thing, version int) {
	items := []any{}
	for _, at := range slices.Sorted(maps.Keys(objects)) {
		if strings.HasPrefix(at, asked.Resource+"/"+asked.Namespace) && selected(r, objects[at]) {
			items = append(items, objects[at])
		}
	}
	w.answer(rw, thing{"kind": kinds[asked.Resource] + "List", "apiVersion": "v1", "metadata": thing{"resourceVersion": strconv.Itoa(version)}, "items": items})
}

func (w *world) count(resource string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watches[resource] += n
}

// watch sends what happened since a version, and goes on until its time is over.
func (w *world) watch(rw http.ResponseWriter, r *http.Request, asked kube.Request) {
	from, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	seconds, err2 := strconv.Atoi(r.URL.Query().Get("timeoutSeconds"))
	if err != nil || err2 != nil {
		refuse(rw, 400, metav1.StatusReasonBadRequest, "no version, or no time-out: %v %v", err, err2)
		return
	}
	w.count(asked.Resource, 1)
	defer w.count(asked.Resource, -1)
	ends := time.Now().Add(time.Duration(seconds) * time.Second)
	wake := time.AfterFunc(time.Until(ends), w.changed.Broadcast)
	defer wake.Stop()
	defer context.AfterFunc(r.Context(), w.changed.Broadcast)()
	rw.Header().Set("Content-Type", "application/json")
	send := func(kind string, object []byte) bool {
		_, err := fmt.Fprintf(rw, `{"type":%q,"object":%s}`+"\n", kind, object)
		return err == nil && http.NewResponseController(rw).Flush() == nil
	}
	if http.NewResponseController(rw).Flush() != nil {
		return
	}
	for {
		w.mu.Lock()
		for w.version == from && time.Now().Before(ends) && r.Context().Err() == nil && from >= w.forgot {
			w.changed.Wait()
		}
		var due []happened
		for _, e := range w.events {
			if e.version > from && e.resource == asked.Resource {
				due = append(due, e)
			}
		}
		expired, now, repeats := from < w.forgot, w.version, w.repeats
		w.mu.Unlock()
		if expired {
			send("ERROR", []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old resource version"}`))
			return
		}
		for _, e := range due {
			var o thing
			if json.Unmarshal(e.object, &o) != nil || !selected(r, o) {
				continue
			}
			for range 1 + repeats {
				if !send(e.kind, e.object) {
					return
				}
			}
		}
		from = now
		if !time.Now().Before(ends) || r.Context().Err() != nil {
			send("BOOKMARK", fmt.Appendf(nil, `{"kind":%q,"apiVersion":"v1","metadata":{"resourceVersion":"%d"}}`, kinds[asked.Resource], now))
			return
		}
	}
}
