package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/admin"
	"github.com/weir-project/weir/operators/artifact"
	"github.com/weir-project/weir/operators/cassandra"
	"github.com/weir-project/weir/operators/kafka"
	"github.com/weir-project/weir/operators/nats"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/reconcile"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
)

// podOf is the pod that a service's operator wants.
func podOf(spec operators.ServiceSpec, index int) operators.PodSpec {
	switch spec.Operator {
	case operators.Kafka:
		return kafka.Pod(spec, index)
	case operators.Cassandra:
		return cassandra.Pod(spec, index)
	case operators.Nats:
		return nats.Pod(spec, index)
	default:
		return stream.Pod(spec, index)
	}
}

// kind binds a service's operator to its edges.
func (s *stack) kind(v *service) reconcile.Kind {
	switch v.spec.Operator {
	case operators.Kafka:
		return kafkaKind{s.d, v}
	case operators.Cassandra:
		return cassandraKind{s.d, v}
	case operators.Nats:
		return natsKind{s.d, v}
	default:
		return streamKind{s, v}
	}
}

// credentials reads a service's secrets, which are drawn the first time and kept sealed (C1).
func credentials[T any](ctx context.Context, d *Daemon, spec operators.ServiceSpec, draw func() (T, error)) (T, error) {
	var v T
	data, err := d.secrets.Ensure(ctx, spec.Role(), func() ([]byte, error) {
		v, err := draw()
		if err != nil {
			return nil, err
		}
		return json.Marshal(v)
	})
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		return v, fmt.Errorf("read the credentials of %s: %w", spec.Role(), err)
	}
	return v, nil
}

// first is where a service's first pod is.
func first(spec operators.ServiceSpec, at map[string]operators.Placement) (operators.Placement, bool) {
	p, ok := at[spec.PodName(0)]
	return p, ok
}

var errNotPlaced = errors.New("it has no place yet")

// commonName of a pod's certificate: two stacks may have pods of the same name, and a Kafka's controllers know each other by it.
func commonName(pod operators.PodSpec) string { return pod.Stack + "." + pod.Name() }

// artifacts are the service's verified jars and the Java that runs them.
func (v *service) artifacts() (artifact.Java, artifact.Jars, error) {
	f := v.fetched.Load()
	if f == nil {
		return artifact.Java{}, artifact.Jars{}, errNotReady
	}
	return f.result()
}

type kafkaKind struct {
	d *Daemon
	v *service
}

func (k kafkaKind) Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	return kafka.Decide(spec, o)
}

func (k kafkaKind) admin(ctx context.Context, spec operators.ServiceSpec, at map[string]operators.Placement) (admin.Kafka, error) {
	p, ok := first(spec, at)
	if !ok {
		return admin.Kafka{}, errNotPlaced
	}
	c, err := credentials(ctx, k.d, spec, func() (admin.KafkaCredentials, error) { return admin.NewKafkaCredentials(rand.Reader) })
	return admin.Kafka{Address: p.Endpoint(kafka.ClientPort), User: kafka.ClientUser, Password: c.ClientPassword}, err
}

func (k kafkaKind) Probe(ctx context.Context, spec operators.ServiceSpec, at map[string]operators.Placement) func(*operators.Observed) {
	a, err := k.admin(ctx, spec, at)
	if err != nil {
		return func(o *operators.Observed) { o.Kafka.Authenticated = operators.Unknown[bool](err.Error()) }
	}
	facts := a.Observe(ctx, time.Now())
	return func(o *operators.Observed) { o.Kafka = facts }
}

func (k kafkaKind) Command(ctx context.Context, l operators.Launch, at operators.Placement, _ resources.TaskID) (operators.TaskSpec, error) {
	c, err := credentials(ctx, k.d, l.Spec, func() (admin.KafkaCredentials, error) { return admin.NewKafkaCredentials(rand.Reader) })
	if err != nil {
		return operators.TaskSpec{}, err
	}
	secrets, err := c.Secrets(k.d.ca, commonName(kafka.Pod(l.Spec, 0)), at, time.Now())
	if err != nil {
		return operators.TaskSpec{}, err
	}
	java, jars, err := k.v.artifacts()
	if err != nil {
		return operators.TaskSpec{}, err
	}
	env := kafka.Env{Java: java.Bin, Libs: jars.Dir}
	if l.Pod.Index > 0 {
		p, ok := first(l.Spec, k.v.rec.Status().Observed.Reserved)
		if !ok {
			return operators.TaskSpec{}, fmt.Errorf("build the command of %s: where the controller is: %w", l.Pod.Name(), errNotPlaced)
		}
		env.Controller = p.Endpoint(kafka.ControllerPort)
	}
	return kafka.Command(l, at, env, secrets)
}

func (k kafkaKind) Admin(ctx context.Context, a operators.Admin, at map[string]operators.Placement) error {
	client, err := k.admin(ctx, k.v.rec.Status().Spec, at)
	if err != nil {
		return err
	}
	return client.Do(ctx, a)
}

// servers are where clients begin: the brokers that stay, so that none learns of one that leaves. The first is always among them.
func (k kafkaKind) servers(at map[string]operators.Placement) []string {
	var out []string
	for i := range k.v.spec.Size {
		if p, ok := at[k.v.spec.PodName(i)]; ok {
			out = append(out, p.Endpoint(kafka.ClientPort))
		}
	}
	return out
}

