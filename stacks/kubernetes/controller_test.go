package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/stacks"
)

// weir is a server that carries out what it is told at once, and ends slowly.
type weir struct {
	mu      sync.Mutex
	applied map[string]Object // by uid
	calls   []string
	phase   string
	ending  string
	ends    int // how often End is asked before it has ended
	refuses error
}

func (w *weir) Apply(_ context.Context, o Object) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuses != nil {
		return w.refuses
	}
	if _, err := stacks.Load(Document, o.Source); err != nil {
		return err
	}
	if was, ok := w.applied[o.UID]; ok && was.Generation > o.Generation || w.ending == o.UID {
		return ErrStale
	}
	w.calls = append(w.calls, fmt.Sprintf("apply %s %d", o.UID, o.Generation))
	w.applied[o.UID] = o
	return nil
}

func (w *weir) Status(_ context.Context, _, uid string) (Status, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.applied[uid]
	phase := w.phase
	if w.ending == uid {
		phase = "stopping"
	}
	return Status{Phase: phase, Services: []Service{{Name: "events", Operator: "kafka", Size: 1, Ready: 1, State: "ready"}}}, ok, nil
}

func (w *weir) End(_ context.Context, _, uid string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = uid
	w.calls = append(w.calls, "end "+uid)
	if w.ends--; w.ends > 0 {
		return false, nil
	}
	delete(w.applied, uid)
	return true, nil
}

func (w *weir) Applied(context.Context) (map[string]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]string{}
	for uid, o := range w.applied {
		out[uid] = o.Name
	}
	return out, nil
}

func (w *weir) has(uid string) (Object, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, ok := w.applied[uid]
	return o, ok
}

func (w *weir) said(call string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, c := range w.calls {
		if c == call {
			n++
		}
	}
	return n
}

// world is a controller between an API server and a Weir server.
type world struct {
	t    *testing.T
	api  *api
	weir *weir
	log  strings.Builder
	used map[string]bool
	mu   sync.Mutex // guards log and used
}

func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func newWorld(t *testing.T) *world {
	return &world{t: t, api: newAPI(t), weir: &weir{applied: map[string]Object{}, phase: "running"}, used: map[string]bool{}}
}

// start runs a controller until the test ends.
func (w *world) start() {
	w.t.Helper()
	c, err := New(Config{Rest: w.api.serve(), Namespace: "n", Server: w.weir, Log: slog.New(slog.NewTextHandler(w, nil)), Tick: 5 * time.Millisecond, Call: 300 * time.Millisecond, Resync: 20 * time.Millisecond,
		Seen: func(r kube.Request) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.used[r.Verb+" "+r.Resource] = true
		}})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
}

// until waits for what must come.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	err := lifecyclePoll(w.t.Context(), holds)
	if err != nil {
		w.t.Fatalf("%s: it did not come; the object is %v\nlog:\n%s", what, w.api.object("s"), w.logged())
	}
}

