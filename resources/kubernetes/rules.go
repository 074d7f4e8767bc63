package kubernetes

import "github.com/weir-project/weir/internal/kube"

// Rules are all that a fleet of agents may do, and does: the client is guarded by them, and the chart's permissions are compared with
// them. Nodes, and other people's pods on them, are only looked at.
func Rules() []kube.Rule {
	return []kube.Rule{
		{Resource: "nodes", Verbs: []string{"list", "watch"}, Cluster: true},
		{Resource: "pods", Verbs: []string{"list", "watch"}, Cluster: true}, // of every namespace: what they ask for is not offered
		{Resource: "pods", Verbs: []string{"get", "create", "delete"}},
		{Resource: "pods/binding", Verbs: []string{"create"}},
		{Resource: "secrets", Verbs: []string{"create", "patch", "delete"}}, // never get: what is in them is not read back
		{Resource: "persistentvolumeclaims", Verbs: []string{"get", "create", "delete"}},
		{Resource: "configmaps", Verbs: []string{"get", "list", "create", "update", "delete"}},
		{Resource: "services", Verbs: []string{"create"}},
	}
}
