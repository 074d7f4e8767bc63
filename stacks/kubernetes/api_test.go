package kubernetes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/internal/kube"
)

// api is an API server in memory: objects with revisions and generations, a status subresource, finalizers, watches. fault, which tests set,
// may answer a request in its place.
type api struct {
	t     *testing.T
	mu    sync.Mutex // guards all below; fault is called with it held
	rev   int
	kinds map[string]map[string]map[string]any // by resource and name
	lines []chan string                        // one a watch
	calls []string                             // every request, as "verb resource"
	fault func(asked kube.Request, name string) *answer
}

// answer is what a fault answers with.
type answer struct {
	code   int
	reason string
	header map[string]string
	body   any
	hang   bool     // no answer comes until the client gives up
	cut    bool     // the connection is closed instead
	stream []string // the lines of a watch, which then ends
}

func newAPI(t *testing.T) *api {
	return &api{t: t, kinds: map[string]map[string]map[string]any{"stacks": {}, "configmaps": {}}}
}

func (a *api) serve() *rest.Config {
	srv := httptest.NewServer(a)
	a.t.Cleanup(func() { a.endWatches(); srv.CloseClientConnections(); srv.Close() })
	return &rest.Config{Host: srv.URL, QPS: -1}
}

func (a *api) endWatches() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.lines {
		close(w)
	}
	a.lines = nil
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked := kube.Parse(r)
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	name := ""
	for i, p := range path {
		if p == "stacks" || p == "configmaps" {
			name = strings.Join(path[i+1:min(i+2, len(path))], "")
		}
	}
	a.mu.Lock()
	a.calls = append(a.calls, asked.Verb+" "+asked.Resource)
	if a.fault != nil {
		if f := a.fault(asked, name); f != nil {
			a.mu.Unlock()
			if f.hang {
				<-r.Context().Done()
				return
			}
			f.write(w)
			return
		}
	}
	if asked.Verb == "watch" {
		a.watch(w, r)
		return
	}
	defer a.mu.Unlock()
	resource, sub, _ := strings.Cut(asked.Resource, "/")
	body, f := a.do(asked.Verb, resource, sub, name, r)
	if f != nil {
		f.write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body) //nolint:errcheck // the client is gone
}

func (f *answer) write(w http.ResponseWriter) {
	if f.cut {
		panic(http.ErrAbortHandler)
	}
	for k, v := range f.header {
		w.Header().Set(k, v)
	}
	w.Header().Set("Content-Type", "application/json")
	if f.stream != nil {
		for _, line := range f.stream {
			fmt.Fprintln(w, line)
		}
		return
	}
	if f.body == nil {
		w.WriteHeader(f.code)
		f.body = status(f.code, f.reason)
	}
	json.NewEncoder(w).Encode(f.body) //nolint:errcheck // the client is gone
}

func status(code int, reason string) map[string]any {
	return map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "the test says " + reason}
}

// do answers a request; a.mu is held.
func (a *api) do(verb, resource, sub, name string, r *http.Request) (any, *answer) {
	there := a.kinds[resource]
	if verb == "list" {
		items := []any{}
		for _, o := range there {
			items = append(items, o)
		}
		return map[string]any{"kind": "StackList", "apiVersion": "weir.dev/v1", "metadata": map[string]any{"resourceVersion": strconv.Itoa(a.rev)}, "items": items}, nil
	}
	have, ok := there[name]
	if !ok {
		return nil, &answer{code: 404, reason: "NotFound"}
	}
	if verb == "get" {
		return have, nil
	}
	var sent map[string]any
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil || verb != "update" {
		a.t.Errorf("%s %s: %v", verb, resource, err)
		return nil, &answer{code: 400, reason: "BadRequest"}
	}
	meta, was := sent["metadata"].(map[string]any), have["metadata"].(map[string]any)
	if meta["resourceVersion"] != was["resourceVersion"] || meta["uid"] != was["uid"] {
		return nil, &answer{code: 409, reason: "Conflict"}
	}
	next := copyOf(have)
	if sub == "status" {
		next["status"] = sent["status"]
	} else {
		next["metadata"].(map[string]any)["finalizers"] = meta["finalizers"]
		if !same(sent["spec"], have["spec"]) {
			a.t.Error("the spec was written")
		}
	}
	a.put(resource, name, next)
	return next, nil
}