func lifecyclePoll(ctx context.Context, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (w *world) status() map[string]any {
	s, _ := w.api.object("s")["status"].(map[string]any)
	return s
}

// generation is the one that the status is about; 0 where there is none.
func (w *world) generation() int64 {
	if g := w.status()["observedGeneration"]; g != nil {
		return number(g)
	}
	return 0
}

func (w *world) phase() string { return fmt.Sprint(w.status()["phase"]) }

// is is a condition as "True Accepted".
func (w *world) is(kind string) string {
	conditions, _ := w.status()["conditions"].([]any)
	for _, c := range conditions {
		if m := c.(map[string]any); m["type"] == kind {
			return fmt.Sprint(m["status"], " ", m["reason"])
		}
	}
	return ""
}

func (w *world) message(kind string) string {
	conditions, _ := w.status()["conditions"].([]any)
	for _, c := range conditions {
		if m := c.(map[string]any); m["type"] == kind {
			return fmt.Sprint(m["message"])
		}
	}
	return ""
}

func kafka(fields ...any) map[string]any {
	service := map[string]any{"operator": "kafka"}
	for i := 0; i+1 < len(fields); i += 2 {
		service[fields[i].(string)] = fields[i+1]
	}
	return map[string]any{"services": map[string]any{"events": service}}
}

func TestAnObjectIsAppliedAndItsStatusSaysWhatTheServerSays(t *testing.T) {
	w := newWorld(t)
	w.api.apply("s", "u1", kafka())
	w.start()
	w.until("the status", func() bool { return w.is("Ready") == "True Running" })
	if w.phase() != "running" || w.is("Accepted") != "True Accepted" || w.is("Progressing") != "False Running" || w.generation() != 1 {
		t.Errorf("the status is %v", w.status())
	}
	if got := fmt.Sprint(w.status()["services"]); got != "[map[name:events operator:kafka ready:1 size:1 state:ready]]" {
		t.Errorf("the services are %s", got)
	}
	o, _ := w.weir.has("u1")
	if want := "apiVersion: weir.dev/v1\nkind: Stack\nmetadata:\n    name: s\nspec:\n    services:\n        events:\n            operator: kafka\n"; string(o.Source) != want {
		t.Errorf("the server got\n%s", o.Source)
	}
	// A change of the server's mind reaches the status; then nothing is written any more, though the object is looked at again and again.
	w.weir.mu.Lock()
	w.weir.phase = "starting"
	w.weir.mu.Unlock()
	w.until("the phase", func() bool {
		return w.phase() == "starting" && w.is("Progressing") == "True Starting" && w.is("Ready") == "False Starting"
	})
	written := w.api.count("update stacks/status")
	looked := w.weir.said("apply u1 1")
	w.until("more looks", func() bool { return w.weir.said("apply u1 1") > looked+5 })
	if n := w.api.count("update stacks/status"); n != written || w.api.count("update stacks") != 1 {
		t.Errorf("%d statuses and %d objects were written where nothing had changed", n-written, w.api.count("update stacks")-1)
	}
}

func TestARefusedObjectSaysWhichFieldAndWhatToDo(t *testing.T) {
	w := newWorld(t)
	w.api.apply("s", "u1", kafka("storage", "20GB"))
	w.start()
	w.until("the refusal", func() bool { return w.is("Accepted") == "False Invalid" })
	want := `spec.services.events.storage: error[E-QUANTITY]: read service "events" field storage: "20GB" is not a size (hint: write it with a unit: 512Mi, 20Gi, 1Ti)`
	if got := w.message("Accepted"); got != want {
		t.Errorf("the message is\n%s\nwant\n%s", got, want)
	}
	if w.phase() != "refused" || w.is("Ready") != "False Refused" || w.status()["reason"] != want {
		t.Errorf("the status is %v", w.status())
	}
	w.api.apply("s", "u1", kafka("storage", "20Gi"))
	w.until("it is mended", func() bool { return w.is("Accepted") == "True Accepted" && w.is("Ready") == "True Running" })
	if _, ok := w.status()["reason"]; ok {
		t.Errorf("the old reason stays: %v", w.status())
	}
	// A bad change of a running stack is refused, and what runs goes on.
	w.api.apply("s", "u1", kafka("storage", "x"))
	w.until("the change is refused", func() bool { return w.is("Accepted") == "False Invalid" })
	if w.is("Ready") != "True Running" || w.generation() != 3 {
		t.Errorf("the status is %v", w.status())
	}
	w.weir.mu.Lock()
	w.weir.refuses = fault.NoFit("E-NOFIT", "place", "events-0", fault.Causef("needs mem 40000 MiB, the largest node has 8000"))
	w.weir.mu.Unlock()
	w.api.apply("s", "u1", kafka("memory", "40000Mi"))
	w.until("the server's own refusal", func() bool { return w.is("Accepted") == "False DoesNotFit" })
}

func TestFilesComeFromTheConfigMapOfTheName(t *testing.T) {
	w := newWorld(t)
	spec := kafka()
	spec["services"].(map[string]any)["workers"] = map[string]any{"operator": "stream", "workers": 2}
	spec["pipelines"] = []any{"flights.yaml"}
	w.api.apply("s", "u1", spec)
	w.start()
	w.until("the refusal", func() bool { return w.is("Accepted") == "False Invalid" })
	if got := w.message("Accepted"); !strings.Contains(got, "spec.pipelines[0]: error[E-FILE]") || !strings.Contains(got, "kubectl -n n create configmap s --from-file=flights.yaml") {
		t.Errorf("the message is %s", got)
	}
	w.api.configMap("s", map[string]any{"flight.yaml": "pipeline: {}"})
	w.until("the key is missed", func() bool {
		return strings.Contains(w.message("Accepted"), `no key "flights.yaml" (keys: flight.yaml)`)
	})
	for _, text := range []string{"one", "two"} {
		w.api.configMap("s", map[string]any{"flights.yaml": text})
		w.until(text, func() bool {
			o, _ := w.weir.has("u1")
			return string(o.Files["flights.yaml"]) == text && w.is("Accepted") == "True Accepted"
		})
	}
}

func TestADeletedObjectStaysUntilItsServicesHaveEnded(t *testing.T) {
	w := newWorld(t)
	w.weir.ends = 4
	w.api.apply("s", "u1", kafka())
	w.start()
	w.until("it runs", func() bool { return w.phase() == "running" })
	seen := make(chan bool, 1)
	w.api.breaks(func(asked kube.Request, _ string) *answer {
		if asked.Verb == "update" && asked.Resource == "stacks/status" {
			select {
			case seen <- true:
			default:
			}
		}
		return nil
	})
	w.api.remove("s")
	w.until("it is gone", func() bool { return w.api.object("s") == nil })
	if n := w.weir.said("end u1"); n < 4 {
		t.Errorf("it was let go after %d of 4 looks", n)
	}
	if len(seen) != 1 {
		t.Error("nothing said that it is stopping")
	}
	w.until("nothing of it is left", func() bool { _, ok := w.weir.has("u1"); return !ok })
}

// TestFaultsOfTheAPIServer: whatever it answers for a while, in the end the stack is applied, its status is right, and its deletion ends it.
func TestFaultsOfTheAPIServer(t *testing.T) {
	times := func(n int, f answer) func(kube.Request, string) *answer {
		return func(asked kube.Request, _ string) *answer {
			if n--; n < 0 {
				return nil
			}
			out := f
			return &out
		}
	}
	only := func(call string, f func(kube.Request, string) *answer) func(kube.Request, string) *answer {
		return func(asked kube.Request, name string) *answer {
			if asked.Verb+" "+asked.Resource != call {
				return nil
			}
			return f(asked, name)
		}
	}
	soon := map[string]string{"Retry-After": "0"}
	gone := `{"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old resource version"}}`
	bookmark := `{"type": "BOOKMARK", "object": {"kind": "Stack", "apiVersion": "weir.dev/v1", "metadata": {"resourceVersion": "1"}}}`
	for name, f := range map[string]func(kube.Request, string) *answer{
		"429 with a time to wait":            times(3, answer{code: 429, reason: "TooManyRequests", header: soon}),
		"500":                                times(5, answer{code: 500, reason: "InternalError"}),
		"503":                                times(5, answer{code: 503, reason: "ServiceUnavailable"}),
		"connections that break":             times(5, answer{cut: true}),
		"answers that never come":            times(3, answer{hang: true}),
		"a watch that does not open":         only("watch stacks", times(2, answer{hang: true})),
		"504 of a list":                      only("list stacks", times(3, answer{code: 504, reason: "Timeout"})),
		"403 of a watch":                     only("watch stacks", times(3, answer{code: 403, reason: "Forbidden"})),
		"410 of a watch":                     only("watch stacks", times(3, answer{code: 410, reason: "Expired"})),
		"410 within a watch":                 only("watch stacks", times(3, answer{stream: []string{gone}})),
		"a watch that ends at once":          only("watch stacks", times(3, answer{stream: []string{}})),
		"a bookmark, and a watch that ends":  only("watch stacks", times(3, answer{stream: []string{bookmark}})),
		"rubbish within a watch":             only("watch stacks", times(3, answer{stream: []string{"{{{"}})),
		"500 of every write of the status":   only("update stacks/status", times(4, answer{code: 500, reason: "InternalError"})),
		"a conflict of the status":           only("update stacks/status", times(3, answer{code: 409, reason: "Conflict"})),
		"a conflict of the finalizer":        only("update stacks", times(7, answer{code: 409, reason: "Conflict"})),
		"an answer to a write that was lost": only("update stacks", times(2, answer{cut: true})),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.api.fault = f
			w.api.apply("s", "u1", kafka())
			w.start()
			w.until("the status", func() bool { return w.is("Ready") == "True Running" })
			w.api.apply("s", "u1", kafka("brokers", int64(1)))
			w.until("the next generation", func() bool { return w.generation() == 2 && w.weir.said("apply u1 2") > 0 })
			w.api.remove("s")
			w.until("the end", func() bool { return w.api.object("s") == nil })
			if _, ok := w.weir.has("u1"); ok {
				t.Error("the object is gone and its stack is not")
			}
		})
	}
}

