package kubernetes

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/weir-project/weir/resources"
)

// Labels, by which people and this package find what it made, and annotations, which hold what a label's 63 bytes cannot.
const (
	labelInstall = "weir.dev/install"
	labelAgent   = "weir.dev/agent" // the agent's short name
	labelTask    = "weir.dev/task"  // the task's short name
	labelPrefix  = "weir.dev/"      // before a task's own labels: stack, service, pod, revision, attempt

	annotationTask   = "weir.dev/task"   // the task's description as JSON, without command and files
	annotationAgent  = "weir.dev/agent"  // the agent's whole id
	annotationVolume = "weir.dev/volume" // the volume's whole id

	container = "task"
	// scheduler is nobody's name: pods of this scheduler wait for their agent to bind them.
	scheduler = "weir.dev-agent"
)

// short is a DNS label for an identifier of any form: what can be read of it, and a hash of the whole.
func short(words ...string) string {
	last := words[len(words)-1]
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	hash := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:10])
	var b strings.Builder
	for _, c := range strings.ToLower(last) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0:
			b.WriteByte('-')
		}
		if b.Len() == 40 {
			break
		}
	}
	readable := strings.Trim(b.String(), "-")
	if readable == "" || readable[0] < 'a' {
		readable = "t" + readable
	}
	return readable + "-" + hash
}

// podName is the name of a task's pod, and of the Secret with its files. A task id is used once, so the name is too.
func podName(install string, id resources.TaskID) string { return short(install, string(id)) }

func claimName(install, volume string) string { return short(install, "volume", volume) }

func recordName(install string, agent resources.AgentID) string {
	return "weir-agent-" + short(install, string(agent))
}

// AgentID names the agent of a node. A node's name may be longer than an identifier.
func AgentID(node string) resources.AgentID {
	if len(node) <= resources.MaxID {
		return resources.AgentID(node)
	}
	return resources.AgentID(short(node))
}

// taskOf reads which task a pod is; ok is false for a pod that is none of ours, and an error says that somebody changed it.
func taskOf(p *corev1.Pod) (info resources.TaskInfo, err error) {
	if err := json.Unmarshal([]byte(p.Annotations[annotationTask]), &info); err != nil {
		return info, fmt.Errorf("read annotation %s of pod %s: %w", annotationTask, p.Name, err)
	}
	return info, resources.CheckID(string(info.ID))
}

// labels of something that belongs to an agent.
func labels(install string, agent resources.AgentID) map[string]string {
	return map[string]string{labelInstall: install, labelAgent: short(string(agent))}
}

// asLabel keeps what a label's value may hold.
func asLabel(s string) string {
	s = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
			return c
		}
		return '-'
	}, s)
	return strings.Trim(s[:min(len(s), 63)], ".-_")
}
