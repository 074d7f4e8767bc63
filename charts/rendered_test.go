package charts

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/weir-project/weir/internal/kube"
	nodes "github.com/weir-project/weir/resources/kubernetes"
	"github.com/weir-project/weir/stacks/kubernetes"
)

// rendered is a golden, read strictly: a field that Kubernetes does not know is a mistake.
type rendered struct {
	sets     []appsv1.StatefulSet
	services []corev1.Service
	accounts []corev1.ServiceAccount
	roles    []rbacv1.Role
	cluster  []rbacv1.ClusterRole
	bindings []rbacv1.RoleBinding
	wide     []rbacv1.ClusterRoleBinding
}

func read(t *testing.T, name string) rendered {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".golden.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out rendered
	for _, doc := range strings.Split(string(data), "\n---\n") {
		var kind struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		switch kind.Kind {
		case "StatefulSet":
			out.sets = append(out.sets, strictly[appsv1.StatefulSet](t, doc))
		case "Service":
			out.services = append(out.services, strictly[corev1.Service](t, doc))
		case "ServiceAccount":
			out.accounts = append(out.accounts, strictly[corev1.ServiceAccount](t, doc))
		case "Role":
			out.roles = append(out.roles, strictly[rbacv1.Role](t, doc))
		case "ClusterRole":
			out.cluster = append(out.cluster, strictly[rbacv1.ClusterRole](t, doc))
		case "RoleBinding":
			out.bindings = append(out.bindings, strictly[rbacv1.RoleBinding](t, doc))
		case "ClusterRoleBinding":
			out.wide = append(out.wide, strictly[rbacv1.ClusterRoleBinding](t, doc))
		case "":
		default:
			t.Errorf("%s: the chart renders a %s, which no test looks at", name, kind.Kind)
		}
	}
	return out
}

func strictly[T any](t *testing.T, doc string) T {
	t.Helper()
	var v T
	if err := yaml.UnmarshalStrict([]byte(doc), &v); err != nil {
		t.Errorf("%v in\n%s", err, doc)
	}
	return v
}

func TestTheServerRunsWithoutPrivileges(t *testing.T) {
	for name := range cases(t) {
		r := read(t, name)
		if len(r.sets) != 1 || *r.sets[0].Spec.Replicas != 1 {
			t.Fatalf("%s: there are %d StatefulSets, not one of one server", name, len(r.sets))
		}
		pod := r.sets[0].Spec.Template.Spec
		s := pod.SecurityContext
		if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: the pod's security context is %+v", name, s)
		}
		if pod.HostNetwork || pod.HostPID || pod.HostIPC {
			t.Errorf("%s: the pod shares the host's namespaces", name)
		}
		for _, c := range append(pod.InitContainers, pod.Containers...) {
			checkContainer(t, name, c, pod.Volumes, r.sets[0].Spec.VolumeClaimTemplates)
		}
	}
}

func checkContainer(t *testing.T, name string, c corev1.Container, volumes []corev1.Volume, claims []corev1.PersistentVolumeClaim) {
	t.Helper()
	s := c.SecurityContext
	if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") || len(s.Capabilities.Add) > 0 || s.Privileged != nil && *s.Privileged {
		t.Errorf("%s/%s: the security context is %+v", name, c.Name, s)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s/%s: its resources are %+v", name, c.Name, c.Resources)
	}
	for what, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != "/health" || !slices.ContainsFunc(c.Ports, func(port corev1.ContainerPort) bool { return port.Name == p.HTTPGet.Port.String() }) {
			t.Errorf("%s/%s: its %s probe is %+v", name, c.Name, what, p)
		}
	}
	for _, m := range c.VolumeMounts {
		there := slices.ContainsFunc(volumes, func(v corev1.Volume) bool { return v.Name == m.Name && v.HostPath == nil }) ||
			slices.ContainsFunc(claims, func(v corev1.PersistentVolumeClaim) bool { return v.Name == m.Name })
		if !there {
			t.Errorf("%s/%s: the volume %s is not there, or the host's", name, c.Name, m.Name)
		}
	}
}