func TestADenialSaysWhatGrantsTheVerb(t *testing.T) {
	w := newWorld(t)
	denied := true
	w.api.fault = func(asked kube.Request, _ string) *answer {
		if denied && asked.Verb == "list" {
			return &answer{code: 403, reason: "Forbidden"}
		}
		return nil
	}
	w.api.apply("s", "u1", kafka())
	w.start()
	w.until("the log", func() bool { return strings.Contains(w.logged(), "the chart's Role grants it") })
	w.api.breaks(nil)
	w.until("it is granted", func() bool { return w.phase() == "running" && strings.Contains(w.logged(), "answers again") })
	if n := strings.Count(w.logged(), "refuses Stack objects"); n != 1 {
		t.Errorf("the denial was logged %d times", n)
	}
}

// A spec that changes while its status is written is neither overwritten nor passed over (I8).
func TestAConflictIsDecidedOnAFreshRead(t *testing.T) {
	w := newWorld(t)
	changed := false
	w.api.apply("s", "u1", kafka())
	w.api.fault = func(asked kube.Request, name string) *answer {
		if asked.Resource != "stacks/status" || changed {
			return nil
		}
		changed = true
		o := copyOf(w.api.kinds["stacks"]["s"])
		o["spec"] = kafka("brokers", int64(1))
		o["metadata"].(map[string]any)["generation"] = 2
		w.api.put("stacks", "s", o)
		return nil
	}
	w.start()
	w.until("the second generation", func() bool { return w.weir.said("apply u1 2") > 0 && w.generation() == 2 })
	if got := fmt.Sprint(w.api.object("s")["spec"]); got != fmt.Sprint(kafka("brokers", int64(1))) {
		t.Errorf("the spec is %s", got)
	}
}

