// Package kube opens the way to a Kubernetes API server, and keeps to what was declared on it: a client that is guarded by a list of rules
// sends nothing that the rules do not name, so that the chart's permissions, which a test compares with the same rules, are neither too few
// nor too many.
//
// It holds no client of its own and decides nothing; it never logs, and reads no file but the kubeconfig and the service account's.
//
//	config, namespace, err := kube.Load("", "")                     // in a pod, or by $KUBECONFIG
//	config = kube.Guard(config, rules, nil)
//	client, err := dynamic.NewForConfig(config)
package kube

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/weir-project/weir/internal/fault"
)

// Load finds the API server and the namespace: by the kubeconfig that is named, else by $KUBECONFIG and the user's own, else as the service
// account of the pod in which the process runs. An empty namespace is that of the context or of the pod.
func Load(kubeconfig, namespace string) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	overrides := &clientcmd.ConfigOverrides{}
	overrides.Context.Namespace = namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fault.Invalid("E-KUBECONFIG", "find the Kubernetes API server", kubeconfig, fault.Cause(err),
			fault.Hint("name a file with --kubeconfig, set KUBECONFIG, or run the server in a pod with a service account"))
	}
	found, _, err := loader.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("find the namespace: %w", err)
	}
	return config, found, nil
}
