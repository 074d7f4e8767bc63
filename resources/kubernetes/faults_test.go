package kubernetes

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/resourcetest"
)

// faulty is a rig whose agent has faults on its way to the API server; the test's own requests have none.
type faulty struct {
	*rig
	world *world
	f     *resourcetest.Framework
}

func newFaulty(t testing.TB) *faulty {
	t.Helper()
	w := newWorld(t)
	agent := w.config()
	agent.Host += "/faulty"
	r := newRig(t, w.config(), agent, "weir", unique("node"), brisk)
	return &faulty{rig: r, world: w, f: resourcetest.NewFramework(t, r, "patient")}
}

type handler func(rw http.ResponseWriter, r *http.Request, asked kube.Request) bool

// fault has the agent's requests answered by h, where it answers.
func (f *faulty) fault(h handler) {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	f.world.fault = h
}

// lose does what is asked, and cuts the connection before the answer.
func (w *world) lose(rw http.ResponseWriter, r *http.Request) {
	inner := httptest.NewRecorder()
	w.do(inner, r, kube.Parse(r))
	panic(http.ErrAbortHandler)
}

func busy(rw http.ResponseWriter, seconds int) {
	rw.Header().Set("Retry-After", fmt.Sprint(seconds))
	http.Error(rw, "Too many requests, please try again later.", http.StatusTooManyRequests) // as API priority and fairness words it
}

// oncePod checks that a task's pod exists and was made once.
func (f *faulty) oncePod(id resources.TaskID) {
	f.t.Helper()
	if got := f.Launches(f.t, id); got != 1 {
		f.t.Errorf("task %s has had %d pods (I3)", id, got)
	}
}

func TestABusyServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	var mu sync.Mutex
	asked := map[string][]time.Time{}
	f.fault(func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
		if a.Verb == "watch" || a.Verb == "list" {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		key := a.String() + r.URL.Path
		asked[key] = append(asked[key], time.Now())
		if len(asked[key]) > 1 {
			return false
		}
		busy(rw, 1)
		return true
	})
	f.f.Launch(resourcetest.Task("busy.1"))
	f.f.Wait("busy.1", resources.Running)
	f.oncePod("busy.1")
	mu.Lock()
	defer mu.Unlock()
	creates := 0
	for key, times := range asked {
		if strings.Contains(key, "create pods in") {
			creates++
		}
		if len(times) > 1 && times[1].Sub(times[0]) < time.Second {
			t.Errorf("%s was asked again after %s; the server had said 1 s", key, times[1].Sub(times[0]))
		}
	}
	if creates == 0 {
		t.Errorf("the fault never met a create: %v", asked)
	}
}

func TestALostAnswerMakesNoSecondPod(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	var lost atomic.Int64
	var mu sync.Mutex
	seen := map[string]bool{}
	f.fault(func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
		mu.Lock()
		first := !seen[a.Verb+r.URL.Path+a.Resource]
		seen[a.Verb+r.URL.Path+a.Resource] = true
		mu.Unlock()
		if a.Resource == "configmaps" || a.Verb == "get" || a.Verb == "list" || a.Verb == "watch" || !first {
			return false
		}
		lost.Add(1)
		f.world.lose(rw, r)
		return true
	})
	task := resourcetest.Task("lost.1")
	task.Files = []resources.File{{Path: "a", Content: []byte("x")}}
	f.f.Launch(task)
	f.f.Wait("lost.1", resources.Running)
	f.oncePod("lost.1")
	f.f.Call(resources.Call{Type: resources.CallKill, Task: "lost.1"})
	f.f.Wait("lost.1", resources.Killed)
	if lost.Load() < 4 {
		t.Errorf("%d answers were lost, want those of Secret, pod, owner, binding and delete", lost.Load())
	}
}

