package charts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// cluster is a real API server with a namespace of its own, the chart installed in it.
type cluster struct {
	t         *testing.T
	namespace string
	bin       string // weir and weir-shim
	state     string
	account   string   // kubeconfig of the chart's ServiceAccount
	agents    []string // of the server: who runs tasks
	server    *exec.Cmd
	log       output
}

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (c *cluster) try(stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *cluster) must(name string, args ...string) string {
	c.t.Helper()
	out, err := c.try("", name, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s\nlog of the server:\n%s", name, strings.Join(args, " "), err, out, &c.log)
	}
	return out
}

func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	return c.must("kubectl", append([]string{"-n", c.namespace}, args...)...)
}

func (c *cluster) weir(args ...string) string {
	c.t.Helper()
	return c.must(filepath.Join(c.bin, "weir"), append([]string{"--state", c.state}, args...)...)
}

// apply is `kubectl apply` of a stack; the error is what the API server refuses.
func (c *cluster) apply(spec string) (string, error) {
	doc := "apiVersion: weir.dev/v1\nkind: Stack\nmetadata: {name: small}\nspec:\n  " + strings.ReplaceAll(spec, "\n", "\n  ") + "\n"
	return c.try(doc, "kubectl", "-n", c.namespace, "apply", "--validate=strict", "-f", "-")
}

func (c *cluster) accepted(spec string) {
	c.t.Helper()
	if out, err := c.apply(spec); err != nil {
		c.t.Fatalf("apply %q: %v: %s", spec, err, out)
	}
}

func (c *cluster) wait(condition string) {
	c.t.Helper()
	c.kubectl("wait", "--for="+condition, "--timeout=60s", "stack/small")
}

// start runs a server outside the cluster as the chart's ServiceAccount.
func (c *cluster) start() {
	c.t.Helper()
	args := []string{"--state", c.state, "server", "--kubernetes", "--kubeconfig", c.account, "--namespace", c.namespace, "--health", "127.0.0.1:0"}
	c.server = exec.Command(filepath.Join(c.bin, "weir"), append(args, c.agents...)...)
	c.server.Stderr = &c.log
	if err := c.server.Start(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) kill() {
	c.server.Process.Kill() //nolint:errcheck // it has ended already
	c.server.Wait()         //nolint:errcheck // killed
}

func (c *cluster) until(what string, holds func() bool) {
	c.t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%s: it did not come; log of the server:\n%s", what, &c.log)
		}
	}
}

