package cassandra

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-project/weir/operators"
)

func launch() (operators.Launch, operators.Placement, Env, Secrets) {
	spec := operators.ServiceSpec{Stack: "smack", Name: "serving", Operator: operators.Cassandra, Version: "5.0", Size: 1}
	pod := Pod(spec, 0)
	at := operators.Placement{Agent: "a1", Address: "127.20.0.1", Volume: pod.VolumeID()}
	return operators.Launch{Pod: pod, Spec: spec}, at, Env{Java: "/jdk/bin/java", Libs: "/jars", Jamm: "/jars/jamm-0.4.0.jar"}, Secrets{NodePEM: []byte("secret-node"), CAPEM: []byte("ca")}
}

// TestTheCommandOfANode prints all that a launch of one node is made of: read the diff when it changes.
func TestTheCommandOfANode(t *testing.T) {
	datadriven.RunTest(t, "testdata/command", func(t *testing.T, d *datadriven.TestData) string {
		l, at, env, secrets := launch()
		task, err := Command(l, at, env, secrets)
		if err != nil {
			t.Fatal(err)
		}
		if d.Cmd == "command" {
			return fmt.Sprintf("%s\ndrop ipc: %v, env: %v\n", strings.Join(task.Command.Argv, "\n  "), task.Command.DropIPC, task.Command.Env)
		}
		for _, f := range task.Files {
			if f.Path == d.CmdArgs[0].Key {
				return fmt.Sprintf("%#o\n%s", f.Mode, f.Content)
			}
		}
		return "no such file\n"
	})
}

func TestNoManagementPortAndNoSecretInArguments(t *testing.T) {
	l, at, env, secrets := launch()
	task, err := Command(l, at, env, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(task.Command); strings.Contains(s, "secret") {
		t.Errorf("a secret in %s", s)
	}
	for _, f := range task.Files {
		if text := strings.ToLower(string(f.Content)); strings.Contains(text, "jmx.local.port") || strings.Contains(text, "jmxremote.port") {
			t.Errorf("%s opens a management port", f.Path)
		}
		if f.Mode != 0o600 {
			t.Errorf("%s has mode %#o", f.Path, f.Mode)
		}
	}
	at.Volume = ""
	if _, err := Command(l, at, env, secrets); err == nil || !strings.Contains(err.Error(), "no volume") {
		t.Errorf("without a volume: %v", err)
	}
}

func TestAServiceIsUsableOnlyWhenTheDefaultAccountIsOff(t *testing.T) {
	spec := operators.ServiceSpec{Stack: "smack", Name: "serving", Operator: operators.Cassandra, Size: 1}
	f := operators.CassandraFacts{}
	now := func() (bool, string) { return Usable(spec, f) }
	if ok, why := now(); ok || !strings.Contains(why, "not answer") {
		t.Errorf("unknown: %v %q", ok, why)
	}
	f.Nodes.Known, f.Nodes.Value = true, map[string]string{"127.20.0.1": Up}
	if ok, why := now(); ok || !strings.Contains(why, "cannot log in") {
		t.Errorf("up: %v %q", ok, why)
	}
	f.Authenticated.Known, f.Authenticated.Value = true, true
	if ok, why := now(); ok || !strings.Contains(why, "default account") {
		t.Errorf("with a role: %v %q", ok, why)
	}
	f.DefaultOff.Known, f.DefaultOff.Value = true, true
	if ok, why := now(); !ok {
		t.Errorf("all done: %q", why)
	}
}