// A create that is carried out long after it was given up must not leave a pod that runs.
func TestALateCreateIsUndone(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.stop()
	f.config.Patience.Call, f.config.Patience.Retry = 200*time.Millisecond, 600*time.Millisecond
	f.StartAgent(t)
	told := make(chan struct{})
	var late atomic.Int64
	f.fault(func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
		if a.String() != "create pods in weir" {
			return false
		}
		if late.Add(1) > 1 {
			refuse(rw, 503, metav1.StatusReasonServiceUnavailable, "away")
			return true
		}
		body := snapshot(r)
		go func() {
			<-told
			f.world.do(httptest.NewRecorder(), body, a)
			late.Store(-100)
		}()
		<-r.Context().Done()
		return true
	})
	f.f.LaunchSoon(resourcetest.Task("late.1"))
	s := f.f.Wait("late.1", resources.Failed)
	if !strings.Contains(s.Message, "create pods late-1") || !strings.Contains(s.Message, "no success within 600ms") {
		t.Errorf("message %q; want what was tried, and for how long", s.Message)
	}
	close(told)
	f.eventually("late create", func() bool { return late.Load() < 0 })
	f.eventually("pod that came too late", func() bool { return f.Launches(t, "late.1") == 1 })
	f.eventually("deletion of the late pod", func() bool { return len(f.pods(t.Context())) == 0 })
}

func TestAWatchThatIsTooOldIsAnsweredByAList(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"by an ERROR event", "by the status 410"} {
		t.Run(how, func(t *testing.T) {
			f := newFaulty(t)
			f.f.Launch(resourcetest.Task("old.1"), resourcetest.Task("old.2"))
			f.f.Wait("old.1", resources.Running)
			f.f.Wait("old.2", resources.Running)
			var lists, refused, held atomic.Int64
			blind := make(chan struct{})
			f.fault(func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
				if a.Verb == "list" && a.Resource == "pods" {
					lists.Add(1)
				}
				if a.Verb != "watch" || a.Resource != "pods" || lists.Load() > 0 {
					return false
				}
				held.Add(1)
				<-blind // nothing is told until the end of old.1 is forgotten
				if how == "by the status 410" {
					refused.Add(1)
					refuse(rw, 410, metav1.StatusReasonExpired, "too old resource version")
					return true
				}
				return false
			})
			// The rig's own is left, and the agent's next one waits: one that was on its way already would be told of everything.
			f.eventually("end of the watch before", func() bool { return held.Load() > 0 && f.world.watching("pods") == 1 })
			f.End(t, "old.1", 4)
			f.world.mu.Lock()
			f.world.forgot, f.world.events = f.world.version, nil
			f.world.mu.Unlock()
			close(blind)
			if s := f.f.Wait("old.1", resources.Failed); s.ExitCode != 4 {
				t.Errorf("exit code %d, want 4", s.ExitCode)
			}
			if lists.Load() == 0 {
				t.Error("nothing was listed anew")
			}
			f.f.Call(resources.Call{Type: resources.CallKill, Task: "old.2"})
			f.f.Wait("old.2", resources.Killed)
		})
	}
}

// A list from before the launch does not have the pod; one from before the kill still has it.
func TestAStaleListEndsNothingAndBringsNothingBack(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	before, then := f.world.snapshot()
	f.f.Launch(resourcetest.Task("stale.1"))
	f.f.Wait("stale.1", resources.Running)
	during, later := f.world.snapshot()
	f.relistAsOf(before, then)
	f.f.Launch(resourcetest.Task("stale.2")) // the agent goes on
	f.f.Wait("stale.2", resources.Running)
	f.f.Call(resources.Call{Type: resources.CallReconcile})
	f.f.Wait("stale.1", resources.Running)
	f.f.Call(resources.Call{Type: resources.CallKill, Task: "stale.1"})
	f.f.Wait("stale.1", resources.Killed)
	f.relistAsOf(during, later)
	f.f.Launch(resourcetest.Task("stale.3"))
	f.f.Wait("stale.3", resources.Running)
	for _, id := range []resources.TaskID{"stale.1", "stale.2", "stale.3"} {
		f.oncePod(id)
	}
	if n := len(f.pods(t.Context())); n != 2 {
		t.Errorf("%d pods are there, want those of stale.2 and stale.3", n)
	}
}

func (w *world) snapshot() (map[string]thing, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.objects), w.version
}

// relistAsOf makes the agent list pods anew, and answers that one list from the past.
func (f *faulty) relistAsOf(objects map[string]thing, version int) {
	f.t.Helper()
	var served atomic.Bool
	f.fault(func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
		switch {
		case a.Resource != "pods" || served.Load():
			return false
		case a.Verb == "watch":
			refuse(rw, 410, metav1.StatusReasonExpired, "too old resource version")
			return true
		case a.Verb == "list":
			served.Store(true)
			f.world.answerList(rw, r, a, objects, version)
			return true
		}
		return false
	})
	f.eventually("list from the past", served.Load)
}

