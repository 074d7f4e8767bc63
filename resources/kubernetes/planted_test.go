package kubernetes

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/resources/resourcetest"
)

// TestTheSuiteFindsPlantedBugs runs claims on agents that do something wrong, as if the code did not do what it should: what the agent
// asks of its API server is dropped, changed or done twice on the way. Each must be found by the claim that is about it.
func TestTheSuiteFindsPlantedBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("20 s")
	}
	t.Parallel()
	ok := func(rw http.ResponseWriter, r *http.Request) bool { // says that it was done
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) == 0 || body[0] != '{' {
			body = []byte(`{"kind":"Status","apiVersion":"v1","status":"Success"}`)
		}
		rw.Header().Set("Content-Type", "application/json")
		rw.Write(body) //nolint:errcheck // a client that went away
		return true
	}
	change := func(old, new string) func(w *world, rw http.ResponseWriter, r *http.Request) bool {
		return func(w *world, rw http.ResponseWriter, r *http.Request) bool {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return false
			}
			r.Body = io.NopCloser(strings.NewReader(strings.ReplaceAll(string(body), old, new)))
			return false
		}
	}
	dropped := func(w *world, rw http.ResponseWriter, r *http.Request) bool { return ok(rw, r) }
	nothing := func(w *world, rw http.ResponseWriter, r *http.Request) bool {
		refuse(rw, 404, "NotFound", "not found")
		return true
	}
	for _, bug := range []struct {
		name, request string // as "verb resource"
		plant         func(w *world, rw http.ResponseWriter, r *http.Request) bool
		claim, words  string
	}{
		{"a kill is forgotten", "delete pods", dropped, "a kill ends a task", "no KILLED"},
		{"a kill is forgotten after a restart", "delete pods", dropped, "a task that was killed while", "no KILLED"},
		{"files are readable by all", "create pods", change(`"mode":384`, `"mode":420`), "files are private", "0644"},
		{"a secret stands in an annotation", "create pods", change(`"annotations":{`, `"annotations":{"debug":"hunter2-9f8e7d",`), "files are private", "the secret stands in"},
		{"a task is begun twice", "create pods/binding", twice, "a task outlives the agent", "begun 2 times"},
		{"ends are not seen", "watch pods", deaf, "a task's states come in order", "no FINISHED"},
		{"all exits are good", "watch pods", lyingExit, "a task's states come in order", "want FAILED"},
		{"pods of an earlier life are not looked for", "get pods", nothing, "a task outlives the agent", "adopted"},
		{"ends while it was away are not looked for", "get pods", nothing, "a task that ended while", "want the 9"},
		{"the record is not written", "create configmaps", dropped, "a reservation and a volume", "no offer"},
		{"used ids are forgotten", "update configmaps", forgetKept, "a task id is launched once", "once"},
		{"volumes are not made", "create persistentvolumeclaims", dropped, "a reservation and a volume", "did not outlive"},
		{"volumes are not deleted", "delete persistentvolumeclaims", dropped, "a volume that was destroyed", "still there"},
		{"labels are lost", "create pods", change(`\"labels\":{\"pod\":\"returns-0\"}`, `\"labels\":{}`), "a task outlives the master", ""},
		{"nobody watches nodes", "watch nodes", deaf, "tasks of a host that is gone", "no GONE"},
	} {
		t.Run(bug.name, func(t *testing.T) {
			found, words := resourcetest.Find(t, bug.claim, func(t testing.TB) resourcetest.Rig {
				w := newWorld(t)
				agent := w.config()
				agent.Host += "/faulty"
				w.fault = func(rw http.ResponseWriter, r *http.Request, a kube.Request) bool {
					return a.Verb+" "+a.Resource == bug.request && bug.plant(w, rw, r)
				}
				return newRig(t, w.config(), agent, "weir", unique("node"), brisk)
			})
			if bug.name == "labels are lost" { // the record has them too: one of two places may fail
				if found {
					t.Errorf("the record should have made up for it: %s", words)
				}
				return
			}
			if !found || !strings.Contains(words, bug.words) {
				t.Errorf("found: %v, saying %q; want words like %q", found, words, bug.words)
			}
		})
	}
}

// twice has a pod made anew under the same name when it is bound.
func twice(w *world, rw http.ResponseWriter, r *http.Request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := "pods/weir/" + strings.Split(r.URL.Path, "/")[6]
	o := clone(w.objects[at])
	w.put("pods", at, "DELETED", o)
	metaOf(o)["uid"] = "another"
	w.put("pods", at, "ADDED", o)
	return false
}

// deaf accepts a watch and tells nothing.
func deaf(_ *world, rw http.ResponseWriter, r *http.Request) bool {
	rw.Header().Set("Content-Type", "application/json")
	http.NewResponseController(rw).Flush() //nolint:errcheck // it hangs either way
	<-r.Context().Done()
	return true
}

// lyingExit says 0 for every exit code.
func lyingExit(w *world, rw http.ResponseWriter, r *http.Request) bool {
	w.do(&rewriter{rw}, r, kube.Parse(r))
	return true
}

type rewriter struct{ http.ResponseWriter }

func (r *rewriter) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *rewriter) Write(data []byte) (int, error) {
	text := strings.ReplaceAll(strings.ReplaceAll(string(data), `"exitCode":7`, `"exitCode":0`), `"phase":"Failed"`, `"phase":"Succeeded"`)
	_, err := r.ResponseWriter.Write([]byte(text))
	return len(data), err
}

// forgetKept writes a record that knows of no task that has ended.
func forgetKept(w *world, _ http.ResponseWriter, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	var m thing
	if err != nil || json.Unmarshal(body, &m) != nil {
		return false
	}
	var saved thing
	if json.Unmarshal([]byte(m["data"].(thing)[recordKey].(string)), &saved) == nil {
		saved["kept"] = nil
		text, _ := json.Marshal(saved)
		m["data"].(thing)[recordKey] = string(text)
	}
	body, _ = json.Marshal(m)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return false
}
