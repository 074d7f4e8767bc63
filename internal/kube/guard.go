package kube

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/weir-project/weir/internal/fault"
)

// Rule is a permission that the code uses, in the words of RBAC.
type Rule struct {
	Group    string   // of the API; empty: the core group
	Resource string   // plural, with its subresource: "stacks/status"
	Verbs    []string // get list watch create update patch delete deletecollection
	Cluster  bool     // the resource has no namespace: a ClusterRole is needed
}

func (r Rule) String() string {
	return fmt.Sprintf("%s on %s", strings.Join(r.Verbs, ", "), Request{Group: r.Group, Resource: r.Resource}.resource())
}

// Request is what a call asks of the API server.
type Request struct {
	Verb      string
	Group     string
	Resource  string // empty: not about a resource (discovery, versions)
	Namespace string
}

func (r Request) resource() string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}

func (r Request) String() string {
	if r.Namespace == "" {
		return r.Verb + " " + r.resource()
	}
	return fmt.Sprintf("%s %s in %s", r.Verb, r.resource(), r.Namespace)
}

// Guard returns a copy of config whose requests are those of the rules alone. Any other is refused here, before it leaves: the chart would
// not permit it either. seen, which may be nil, is told each request that passes; it is called from many goroutines.
func Guard(config *rest.Config, rules []Rule, seen func(Request)) *rest.Config {
	out := rest.CopyConfig(config)
	out.Wrap(func(next http.RoundTripper) http.RoundTripper { return &guard{next: next, rules: rules, seen: seen} })
	return out
}

type guard struct {
	next  http.RoundTripper
	rules []Rule
	seen  func(Request)
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := Parse(r)
	if asked.Resource != "" && !allowed(g.rules, asked) {
		return nil, fault.Denied("E-RULE", "call the Kubernetes API", asked.String(), fault.Causef("the code declares no such use, so the chart does not permit it"),
			fault.Hint("declare it in the package's Rules, and in the chart"))
	}
	if g.seen != nil {
		g.seen(asked)
	}
	return g.next.RoundTrip(r)
}

func allowed(rules []Rule, asked Request) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		// What is granted in a namespace says nothing of the cluster: a list of all namespaces needs a rule of its own.
		return r.Group == asked.Group && r.Resource == asked.Resource && slices.Contains(r.Verbs, asked.Verb) && (r.Cluster || asked.Namespace != "")
	})
}

// Parse reads from a request's path what RBAC decides on:
//
//	/api/v1/namespaces/NS/RESOURCE[/NAME[/SUBRESOURCE]]
//	/apis/GROUP/VERSION/[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE]]
func Parse(r *http.Request) Request {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var out Request
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		out.Group, parts = parts[1], parts[3:]
	default:
		out.Verb = strings.ToLower(r.Method)
		return out
	}
	// A namespace itself is a resource too: /api/v1/namespaces/NS.
	if parts[0] == "namespaces" && len(parts) > 2 {
		out.Namespace, parts = parts[1], parts[2:]
	}
	out.Resource = parts[0]
	named := len(parts) > 1
	if len(parts) > 2 {
		out.Resource += "/" + parts[2]
	}
	out.Verb = verb(r, named)
	return out
}

func verb(r *http.Request, named bool) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if named {
			return "delete"
		}
		return "deletecollection"
	}
	switch watch := r.URL.Query().Get("watch"); {
	case watch == "true" || watch == "1":
		return "watch"
	case named:
		return "get"
	}
	return "list"
}