func TestAWatchThatHangsIsNoticed(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the end of the watch's time")
	}
	t.Parallel()
	f := newFaulty(t)
	f.f.Launch(resourcetest.Task("hang.1"))
	f.f.Wait("hang.1", resources.Running)
	var hung atomic.Int64
	f.fault(func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
		if a.Verb != "watch" || a.Resource != "pods" || hung.Add(1) > 1 {
			return false
		}
		rw.WriteHeader(200)
		http.NewResponseController(rw).Flush() //nolint:errcheck // it hangs either way
		<-r.Context().Done()
		return true
	})
	f.eventually("watch that hangs", func() bool { return hung.Load() > 0 })
	began := time.Now()
	f.End(t, "hang.1", 6)
	if s := f.f.Wait("hang.1", resources.Failed); s.ExitCode != 6 {
		t.Errorf("exit code %d, want 6", s.ExitCode)
	}
	if took := time.Since(began); took > brisk.Watch+brisk.Call+2*time.Second {
		t.Errorf("it took %s to notice", took)
	}
}

func TestARecordThatAnotherHasWrittenIsReadAgain(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.f.Launch(resourcetest.Task("taken.1"))
	f.f.Wait("taken.1", resources.Running)
	name := recordName(f.config.Install, AgentID(f.node))
	var m corev1.ConfigMap
	f.must(f.admin.get(t.Context(), "configmaps", name, &m))
	m.Labels["touched"] = "yes"
	f.must(f.admin.update(t.Context(), "configmaps", name, &m, &corev1.ConfigMap{}))
	// The launch that meets the conflict never happened, and is told so; the next one works.
	f.f.LaunchSoon(resourcetest.Task("taken.2"))
	if s := f.f.WaitEnd("taken.2"); s.State != resources.Dropped {
		t.Errorf("the launch without a record is %s, want DROPPED", s.State)
	}
	f.f.LaunchSoon(resourcetest.Task("taken.3"))
	f.f.Wait("taken.3", resources.Running)
	f.f.Call(resources.Call{Type: resources.CallKill, Task: "taken.1"})
	f.f.Wait("taken.1", resources.Killed)
	if got := f.Launches(t, "taken.2"); got != 0 {
		t.Errorf("taken.2 had %d pods without a record", got)
	}
	f.oncePod("taken.1")
	f.oncePod("taken.3")
}

func TestANameThatSomebodyElseHasIsNotAdopted(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	name := podName(f.config.Install, "squat.1")
	f.must(f.admin.create(t.Context(), "pods", name, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "weir"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, &corev1.Pod{}))
	f.f.Launch(resourcetest.Task("squat.1"))
	if s := f.f.Wait("squat.1", resources.Failed); !strings.Contains(s.Message, "is not this task's") {
		t.Errorf("message %q", s.Message)
	}
	var p corev1.Pod
	f.must(f.admin.get(t.Context(), "pods", name, &p)) // it is not ours to delete
}

// TestConformanceUnderFaults runs the whole suite while a tenth of the agent's requests fails in one way or another and every event comes
// twice.
func TestConformanceUnderFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("30 s")
	}
	t.Parallel()
	resourcetest.Run(t, func(t testing.TB) resourcetest.Rig {
		w := newWorld(t)
		w.repeats = 1
		agent := w.config()
		agent.Host += "/faulty"
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		w.fault = func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
			mu.Lock()
			dice := random.IntN(100)
			mu.Unlock()
			switch {
			case dice < 4:
				refuse(rw, 500, metav1.StatusReasonInternalError, "etcd is asking for a new leader")
			case dice < 6:
				refuse(rw, 503, metav1.StatusReasonServiceUnavailable, "away")
			case dice < 8 && a.Verb != "watch":
				w.lose(rw, r)
			case dice < 10 && a.Verb != "watch":
				panic(http.ErrAbortHandler) // never done
			case dice < 12 && a.Verb == "watch":
				refuse(rw, 410, metav1.StatusReasonExpired, "too old resource version")
			default:
				return false
			}
			return true
		}
		return newRig(t, w.config(), agent, "weir", unique("node"), brisk)
	})
}