type cassandraKind struct {
	d *Daemon
	v *service
}

func (k cassandraKind) Decide(spec operators.ServiceSpec, o operators.Observed) plan.Plan {
	return cassandra.Decide(spec, o)
}

func (k cassandraKind) credentials(ctx context.Context, spec operators.ServiceSpec) (admin.CassandraCredentials, error) {
	return credentials(ctx, k.d, spec, func() (admin.CassandraCredentials, error) {
		return admin.NewCassandraCredentials(rand.Reader), nil
	})
}

func (k cassandraKind) admin(ctx context.Context, spec operators.ServiceSpec, at map[string]operators.Placement) (admin.Cassandra, error) {
	p, ok := first(spec, at)
	if !ok {
		return admin.Cassandra{}, errNotPlaced
	}
	c, err := k.credentials(ctx, spec)
	if err != nil {
		return admin.Cassandra{}, err
	}
	b, err := k.d.clientCertificate("weir-server")
	if err != nil {
		return admin.Cassandra{}, err
	}
	config, err := security.ServiceTLS(b)
	if err != nil {
		return admin.Cassandra{}, err
	}
	return admin.Cassandra{Address: cassandraEndpoint(spec, p), TLS: config, User: cassandra.AdminRole, Password: c.AdminPassword}, nil
}

// cassandraEndpoint: the client port stands on the node's own address, and is no part of its reservation.
func cassandraEndpoint(spec operators.ServiceSpec, p operators.Placement) string {
	for _, port := range cassandra.Pod(spec, 0).Ports {
		if port.Name == cassandra.ClientPort {
			return fmt.Sprintf("%s:%d", p.Address, port.Number)
		}
	}
	return p.Endpoint(cassandra.ClientPort)
}

func (k cassandraKind) Probe(ctx context.Context, spec operators.ServiceSpec, at map[string]operators.Placement) func(*operators.Observed) {
	a, err := k.admin(ctx, spec, at)
	if err != nil {
		return func(o *operators.Observed) { o.Cassandra.Nodes = operators.Unknown[map[string]string](err.Error()) }
	}
	facts := a.Observe(ctx, time.Now())
	return func(o *operators.Observed) { o.Cassandra = facts }
}

func (k cassandraKind) Command(_ context.Context, l operators.Launch, at operators.Placement, _ resources.TaskID) (operators.TaskSpec, error) {
	secrets, err := admin.CassandraSecrets(k.d.ca, commonName(l.Pod), at, time.Now())
	if err != nil {
		return operators.TaskSpec{}, err
	}
	java, jars, err := k.v.artifacts()
	if err != nil {
		return operators.TaskSpec{}, err
	}
	jamm, err := jars.Jar("jamm")
	if err != nil {
		return operators.TaskSpec{}, err
	}
	return cassandra.Command(l, at, cassandra.Env{Java: java.Bin, Libs: jars.Dir, Jamm: jamm}, secrets)
}

func (k cassandraKind) Admin(ctx context.Context, a operators.Admin, at map[string]operators.Placement) error {
	client, err := k.admin(ctx, k.v.rec.Status().Spec, at)
	if err != nil {
		return err
	}
	switch a.Kind {
	case operators.CreateAdminRole:
		return client.CreateRole(ctx)
	case operators.DisableDefaultLogin:
		c, err := k.credentials(ctx, k.v.rec.Status().Spec)
		if err != nil {
			return err
		}
		return client.DisableDefault(ctx, c.DefaultPassword)
	case operators.EnsureTables:
		return client.EnsureTables(ctx, a.Keyspaces, a.Tables)
	}
	return fmt.Errorf("a Cassandra has no call %q", a.Kind)
}

// connection is how workers and the CLI reach a service. It travels on mTLS streams only (C5).
func (s *stack) connection(name string) (physical.Connection, error) {
	v := s.service(name)
	if v == nil || v.rec == nil {
		return physical.Connection{}, errNotReady
	}
	ctx, at := s.d.group.Context(), v.rec.Status().Observed.Reserved
	switch v.spec.Operator {
	case operators.Kafka:
		k := kafkaKind{s.d, v}
		a, err := k.admin(ctx, v.spec, at)
		return physical.Connection{Operator: v.spec.Operator, Servers: k.servers(at), User: a.User, Password: a.Password}, err
	case operators.Cassandra:
		k := cassandraKind{s.d, v}
		a, err := k.admin(ctx, v.spec, at)
		if err != nil {
			return physical.Connection{}, err
		}
		b, err := s.d.clientCertificate("weir-client")
		return physical.Connection{Operator: v.spec.Operator, Servers: []string{a.Address}, User: a.User, Password: a.Password,
			CA: b.CAPEM, Cert: b.CertPEM, Key: b.KeyPEM, LocalDC: cassandra.DC}, err
	case operators.Nats:
		return natsKind{s.d, v}.connection(ctx, at)
	}
	return physical.Connection{}, fmt.Errorf("service %s is a %s, which no pipeline reads", name, v.spec.Operator)
}
