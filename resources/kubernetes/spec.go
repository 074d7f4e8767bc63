package kubernetes

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weir-project/weir/resources"
)

// Where things are inside a task's container.
const (
	sandboxPath = "/weir/sandbox"
	volumesPath = "/weir/volumes"
)

const defaultGrace = 5 * time.Second

// place says where and as what a task's pod is made.
type place struct {
	install, namespace string
	agent              resources.AgentID
	node               string
	image              string
	service            string // headless, for pods that hold an address
}

// podFor is the pod of a task, and the Secret of its files (nil without any). Equal tasks give equal pods.
func podFor(at place, info resources.TaskInfo) (*corev1.Pod, *corev1.Secret, error) {
	note := info
	note.Files, note.Command = nil, resources.Command{}
	described, err := json.Marshal(note)
	if err != nil {
		return nil, nil, fmt.Errorf("describe task %s: %w", info.ID, err)
	}
	meta := metav1.ObjectMeta{
		Name: podName(at.install, info.ID), Namespace: at.namespace, Labels: labels(at.install, at.agent),
		Annotations: map[string]string{annotationTask: string(described), annotationAgent: string(at.agent)},
	}
	meta.Labels[labelTask] = meta.Name
	for k, v := range info.Labels {
		meta.Labels[labelPrefix+asLabel(k)] = asLabel(v)
	}
	b := &builder{at: at, info: info, places: places(info)}
	pod := &corev1.Pod{ObjectMeta: meta, Spec: b.spec()}
	if err := b.unresolved(); err != nil {
		return nil, nil, err
	}
	return pod, b.secret(meta), nil
}

type builder struct {
	at      place
	info    resources.TaskInfo
	places  *strings.Replacer
	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
	words   []string // all that was replaced, to see that nothing is left
}

func places(info resources.TaskInfo) *strings.Replacer {
	pairs := []string{"{sandbox}", sandboxPath}
	for _, v := range info.Resources.Volumes() {
		pairs = append(pairs, "{volume:"+v.Volume.ID+"}", path.Join(volumesPath, v.Volume.ID))
	}
	return strings.NewReplacer(pairs...)
}

func (b *builder) text(s string) string {
	s = b.places.Replace(s)
	b.words = append(b.words, s)
	return s
}

func (b *builder) texts(in []string) (out []string) {
	for _, s := range in {
		out = append(out, b.text(s))
	}
	return out
}

// unresolved refuses a name of a volume that the task does not hold, as a process agent does.
func (b *builder) unresolved() error {
	for _, w := range b.words {
		if i := strings.Index(w, "{volume:"); i >= 0 {
			return fmt.Errorf("%.80q names a volume that the task does not hold", w[i:])
		}
	}
	return nil
}

func (b *builder) spec() corev1.PodSpec {
	b.mount("sandbox", sandboxPath, "", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	claims := b.info.Resources.Volumes()
	for i, v := range claims {
		b.mount("volume-"+strconv.Itoa(i), path.Join(volumesPath, v.Volume.ID), "", corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(b.at.install, v.Volume.ID)}})
	}
	b.files()
	grace := int64(max(b.grace().Round(time.Second), time.Second) / time.Second)
	no := false
	spec := corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace, SchedulerName: scheduler,
		AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
		SecurityContext: &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers:      []corev1.Container{b.container(container, b.texts(b.info.Command.Argv))},
		// Whether a task on a lost node is replaced is its operator's decision, not the cluster's.
		Tolerations: []corev1.Toleration{
			{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
			{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		},
	}
	for i, p := range b.info.Command.Prepare {
		spec.InitContainers = append(spec.InitContainers, b.container("prepare-"+strconv.Itoa(i), b.prepare(p)))
	}
	if held := b.info.Resources.Items(resources.Addresses); len(held) > 0 {
		spec.Hostname, _, _ = strings.Cut(held[0], ".")
		spec.Subdomain = b.at.service
	}
	if len(claims) > 0 {
		// The scheduler knows where a claim can be; the affinity leaves it one choice.
		spec.SchedulerName = corev1.DefaultSchedulerName
		spec.Affinity = onNode(b.at.node)
	}
	spec.Volumes = b.volumes
	return spec
}

func (b *builder) grace() time.Duration {
	if b.info.KillGrace > 0 {
		return b.info.KillGrace
	}
	return defaultGrace
}

func onNode(node string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}}
}

func (b *builder) mount(name, at, sub string, source corev1.VolumeSource) {
	b.volumes = append(b.volumes, corev1.Volume{Name: name, VolumeSource: source})
	b.mounts = append(b.mounts, corev1.VolumeMount{Name: name, MountPath: at, SubPath: sub})
}