// login writes a kubeconfig with a token of the chart's ServiceAccount.
func (c *cluster) login(dir string) {
	c.t.Helper()
	token := strings.TrimSpace(c.kubectl("create", "token", "weir"))
	var config map[string]any
	if err := json.Unmarshal([]byte(c.must("kubectl", "config", "view", "--minify", "--raw", "-o", "json")), &config); err != nil {
		c.t.Fatal(err)
	}
	user := config["users"].([]any)[0].(map[string]any)
	user["user"] = map[string]any{"token": token}
	data, err := json.Marshal(config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.account = filepath.Join(dir, "account.kubeconfig")
	if err := os.WriteFile(c.account, data, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return newClusterOf(t, nil, nil)
}

// newClusterOf installs the chart with values, and starts the server with what those values give it.
func newClusterOf(t *testing.T, values, agents []string) *cluster {
	t.Helper()
	if os.Getenv("WEIR_KUBERNETES_TESTBED") == "" {
		t.Skip("needs an API server: make verify-kubernetes")
	}
	dir := t.TempDir()
	c := &cluster{t: t, agents: agents, namespace: fmt.Sprintf("%s-%d", strings.ToLower(t.Name()), os.Getpid()), bin: filepath.Join(dir, "bin"), state: filepath.Join(dir, "state")}
	build := exec.Command("go", "build", "-o", c.bin+"/", "./cmd/weir", "./cmd/weir-shim")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.must("helm", append([]string{"install", "weir", "weir", "--namespace", c.namespace, "--create-namespace"}, values...)...)
	t.Cleanup(func() { c.must("kubectl", "delete", "namespace", c.namespace, "--wait=false") })
	c.must("kubectl", "wait", "--for=condition=established", "--timeout=30s", "crd/stacks.weir.dev")
	c.login(dir)
	c.start()
	t.Cleanup(func() {
		// Its tasks outlive a server: they are stopped by the road that a user has.
		if out, err := c.try("", filepath.Join(c.bin, "weir"), "--state", c.state, "down"); err != nil {
			t.Errorf("weir down: %v: %s", err, out)
		}
		c.kill()
	})
	return c
}

// TestVerifyAStackOnACluster is docs/kubernetes.md on a real API server, the server having the chart's permissions and no others.
func TestVerifyAStackOnACluster(t *testing.T) {
	c := newCluster(t)
	c.accepted("services: {workers: {operator: stream, workers: 1}}")
	c.wait("condition=Ready")
	if got := c.kubectl("get", "stacks", "--no-headers"); !strings.HasPrefix(strings.Join(strings.Fields(got), " "), "small running True True ") {
		t.Errorf("kubectl get stacks prints %q", got)
	}
	var said struct {
		State    string
		Services []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(c.weir("get", "stacks", "small", "-o", "json")), &said); err != nil {
		t.Fatal(err)
	}
	if phase := c.kubectl("get", "stack", "small", "-o", "jsonpath={.status.phase} {.status.services[0].name} {.status.services[0].state}"); phase != fmt.Sprintf("%s %s %s", said.State, said.Services[0].Name, said.Services[0].State) {
		t.Errorf("the status says %q, weir get %+v", phase, said)
	}

	for spec, want := range map[string]string{
		"services: {events: {operator: kafka, broker: 1}}":         `unknown field "spec.services.events.broker"`,
		"services: {events: {operator: kafka, nodes: 1}}":          "nodes is a field of cassandra alone",
		"services: {events: {operator: kafka, version: \"5.0\"}}":  "the versions of kafka are 4.3",
		"services: {events: {operator: kafka, storage: 20GB}}":     "spec.services.events.storage",
		"services: {Events: {operator: kafka}}":                    "a name is of the form a-z",
		"services: {}":                                             "should have at least 1 properties",
		"services: {a: {operator: kafka}}\npipelines: [../a.yaml]": "spec.pipelines[0]",
	} {
		if out, err := c.apply(spec); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: the API server says %v: %s", spec, err, out)
		}
	}

	c.accepted("services: {workers: {operator: stream, workers: {min: 3, max: 2}}}")
	c.wait("condition=Accepted=false")
	if got := c.kubectl("get", "stack", "small", "-o", "jsonpath={.status.conditions[?(@.type=='Accepted')].message} {.status.phase}"); !strings.Contains(got, "spec.services.workers.workers.max: error[E-NUMBER]") || !strings.HasSuffix(got, " running") {
		t.Errorf("the refusal is %q", got)
	}
	// A file that is nowhere: the chart grants a look at the ConfigMap, or this were another error.
	c.accepted("services: {events: {operator: kafka}, workers: {operator: stream, workers: 1}}\npipelines: [flights.yaml]")
	c.until("the missing ConfigMap", func() bool {
		return strings.Contains(c.kubectl("get", "stack", "small", "-o", "jsonpath={.status.reason}"), "ConfigMap small, which is not there")
	})
	c.accepted("services: {workers: {operator: stream, workers: 2}}")
	c.until("two workers", func() bool {
		return c.kubectl("get", "stack", "small", "-o", "jsonpath={.status.services[0].ready} {.status.phase}") == "2 running"
	})
	if strings.Contains(c.log.String(), "forbidden") {
		t.Errorf("the chart grants too little:\n%s", &c.log)
	}
	c.kubectl("delete", "stack", "small", "--timeout=60s")
	if got := c.weir("get", "tasks"); strings.Contains(got, "RUNNING") {
		t.Errorf("the object is gone, and tasks run:\n%s", got)
	}
}

// TestVerifyAServerThatWasAway: an object that was deleted while the server was dead waits for it; a permission that was taken is named.
func TestVerifyAServerThatWasAway(t *testing.T) {
	c := newCluster(t)
	c.accepted("services: {workers: {operator: stream, workers: 1}}")
	c.wait("condition=Ready")
	c.kill()
	c.kubectl("delete", "stack", "small", "--wait=false")
	c.kubectl("delete", "rolebinding", "weir")
	c.start()
	c.until("the denial", func() bool { return strings.Contains(c.log.String(), "the chart's Role grants it") })
	if got := c.kubectl("get", "stack", "small", "-o", "name"); got != "stack.weir.dev/small\n" {
		t.Errorf("the object is gone before its services: %q", got)
	}
	c.must("helm", "upgrade", "weir", "weir", "--namespace", c.namespace)
	c.kubectl("wait", "--for=delete", "--timeout=90s", "stack/small")
	if got := c.weir("get", "tasks"); strings.Contains(got, "RUNNING") {
		t.Errorf("the object is gone, and tasks run:\n%s", got)
	}
}

// TestVerifyPodsOnNodes: with nodes as agents too the chart's permissions are enough for a task's whole life, across the server's death.
func TestVerifyPodsOnNodes(t *testing.T) {
	const image = "registry.example/weir:1" // kwok runs none
	c := newClusterOf(t, []string{"--set", "agents.kind=kubernetes,agents.image=" + image + ",agents.nodes=chart=yes"},
		[]string{"--agents", "kubernetes", "--image", image, "--nodes", "chart=yes"})
	if out, err := c.try(node, "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { c.must("kubectl", "delete", "node", "chart-1") })
	pods := func() int {
		return strings.Count(c.kubectl("get", "pods", "-o", "jsonpath={range .items[?(@.status.phase=='Running')]}{.spec.nodeName} {end}"), "chart-1 ")
	}
	c.accepted("services: {workers: {operator: stream, workers: 2}}")
	c.until("two pods on the node", func() bool { return pods() == 2 })
	before := c.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}")
	c.kill()
	c.start()
	c.until("a server that knows both", func() bool { // it may not listen yet
		out, err := c.try("", filepath.Join(c.bin, "weir"), "--state", c.state, "get", "tasks")
		return err == nil && strings.Count(out, "RUNNING") == 2
	})
	if after := c.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}"); after != before {
		t.Errorf("the pods were %s and are %s", before, after)
	}
	c.kubectl("delete", "stack", "small", "--timeout=60s")
	c.until("no pod", func() bool { return pods() == 0 })
	if left := c.kubectl("get", "secrets", "-l", "weir.dev/install", "-o", "name"); left != "" {
		t.Errorf("secrets of tasks are left: %s", left)
	}
	c.allowed()
}

