package stream

import (
	"fmt"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// Cores is the setting of a service that bounds how many cores each worker uses at once.
const Cores = "cores"

// Env is what a worker is started with.
type Env struct {
	Weir     string   // absolute path of the program
	Server   string   // URL of the server
	Task     string   // its task id, by which it registers
	Args     []string // further arguments
	Identity []byte   // PKCS#8 key, certificate and authority in one PEM
}

// Command is how a worker is started: its identity is a file (0600) of its sandbox.
func Command(l operators.Launch, env Env) (operators.TaskSpec, error) {
	if env.Weir == "" || env.Server == "" || env.Task == "" || len(env.Identity) == 0 {
		return operators.TaskSpec{}, fmt.Errorf("build the command of %s: program %q, server %q, task %q and an identity of %d bytes; each is needed",
			l.Pod.Name(), env.Weir, env.Server, env.Task, len(env.Identity))
	}
	vars := map[string]string{
		// The collector then keeps to the limit that the agent enforces, with a tenth for what it does not see.
		"GOMEMLIMIT": fmt.Sprintf("%dMiB", l.Pod.MemMiB*9/10),
	}
	if n := l.Spec.Settings[Cores]; n != "" {
		vars["GOMAXPROCS"] = n // threads that run at once: the worker's size, which the autoscaler counts in
	}
	argv := []string{env.Weir, "worker", "--server", env.Server, "--task", env.Task, "--certs", "{sandbox}"}
	return operators.TaskSpec{
		Command: resources.Command{
			Argv: append(argv, env.Args...),
			Env:  vars,
		},
		Files: []resources.File{{Path: "worker.pem", Mode: 0o600, Content: env.Identity}},
	}, nil
}