// files mounts each file of the task at its own path: a subPath does not hide what is beside it.
func (b *builder) files() {
	if len(b.info.Files) == 0 {
		return
	}
	name := podName(b.at.install, b.info.ID)
	source := &corev1.SecretVolumeSource{SecretName: name}
	for i, f := range b.info.Files {
		key, mode := fileKey(i), int32(f.Mode)
		if mode == 0 {
			mode = 0o600
		}
		source.Items = append(source.Items, corev1.KeyToPath{Key: key, Path: key, Mode: &mode})
		at := b.text(f.Path)
		if !path.IsAbs(at) {
			at = path.Join(sandboxPath, at)
		}
		b.mounts = append(b.mounts, corev1.VolumeMount{Name: "files", MountPath: path.Clean(at), SubPath: key, ReadOnly: true})
	}
	b.volumes = append(b.volumes, corev1.Volume{Name: "files", VolumeSource: corev1.VolumeSource{Secret: source}})
}

func fileKey(i int) string { return "file-" + strconv.Itoa(i) }

func (b *builder) secret(meta metav1.ObjectMeta) *corev1.Secret {
	if len(b.info.Files) == 0 {
		return nil
	}
	data := map[string][]byte{}
	for i, f := range b.info.Files {
		data[fileKey(i)] = []byte(b.places.Replace(string(f.Content)))
	}
	yes := true
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: meta.Name, Namespace: meta.Namespace, Labels: maps.Clone(meta.Labels),
			Annotations: map[string]string{annotationAgent: string(b.at.agent)}},
		Data: data, Immutable: &yes,
	}
}

func (b *builder) container(name string, argv []string) corev1.Container {
	no := false
	c := corev1.Container{
		Name: name, Image: b.at.image, Command: argv, WorkingDir: sandboxPath, VolumeMounts: b.mounts,
		Env:       []corev1.EnvVar{{Name: "HOME", Value: sandboxPath}, {Name: "TMPDIR", Value: "/tmp"}},
		Resources: requests(b.info.Resources),
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
	}
	for _, k := range slices.Sorted(maps.Keys(b.info.Command.Env)) {
		// Kubernetes would expand $(NAME); a process agent does not.
		c.Env = append(c.Env, corev1.EnvVar{Name: k, Value: escape(b.text(b.info.Command.Env[k]))})
	}
	for i := range c.Command {
		c.Command[i] = escape(c.Command[i])
	}
	return c
}

// escape keeps $(NAME) what it is.
func escape(s string) string { return strings.ReplaceAll(s, "$(", "$$(") }

// prepare runs its command unless what it makes is there, its output dropped where it may hold secrets.
func (b *builder) prepare(p resources.Prepare) []string {
	script := `[ -n "$0" ] && [ -e "$0" ] && exit 0; exec "$@"`
	if p.Quiet {
		script += ` >/dev/null 2>&1`
	}
	return append([]string{"/bin/sh", "-c", script, b.text(p.Creates)}, b.texts(p.Argv)...)
}

// requests are a task's resources as Kubernetes counts them: cpus are shares and no quota (C4), memory is a limit.
func requests(r resources.Resources) corev1.ResourceRequirements {
	cpu := *resource.NewMilliQuantity(int64(r.Amount(resources.CPUs)), resource.DecimalSI)
	mem := *resource.NewQuantity(int64(r.Amount(resources.Mem))*(1<<20)/1000, resource.BinarySI)
	out := corev1.ResourceRequirements{Requests: corev1.ResourceList{}}
	if !cpu.IsZero() {
		out.Requests[corev1.ResourceCPU] = cpu
	}
	if !mem.IsZero() {
		out.Requests[corev1.ResourceMemory] = mem
		out.Limits = corev1.ResourceList{corev1.ResourceMemory: mem}
	}
	return out
}

// claimFor is the claim of a persistent volume.
func claimFor(at place, volume resources.Resource, class string) *corev1.PersistentVolumeClaim {
	size := *resource.NewQuantity(int64(volume.Scalar)*(1<<20)/1000, resource.BinarySI)
	meta := metav1.ObjectMeta{Name: claimName(at.install, volume.Volume.ID), Namespace: at.namespace, Labels: labels(at.install, at.agent),
		Annotations: map[string]string{annotationVolume: volume.Volume.ID, annotationAgent: string(at.agent)}}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
	}}
	if class != "" {
		claim.Spec.StorageClassName = &class
	}
	return claim
}