// A list that lags shows a generation that was passed: nothing is applied backwards, and no status is written for it.
func TestAStaleListChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.weir.applied["u1"] = Object{Name: "s", UID: "u1", Generation: 7}
	w.api.apply("s", "u1", kafka())
	w.start()
	w.until("some looks", func() bool { return w.api.count("watch stacks") > 0 && w.api.count("update stacks") == 1 })
	w.api.endWatches()
	w.until("another watch", func() bool { return w.api.count("watch stacks") > 1 })
	if o, _ := w.weir.has("u1"); o.Generation != 7 || w.api.count("update stacks/status") != 0 {
		t.Errorf("generation %d is applied, %d statuses were written", o.Generation, w.api.count("update stacks/status"))
	}
	for range 6 {
		w.api.apply("s", "u1", kafka())
	}
	w.until("the list has caught up", func() bool { return w.weir.said("apply u1 7") > 0 && w.generation() == 7 })
}

// An object that is missing from a list may be there all the same: the API server itself is asked before its services are ended.
func TestAnObjectThatAListForgotIsNotEnded(t *testing.T) {
	w := newWorld(t)
	w.weir.applied["u1"] = Object{Name: "s", UID: "u1", Generation: 1}
	w.weir.applied["u0"] = Object{Name: "gone", UID: "u0", Generation: 1}
	w.api.apply("s", "u1", kafka())
	w.api.fault = func(asked kube.Request, _ string) *answer {
		if asked.Verb == "list" {
			return &answer{code: 200, body: map[string]any{"kind": "StackList", "apiVersion": "weir.dev/v1", "metadata": map[string]any{"resourceVersion": "5"}, "items": []any{}}}
		}
		return nil
	}
	w.start()
	w.until("the one that is gone is ended", func() bool { _, ok := w.weir.has("u0"); return !ok })
	w.until("the one that is there is found", func() bool { return w.phase() == "running" })
	if n := w.weir.said("end u1"); n != 0 {
		t.Errorf("the stack of an object that is there was ended %d times", n)
	}
}

