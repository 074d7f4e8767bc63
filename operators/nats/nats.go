// Package nats runs a NATS with JetStream as a pure function: Decide says which plan follows from the spec and what was observed, Command says how the
// server is started. The server is `weir nats-server`: the real one, built from its Go module, in a process of its own.
//
// It opens no connection, draws no password and reads no clock: those are arguments. Secrets are in files (0600) of the sandbox and never in an
// argument or the environment.
//
//	p := nats.Decide(spec, observed)
//	task, err := nats.Command(launch, outcome.Placement, nats.Env{Weir: self}, secrets)
//
// One server with replication 1: more than one is refused by the stack's reader until membership is a plan.
package nats

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/resources"
)

// ClientPort is the name of the only port.
const ClientPort = "client"

// ClientUser is the only user: Weir's own parts log in as it.
const ClientUser = "weir"

const (
	volume         = "data"
	defaultMem     = 512  // MiB of the task: 30 seen when idle, and 36 more for 100,000 messages within the 2 minutes of a duplicate window
	defaultStorage = 1024 // MiB
	defaultCPUs    = 100  // 0.1: shares, not a quota (C4)
	grace          = 10 * time.Second
	memoryStore    = 16 // MiB: consumers of readers lie in memory
)

// Pod is what the server wants.
func Pod(spec operators.ServiceSpec, index int) operators.PodSpec {
	return operators.PodSpec{
		Stack: spec.Stack, Service: spec.Name, Type: "server", Index: index, Task: "nats", Revision: spec.PodRevision(),
		CPUs: orDefault(spec.CPUs, defaultCPUs), MemMiB: orDefault(spec.MemoryMiB, defaultMem), DiskMiB: StorageMiB(spec),
		Volume: volume, Grace: grace, Ports: []operators.Port{{Name: ClientPort, Number: spec.Port}},
	}
}

// StorageMiB is what the server's volume has.
func StorageMiB(spec operators.ServiceSpec) int64 { return orDefault(spec.StorageMiB, defaultStorage) }

func orDefault[T ~int64](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// Decide is the plan of a NATS: one phase, the server launched and then asked until it takes a login and its JetStream answers.
func Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	phase := plan.Phase{Name: "server", Strategy: plan.Serial}
	for i := range spec.Size {
		steps := plan.Pod(spec, i, o, Pod)
		last := steps[len(steps)-1]
		ready, why := Ready(o.Nats)
		if launched := o.Attempts[plan.LaunchID(spec.PodName(i))].At; ready && o.Nats.Answers.At.Before(launched) {
			ready, why = false, "the server has not been asked since its launch"
		}
		phase.Steps = append(append(phase.Steps, steps...),
			plan.Ready(spec.PodName(i), last.Done, ready, "the server to take a login and its JetStream to answer", why))
	}
	return plan.Plan{Service: spec.Name, Name: "deploy", Revision: spec.Revision(), Phases: []plan.Phase{phase}}
}

// Ready reports whether the server answers, and why not.
func Ready(f operators.NatsFacts) (bool, string) {
	switch {
	case !f.Answers.Known:
		return false, "the server does not answer yet: " + f.Answers.Reason()
	case !f.Answers.Value:
		return false, "the server refuses the login"
	}
	return true, ""
}

// Env is what the machine that launches has.
type Env struct {
	Weir string // absolute path of the program
}

// Secrets are what the server must know: made once for a service and kept sealed (C1), the certificate anew for each launch.
type Secrets struct {
	PasswordHash string // bcrypt, of ClientUser's password
	NodePEM      []byte // PKCS#8 key, certificate and authority, for the placement's address
	CAPEM        []byte
}

// Command is how the server is started at a placement.
func Command(l operators.Launch, at operators.Placement, env Env, s Secrets) (operators.TaskSpec, error) {
	if at.Ports[ClientPort] == 0 || at.Volume == "" || env.Weir == "" || s.PasswordHash == "" || len(s.NodePEM) == 0 || len(s.CAPEM) == 0 {
		return operators.TaskSpec{}, fmt.Errorf("build the command of %s: program %q, ports %v, volume %q, a hash of %d and certificates of %d and %d bytes; each is needed",
			l.Pod.Name(), env.Weir, at.Ports, at.Volume, len(s.PasswordHash), len(s.NodePEM), len(s.CAPEM))
	}
	if _, err := netip.ParseAddr(at.Address); err != nil {
		return operators.TaskSpec{}, fmt.Errorf("build the command of %s: address %q is no IP address", l.Pod.Name(), at.Address)
	}
	return operators.TaskSpec{
		Command: resources.Command{
			Argv: []string{env.Weir, "nats-server", "--config", "{sandbox}/nats.conf"},
			// The collector then keeps to the limit that the agent enforces, with a tenth for what it does not see.
			Env: map[string]string{"GOMEMLIMIT": fmt.Sprintf("%dMiB", l.Pod.MemMiB*9/10)},
		},
		Files: []resources.File{
			file("nats.conf", config(l, at, s)),
			file("node.pem", string(s.NodePEM)),
			file("ca.pem", string(s.CAPEM)),
		},
	}, nil
}

func file(path, content string) resources.File {
	return resources.File{Path: path, Mode: 0o600, Content: []byte(content)}
}

// config: one listener, which asks for a certificate of the authority and for a password; a message is on disk before it is acknowledged. Streams get
// nine tenths of the volume, since a stream that is compacted has its old and its new files side by side.
func config(l operators.Launch, at operators.Placement, s Secrets) string {
	return fmt.Sprintf(`server_name: "%s.%s"
listen: "%s"
max_payload: 1048576
max_pending: 67108864
write_deadline: "10s"
authorization {
  timeout: 5
  users: [{user: "%s", password: "%s"}]
}
tls {
  cert_file: "{sandbox}/node.pem"
  key_file: "{sandbox}/node.pem"
  ca_file: "{sandbox}/ca.pem"
  verify: true
  timeout: 5
}
jetstream {
  store_dir: "{volume:%s}"
  max_file_store: %d
  max_memory_store: %d
  sync_interval: always
}
`, l.Spec.Stack, l.Pod.Name(), at.Endpoint(ClientPort), ClientUser, s.PasswordHash, at.Volume, StoreBytes(l.Spec), memoryStore<<20)
}

// StoreBytes is what all streams of the service may hold together.
func StoreBytes(spec operators.ServiceSpec) int64 { return StorageMiB(spec) << 20 / 10 * 9 }
