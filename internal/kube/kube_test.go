package kube

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/internal/fault"
)

func TestAPathSaysWhatRBACDecidesOn(t *testing.T) {
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/apis/weir.dev/v1/namespaces/n/stacks", "list stacks.weir.dev in n"},
		{"GET", "/apis/weir.dev/v1/namespaces/n/stacks?watch=true", "watch stacks.weir.dev in n"},
		{"GET", "/apis/weir.dev/v1/namespaces/n/stacks/s", "get stacks.weir.dev in n"},
		{"PUT", "/apis/weir.dev/v1/namespaces/n/stacks/s/status", "update stacks/status.weir.dev in n"},
		{"GET", "/api/v1/nodes?watch=1", "watch nodes"},
		{"GET", "/api/v1/namespaces/n", "get namespaces"},
		{"POST", "/api/v1/namespaces/n/pods/p/binding", "create pods/binding in n"},
		{"DELETE", "/api/v1/namespaces/n/pods/p", "delete pods in n"},
		{"DELETE", "/api/v1/namespaces/n/pods", "deletecollection pods in n"},
		{"PATCH", "/api/v1/namespaces/n/configmaps/c", "patch configmaps in n"},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if got := Parse(r).String(); got != c.want {
			t.Errorf("%s %s is %q, want %q", c.method, c.path, got, c.want)
		}
	}
	for _, path := range []string{"/version", "/apis", "/apis/weir.dev/v1", "/api/v1"} {
		if got := Parse(httptest.NewRequest("GET", path, nil)); got.Resource != "" {
			t.Errorf("%s is about the resource %q", path, got.Resource)
		}
	}
}

func TestWhatNoRuleNamesIsNotSent(t *testing.T) {
	var sent, seen []string
	var mu sync.Mutex // the server's goroutine writes too
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, r.URL.Path)
	}))
	defer srv.Close()
	config := Guard(&rest.Config{Host: srv.URL}, []Rule{{Group: "weir.dev", Resource: "stacks", Verbs: []string{"get"}}}, func(r Request) { seen = append(seen, r.String()) })
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	const stack = "/apis/weir.dev/v1/namespaces/n/stacks/s"
	for path, passes := range map[string]bool{stack: true, "/version": true, stack + "/status": false, "/apis/weir.dev/v1/namespaces/n/stacks": false, "/api/v1/nodes/n": false,
		"/apis/weir.dev/v1/stacks/s": false /* in no namespace */} {
		response, err := client.Get(srv.URL + path)
		if err == nil {
			response.Body.Close()
		}
		if (err == nil) != passes || !passes && !fault.HasCode(err, "E-RULE") {
			t.Errorf("%s: %v", path, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(sent)
	if !slices.Equal(sent, []string{stack, "/version"}) || len(seen) != 2 {
		t.Errorf("sent %v, seen %v", sent, seen)
	}
}

func TestTheKubeconfigNamesServerAndNamespace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	const text = `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]
contexts: [{name: x, context: {cluster: c, namespace: team}}]
current-context: x
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{"": "team", "other": "other"} {
		config, namespace, err := Load(file, given)
		if err != nil || config.Host != "https://127.0.0.1:6443" || namespace != want {
			t.Errorf("namespace %q: %v, %q, %v", given, config, namespace, err)
		}
	}
	_, _, err := Load(filepath.Join(t.TempDir(), "none"), "")
	if !fault.HasCode(err, "E-KUBECONFIG") || fault.ExitCode(err) != fault.ExitInvalid {
		t.Errorf("a file that is not there: %v", err)
	}
}
