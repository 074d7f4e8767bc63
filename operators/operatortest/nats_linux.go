package operatortest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/natsserver"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/admin"
	"github.com/weir-project/weir/operators/nats"
)

// Main is a TestMain whose test binary can also be the program of a NATS: StartNats starts it a second time, as the operator starts weir.
func Main(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "nats-server" {
		if err := natsserver.Run(context.Background(), os.Args[3], os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Nats is one server that runs.
type Nats struct {
	*Service
	Client admin.Nats // with all rights
	Bundle security.Bundle
}

// StartNats starts a NATS, in short tests too: it needs no JVM. The package's TestMain must be Main.
func StartNats(t testing.TB) *Nats {
	t.Helper()
	r := &Rig{t: t, Host: Host{Dir: t.TempDir()}}
	var err error
	r.CA, err = security.NewCA("weir", time.Now(), rand.Reader)
	r.must(err)
	program, err := os.Executable()
	r.must(err)
	n := r.newNats(program)
	r.start(n.Service)
	return n
}

func (r *Rig) newNats(program string) *Nats {
	r.t.Helper()
	spec := operators.ServiceSpec{Stack: "proof", Name: "bus", Operator: operators.Nats, Version: "2.15", Size: 1}
	pod := nats.Pod(spec, 0)
	at := r.place(pod.VolumeID(), map[string]int{nats.ClientPort: 24222})
	creds, err := admin.NewNatsCredentials(rand.Reader)
	r.must(err)
	secrets, err := creds.Secrets(r.CA, pod.Name(), at, time.Now())
	r.must(err)
	task, err := nats.Command(operators.Launch{Pod: pod, Spec: spec}, at, nats.Env{Weir: program}, secrets)
	r.must(err)
	b, err := r.CA.Issue(security.Request{CN: "weir-client", Role: security.RoleNats, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), ClientAuth: true})
	r.must(err)
	config, err := security.ServiceTLS(b)
	r.must(err)
	client := admin.Nats{Address: at.Endpoint(nats.ClientPort), TLS: config, User: nats.ClientUser, Password: creds.Password}
	return &Nats{Client: client, Bundle: b, Service: &Service{Spec: spec, host: r.Host, task: task, ready: func(ctx context.Context) (bool, string) {
		return nats.Ready(client.Observe(ctx, time.Now()))
	}}}
}

// Restart ends the server as a crash would, waits for so long, and starts it again.
func (n *Nats) Restart(ctx context.Context, down time.Duration) error {
	if err := n.Kill(); err != nil {
		return err
	}
	if err := lifecycle.Sleep(ctx, down); err != nil {
		return err
	}
	return n.Start(ctx)
}