// allowed reads what the server asked for in the API server's own words: something, and nothing that it may not.
func (c *cluster) allowed() {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(os.Getenv("WEIR_KUBERNETES_TESTBED"), "log", "audit.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	asked := map[string]int{}
	for line := range strings.Lines(string(data)) {
		var e struct {
			Verb        string
			User        struct{ Username string }
			Annotations map[string]string
			ObjectRef   struct{ Resource, Subresource string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			continue // the line that is being written
		}
		if e.User.Username != "system:serviceaccount:"+c.namespace+":weir" {
			continue
		}
		what := strings.TrimSuffix(e.Verb+" "+e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/")
		if asked[what]++; e.Annotations["authorization.k8s.io/decision"] == "forbid" {
			c.t.Errorf("the chart does not grant %s: %s", what, e.Annotations["authorization.k8s.io/reason"])
		}
	}
	for _, want := range []string{"create pods", "create pods/binding", "create secrets", "delete pods", "watch nodes", "watch stacks"} {
		if asked[want] == 0 {
			c.t.Errorf("the server never asked for %s, only for %v", want, asked)
		}
	}
}

const node = `
apiVersion: v1
kind: Node
metadata: {name: chart-1, labels: {chart: "yes"}, annotations: {kwok.x-k8s.io/node: fake}}
status: {allocatable: {cpu: "4", memory: 8Gi, pods: "20"}, capacity: {cpu: "4", memory: 8Gi, pods: "20"}}
`

func TestVerifyTheValuesAreChecked(t *testing.T) {
	if os.Getenv("WEIR_KUBERNETES_TESTBED") == "" {
		t.Skip("needs helm: make verify-kubernetes")
	}
	c := &cluster{t: t}
	for set, want := range map[string]string{"storage.size=2GB": "storage", "replicas=3": "replicas", "image.repository=": "repository", "resources.limits.memory=1": "memory"} {
		if out, err := c.try("", "helm", "template", "weir", "weir", "--set", set); err == nil || !strings.Contains(out, want) {
			t.Errorf("--set %s: %v: %s", set, err, out)
		}
	}
}
