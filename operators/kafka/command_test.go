package kafka

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-project/weir/operators"
)

func launch(size, index int) (operators.Launch, operators.Placement, Env, Secrets) {
	spec := operators.ServiceSpec{Stack: "smack", Name: "events", Operator: operators.Kafka, Version: "4.3", Size: size}
	pod := Pod(spec, index)
	at := operators.Placement{Agent: "a1", Address: "127.0.0.1", Ports: map[string]int{ClientPort: 20000, ControllerPort: 20001}, Volume: pod.VolumeID()}
	env := Env{Java: "/jdk/bin/java", Libs: "/jars", Archive: "/jars/kafka.jsa"}
	if index > 0 {
		at.Ports = map[string]int{ClientPort: 20002}
		env.Controller = "127.0.0.1:20001"
	}
	return operators.Launch{Pod: pod, Spec: spec}, at, env,
		Secrets{ClusterID: "MkU3OEVBNTcwNTJENDM2Qg", BrokerPassword: "secret-broker", BrokerScram: "SCRAM-SHA-512=[name=broker,salt=c2VjcmV0]",
			ClientScram: "SCRAM-SHA-512=[name=weir,salt=c2VjcmV0]", ControllerName: "events-0", NodePEM: []byte("secret-node"), CAPEM: []byte("ca")}
}

// TestTheCommandOfABroker prints all that a launch of one broker is made of: read the diff when it changes.
func TestTheCommandOfABroker(t *testing.T) {
	datadriven.RunTest(t, "testdata/command", func(t *testing.T, d *datadriven.TestData) string {
		size, index := 1, 0
		d.MaybeScanArgs(t, "size", &size)
		d.MaybeScanArgs(t, "index", &index)
		l, at, env, secrets := launch(size, index)
		task, err := Command(l, at, env, secrets)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		switch d.Cmd {
		case "command":
			for _, p := range task.Command.Prepare {
				fmt.Fprintf(&b, "prepare %s (unless %s, quiet %v)\n", strings.Join(p.Argv, " "), p.Creates, p.Quiet)
			}
			fmt.Fprintf(&b, "%s\ndrop ipc: %v, env: %v\n", strings.Join(task.Command.Argv, "\n  "), task.Command.DropIPC, task.Command.Env)
		case "file":
			for _, f := range task.Files {
				if f.Path == d.CmdArgs[0].Key {
					fmt.Fprintf(&b, "%#o\n%s", f.Mode, f.Content)
				}
			}
		}
		return b.String()
	})
}

func TestNothingSecretStandsInArgumentsOrTheEnvironment(t *testing.T) {
	l, at, env, secrets := launch(1, 0)
	task, err := Command(l, at, env, secrets)
	if err != nil {
		t.Fatal(err)
	}
	seen := fmt.Sprint(task.Command)
	if strings.Contains(seen, "secret") || strings.Contains(seen, "SCRAM") || strings.Contains(seen, "c2VjcmV0") {
		t.Errorf("a secret in %s", seen)
	}
	for _, f := range task.Files {
		if f.Mode != 0o600 {
			t.Errorf("%s has mode %#o", f.Path, f.Mode)
		}
	}
	if s := fmt.Sprint(l, l.String()); strings.Contains(s, "secret") {
		t.Errorf("a secret in the plan: %s", s)
	}
}

func TestAPlacementThatLacksAPortOrLeavesLoopbackIsRefused(t *testing.T) {
	l, at, env, secrets := launch(1, 0)
	at.Ports = map[string]int{ClientPort: 20000}
	if _, err := Command(l, at, env, secrets); err == nil || !strings.Contains(err.Error(), "controller") {
		t.Errorf("got %v", err)
	}
	l, at, env, secrets = launch(1, 0)
	at.Address = "10.0.0.1"
	if _, err := Command(l, at, env, secrets); err == nil || !strings.Contains(err.Error(), "10.0.0.1") {
		t.Errorf("an address that others reach: %v", err)
	}
	l, at, env, secrets = launch(2, 1)
	env.Controller = ""
	if _, err := Command(l, at, env, secrets); err == nil || !strings.Contains(err.Error(), "controller") {
		t.Errorf("a broker that does not know its controller: %v", err)
	}
}