func copyOf(o map[string]any) map[string]any {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

func same(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) } // fmt sorts the keys of maps

// put stores the next revision and tells the watches; an object that is being deleted goes with its last finalizer.
func (a *api) put(resource, name string, o map[string]any) {
	a.rev++
	meta := o["metadata"].(map[string]any)
	meta["resourceVersion"] = strconv.Itoa(a.rev)
	kind := "MODIFIED"
	if _, ok := a.kinds[resource][name]; !ok {
		kind = "ADDED"
	}
	a.kinds[resource][name] = o
	if left, _ := meta["finalizers"].([]any); meta["deletionTimestamp"] != nil && len(left) == 0 {
		delete(a.kinds[resource], name)
		kind = "DELETED"
	}
	if resource == "stacks" {
		a.send(kind, o)
	}
}

func (a *api) send(kind string, o map[string]any) {
	line, err := json.Marshal(map[string]any{"type": kind, "object": o})
	if err != nil {
		panic(err)
	}
	for _, w := range a.lines {
		w <- string(line)
	}
}

// watch streams what happens from now on, after what happened since the revision that was asked for; it is entered with a.mu held.
func (a *api) watch(w http.ResponseWriter, r *http.Request) {
	since, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil {
		a.t.Errorf("a watch from %q", r.URL.Query().Get("resourceVersion"))
	}
	line := make(chan string, 10000)
	for _, o := range a.kinds["stacks"] {
		rev, _ := strconv.Atoi(o["metadata"].(map[string]any)["resourceVersion"].(string))
		if rev > since {
			data, _ := json.Marshal(map[string]any{"type": "MODIFIED", "object": o})
			line <- string(data)
		}
	}
	a.lines = append(a.lines, line)
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.(http.Flusher).Flush()
	for {
		select {
		case text, open := <-line:
			if !open {
				return
			}
			fmt.Fprintln(w, text)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// apply is kubectl's: it creates the object, or makes the next generation of it.
func (a *api) apply(name, uid string, spec map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o, ok := a.kinds["stacks"][name]
	if !ok {
		o = map[string]any{"apiVersion": "weir.dev/v1", "kind": "Stack", "metadata": map[string]any{"name": name, "namespace": "n", "uid": uid, "generation": 0}}
	}
	o = copyOf(o)
	meta := o["metadata"].(map[string]any)
	meta["generation"] = number(meta["generation"]) + 1
	o["spec"] = spec
	a.put("stacks", name, o)
}

func number(v any) int64 {
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// remove is kubectl delete; vanish takes an object away as if nobody had had to be asked.
func (a *api) remove(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := copyOf(a.kinds["stacks"][name])
	meta := o["metadata"].(map[string]any)
	meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	meta["generation"] = number(meta["generation"]) + 1
	a.put("stacks", name, o)
}

func (a *api) vanish(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rev++
	delete(a.kinds["stacks"], name)
}

func (a *api) configMap(name string, data map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put("configmaps", name, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "n"}, "data": data})
}

// object is a stack as it stands; nil where it is not there.
func (a *api) object(name string) map[string]any {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o, ok := a.kinds["stacks"][name]; ok {
		return copyOf(o)
	}
	return nil
}

func (a *api) breaks(f func(asked kube.Request, name string) *answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// count is how many requests of that verb and resource came.
func (a *api) count(call string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, c := range a.calls {
		if c == call {
			n++
		}
	}
	return n
}
