package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/admin"
	"github.com/weir-project/weir/operators/nats"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

// natsKind binds the nats operator to its edges. Its server is this program in a process of its own, so that nothing is fetched.
type natsKind struct {
	d *Daemon
	v *service
}

func (k natsKind) Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	return nats.Decide(spec, o)
}

func (k natsKind) credentials(ctx context.Context, spec operators.ServiceSpec) (admin.NatsCredentials, error) {
	return credentials(ctx, k.d, spec, func() (admin.NatsCredentials, error) { return admin.NewNatsCredentials(rand.Reader) })
}

func (k natsKind) admin(ctx context.Context, spec operators.ServiceSpec, at map[string]operators.Placement) (admin.Nats, error) {
	p, ok := first(spec, at)
	if !ok {
		return admin.Nats{}, errNotPlaced
	}
	c, err := k.credentials(ctx, spec)
	if err != nil {
		return admin.Nats{}, err
	}
	b, err := k.d.clientCertificate("weir-server")
	if err != nil {
		return admin.Nats{}, err
	}
	config, err := security.ServiceTLS(b)
	return admin.Nats{Address: p.Endpoint(nats.ClientPort), TLS: config, User: nats.ClientUser, Password: c.Password}, err
}

func (k natsKind) Probe(ctx context.Context, spec operators.ServiceSpec, at map[string]operators.Placement) func(*operators.Observed) {
	a, err := k.admin(ctx, spec, at)
	if err != nil {
		return func(o *operators.Observed) { o.Nats.Answers = operators.Unknown[bool](err.Error()) }
	}
	facts := a.Observe(ctx, time.Now())
	return func(o *operators.Observed) { o.Nats = facts }
}

func (k natsKind) Command(ctx context.Context, l operators.Launch, at operators.Placement, _ resources.TaskID) (operators.TaskSpec, error) {
	c, err := k.credentials(ctx, l.Spec)
	if err != nil {
		return operators.TaskSpec{}, err
	}
	secrets, err := c.Secrets(k.d.ca, commonName(l.Pod), at, time.Now())
	if err != nil {
		return operators.TaskSpec{}, err
	}
	return nats.Command(l, at, nats.Env{Weir: k.d.cfg.Self}, secrets)
}

func (k natsKind) Admin(ctx context.Context, a operators.Admin, at map[string]operators.Placement) error {
	if a.Kind != operators.EnsureStreams {
		return fmt.Errorf("a NATS has no call %q", a.Kind)
	}
	client, err := k.admin(ctx, k.v.rec.Status().Spec, at)
	if err != nil {
		return err
	}
	return client.EnsureStreams(ctx, a.Streams)
}

// connection is how workers reach the service.
func (k natsKind) connection(ctx context.Context, at map[string]operators.Placement) (physical.Connection, error) {
	a, err := k.admin(ctx, k.v.spec, at)
	if err != nil {
		return physical.Connection{}, err
	}
	b, err := k.d.clientCertificate("weir-client")
	return physical.Connection{Operator: k.v.spec.Operator, Servers: []string{a.Address}, User: a.User, Password: a.Password,
		CA: b.CAPEM, Cert: b.CertPEM, Key: b.KeyPEM}, err
}
