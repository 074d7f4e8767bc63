package nats

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

func launch() (operators.Launch, operators.Placement, Env, Secrets) {
	spec := operators.ServiceSpec{Stack: "smack", Name: "bus", Operator: operators.Nats, Version: "2.15", Size: 1, StorageMiB: 100}
	pod := Pod(spec, 0)
	at := operators.Placement{Agent: "a1", Address: "127.0.0.1", Ports: map[string]int{ClientPort: 20000}, Volume: pod.VolumeID()}
	return operators.Launch{Pod: pod, Spec: spec}, at, Env{Weir: "/bin/weir"}, Secrets{PasswordHash: "$2a$04$secret", NodePEM: []byte("secret-node"), CAPEM: []byte("ca")}
}

func TestTheCommandOfAServer(t *testing.T) {
	l, at, env, secrets := launch()
	task, err := Command(l, at, env, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(task.Command.Argv, task.Command.Env), "[/bin/weir nats-server --config {sandbox}/nats.conf] map[GOMEMLIMIT:460MiB]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	const want = `server_name: "smack.bus-0"
listen: "127.0.0.1:20000"
max_payload: 1048576
max_pending: 67108864
write_deadline: "10s"
authorization {
  timeout: 5
  users: [{user: "weir", password: "$2a$04$secret"}]
}
tls {
  cert_file: "{sandbox}/node.pem"
  key_file: "{sandbox}/node.pem"
  ca_file: "{sandbox}/ca.pem"
  verify: true
  timeout: 5
}
jetstream {
  store_dir: "{volume:smack.bus-0.data}"
  max_file_store: 94371840
  max_memory_store: 16777216
  sync_interval: always
}
`
	if got := string(task.Files[0].Content); got != want {
		t.Errorf("got\n%s", got)
	}
	for _, f := range task.Files {
		if f.Mode != 0o600 {
			t.Errorf("%s has mode %#o", f.Path, f.Mode)
		}
	}
	if strings.Contains(fmt.Sprint(task.Command, l, l.String()), "secret") {
		t.Error("a secret in the arguments, the environment or the plan")
	}
}

func TestALaunchThatLacksSomethingIsRefused(t *testing.T) {
	for name, change := range map[string]func(*operators.Placement, *Env, *Secrets){
		"no port":        func(at *operators.Placement, _ *Env, _ *Secrets) { at.Ports = nil },
		"no volume":      func(at *operators.Placement, _ *Env, _ *Secrets) { at.Volume = "" },
		"no address":     func(at *operators.Placement, _ *Env, _ *Secrets) { at.Address = "localhost" },
		"no program":     func(_ *operators.Placement, e *Env, _ *Secrets) { e.Weir = "" },
		"no password":    func(_ *operators.Placement, _ *Env, s *Secrets) { s.PasswordHash = "" },
		"no certificate": func(_ *operators.Placement, _ *Env, s *Secrets) { s.NodePEM = nil },
	} {
		l, at, env, secrets := launch()
		change(&at, &env, &secrets)
		if _, err := Command(l, at, env, secrets); err == nil || !strings.Contains(err.Error(), "bus-0") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestAServerIsReadyWhenItsJetStreamAnsweredAfterTheLaunch walks a plan from nothing to ready.
func TestAServerIsReadyWhenItsJetStreamAnsweredAfterTheLaunch(t *testing.T) {
	l, _, _, _ := launch()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := operators.Observed{Now: now, Tasks: map[string]operators.Task{}, Attempts: map[string]operators.Attempt{}}
	step := func(i int) string {
		s := Decide(l.Spec, o).Phases[0].Steps[i]
		return fmt.Sprintf("%s done=%v %s", s.ID, s.Done, s.Reason)
	}
	says := func(i int, want string) {
		t.Helper()
		if got := step(i); !strings.Contains(got, want) {
			t.Errorf("step %d is %q, want %q in it", i, got, want)
		}
	}
	says(0, "bus-0:launch done=false")
	o.Attempts["bus-0:launch"] = operators.Attempt{}.Begin(now, "t1")
	o.Tasks["bus-0"] = operators.Task{ID: "t1", State: resources.Running, Revision: l.Pod.Revision}
	o.Nats.Answers = operators.Unknown[bool]("connection refused")
	says(0, "done=true")
	says(1, "done=false the server does not answer yet: connection refused")
	o.Nats.Answers = operators.Know(false, now)
	says(1, "done=false the server refuses the login")
	o.Nats.Answers = operators.Know(true, now.Add(-time.Second))
	says(1, "done=false the server has not been asked since its launch")
	o.Nats.Answers = operators.Know(true, now.Add(time.Second))
	says(1, "done=true")
}