func TestSelectorsMatchAndNamesMeet(t *testing.T) {
	for name := range cases(t) {
		r := read(t, name)
		if len(r.sets) != 1 || len(r.services) != 1 || len(r.accounts) != 1 || len(r.roles) != 1 || len(r.bindings) != 1 {
			t.Fatalf("%s: %+v", name, r)
		}
		set, service, account, binding := r.sets[0], r.services[0], r.accounts[0], r.bindings[0]
		pod := labels.Set(set.Spec.Template.Labels)
		for what, selector := range map[string]map[string]string{"StatefulSet": set.Spec.Selector.MatchLabels, "Service": service.Spec.Selector} {
			if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(pod) {
				t.Errorf("%s: the selector of the %s %v does not match the pod's labels %v", name, what, selector, pod)
			}
		}
		if set.Spec.ServiceName != service.Name || set.Spec.Template.Spec.ServiceAccountName != account.Name {
			t.Errorf("%s: the StatefulSet names the service %q and the account %q", name, set.Spec.ServiceName, set.Spec.Template.Spec.ServiceAccountName)
		}
		if len(r.wide) != len(r.cluster) {
			t.Errorf("%s: %d ClusterRoles have %d bindings", name, len(r.cluster), len(r.wide))
		}
		for i, b := range r.wide {
			if len(b.Subjects) != 1 || b.Subjects[0].Name != account.Name || b.Subjects[0].Namespace != account.Namespace || b.RoleRef.Name != r.cluster[i].Name {
				t.Errorf("%s: the binding is %+v", name, b)
			}
		}
		if s := binding.Subjects; len(s) != 1 || s[0].Name != account.Name || s[0].Namespace != account.Namespace || binding.RoleRef.Name != r.roles[0].Name {
			t.Errorf("%s: the binding is %+v", name, binding)
		}
	}
}

// used is what the packages declare that the server runs, by the kind of agents that it was told of.
func used(set appsv1.StatefulSet) []kube.Rule {
	rules := slices.Clone(kubernetes.Rules)
	if onNodes(set) {
		rules = append(rules, nodes.Rules()...)
	}
	return rules
}

func onNodes(set appsv1.StatefulSet) bool {
	return slices.Contains(set.Spec.Template.Spec.Containers[0].Args, "--agents=kubernetes")
}

// TestThePermissionsAreThoseThatTheCodeUses: neither more nor fewer. The client of each package sends nothing that its rules do not name.
func TestThePermissionsAreThoseThatTheCodeUses(t *testing.T) {
	kinds := map[bool]bool{}
	for name := range cases(t) {
		r := read(t, name)
		if len(r.sets) != 1 {
			t.Fatalf("%s: there are %d StatefulSets", name, len(r.sets))
		}
		kinds[onNodes(r.sets[0])] = true
		want := granted(used(r.sets[0]))
		var got []string
		for _, role := range r.roles {
			got = append(got, flat(t, role.Rules, false)...)
		}
		for _, role := range r.cluster {
			got = append(got, flat(t, role.Rules, true)...)
		}
		slices.Sort(got)
		if twice := slices.Compact(slices.Clone(got)); len(twice) != len(got) {
			t.Errorf("%s: the chart grants something twice: %v", name, got)
		}
		for _, g := range got {
			if !slices.Contains(want, g) {
				t.Errorf("%s: the chart grants what no code uses: %s", name, g)
			}
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: the chart does not grant what the code uses: %s", name, w)
			}
		}
	}
	if len(kinds) != 2 {
		t.Errorf("the goldens know one kind of agents alone: on nodes %v", kinds)
	}
}

// TestTheServerIsToldOfItsAgents: the words on its command line are those that `weir server` reads, and the image is there.
func TestTheServerIsToldOfItsAgents(t *testing.T) {
	for name, want := range map[string][]string{
		"default":    {"server", "--kubernetes", "--health=:8080"},
		"kubernetes": {"server", "--kubernetes", "--health=:8080", "--agents=kubernetes", "--image=weir:dev"},
		"full":       {"server", "--kubernetes", "--health=:8080", "--agents=kubernetes", "--image=registry.example/weir-tasks:1.2.3", "--nodes=pool=streams,weir!=no"},
	} {
		r := read(t, name)
		if len(r.sets) != 1 || !slices.Equal(r.sets[0].Spec.Template.Spec.Containers[0].Args, want) {
			t.Errorf("%s: the server's arguments are %+v", name, r.sets)
		}
	}
}

func granted(rules []kube.Rule) []string {
	var out []string
	for _, r := range rules {
		for _, verb := range r.Verbs {
			out = append(out, grant(r.Group, r.Resource, verb, r.Cluster))
		}
	}
	slices.Sort(out)
	return slices.Compact(out) // two packages may use the same
}

func flat(t *testing.T, rules []rbacv1.PolicyRule, cluster bool) []string {
	t.Helper()
	var out []string
	for _, r := range rules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					if strings.Contains(group+resource+verb, "*") {
						t.Errorf("a wildcard: %+v", r)
					}
					out = append(out, grant(group, resource, verb, cluster))
				}
			}
		}
	}
	return out
}

func grant(group, resource, verb string, cluster bool) string {
	where := "namespace"
	if cluster {
		where = "cluster"
	}
	return fmt.Sprintf("%s: %s %s/%s", where, verb, group, resource)
}