func TestAnObjectThatWasMadeAnewIsAnother(t *testing.T) {
	w := newWorld(t)
	w.api.apply("s", "u1", kafka())
	w.start()
	w.until("the first", func() bool { return w.phase() == "running" })
	// Its finalizer was taken by force, and another was made while the watch was broken.
	w.api.vanish("s")
	w.api.apply("s", "u2", kafka())
	w.api.endWatches()
	w.until("the second", func() bool { _, ok := w.weir.has("u2"); return ok })
	w.until("the first has ended", func() bool { _, ok := w.weir.has("u1"); return !ok })
}

// What the rules name is used: each verb, in the life of one object with a file.
func TestEveryRuleIsUsed(t *testing.T) {
	w := newWorld(t)
	spec := kafka()
	spec["show"] = []any{"a.yaml"}
	w.api.configMap("s", map[string]any{"a.yaml": "x"})
	w.api.apply("s", "u1", spec)
	conflict := 1
	w.api.fault = func(asked kube.Request, _ string) *answer {
		if asked.Verb == "update" && conflict > 0 {
			conflict--
			return &answer{code: 409, reason: "Conflict"}
		}
		return nil
	}
	w.start()
	w.until("the status", func() bool { return w.phase() == "running" })
	w.mu.Lock()
	defer w.mu.Unlock()
	var unused []string
	for _, r := range Rules {
		for _, v := range r.Verbs {
			if !w.used[v+" "+r.Resource] {
				unused = append(unused, v+" "+r.Resource)
			}
		}
	}
	if len(unused) > 0 {
		t.Errorf("never used: %v (used: %v)", unused, slices.Sorted(maps.Keys(w.used)))
	}
}

func TestARefusalNamesItsPlace(t *testing.T) {
	src := []byte("spec:\n  services:\n    events: {operator: kafka}\n")
	var list fault.List
	list.Add(fault.Invalid("E-A", "read", "x", fault.At(Document, 3, 5), fault.Causef("bad"), fault.Hint("mend it")))
	list.Add(fault.Invalid("E-B", "compile", "y", fault.At("flights.yaml", 54, 36), fault.Causef("no column")))
	list.Add(errors.New("plain"))
	want := "spec.services.events: error[E-A]: read x: bad (hint: mend it)\nflights.yaml:54:36: error[E-B]: compile y: no column\nplain"
	if got := refusal(src, list); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
