package operatortest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/admin"
	"github.com/weir-project/weir/operators/artifact"
	"github.com/weir-project/weir/operators/cassandra"
	"github.com/weir-project/weir/operators/kafka"
)

// Rig is what tests against real services share: a Java, an authority and a place for tasks.
type Rig struct {
	t    testing.TB
	Host Host
	Java artifact.Java
	CA   *security.CA
}

// NewRig skips a short test. Everything that is started in it ends with the test.
func NewRig(t testing.TB) *Rig {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real services")
	}
	r := &Rig{t: t, Host: Host{Dir: t.TempDir()}}
	var err error
	r.Java, err = artifact.FindJava(artifact.JavaVersion, artifact.DefaultLook())
	r.must(err)
	r.CA, err = security.NewCA("weir", time.Now(), rand.Reader)
	r.must(err)
	return r
}

func (r *Rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *Rig) jars(set artifact.Set) artifact.Jars {
	r.t.Helper()
	dir, err := artifact.DefaultDir()
	r.must(err)
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	jars, err := artifact.Store{Dir: dir, JavaHome: r.Java.Home}.Resolve(ctx, set)
	r.must(err)
	return jars
}

// place is a placement on an address that nobody listens to at these ports. It lies outside the corners of installations.
func (r *Rig) place(volume string, ports map[string]int) operators.Placement {
	r.t.Helper()
	var err error
	for range 100 {
		address := fmt.Sprintf("127.%d.%d.%d", 230+mathrand.IntN(25), mathrand.IntN(256), 1+mathrand.IntN(254))
		if err = free(address, ports); err == nil {
			return operators.Placement{Agent: "a1", Address: address, Ports: ports, Volume: volume}
		}
	}
	r.t.Fatalf("find a loopback address where ports %v are free: 100 were tried, the last: %v", ports, err)
	return operators.Placement{}
}

func free(address string, ports map[string]int) error {
	for _, port := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Service is one pod of a real service, as its operator starts it. Its methods may be called from any goroutine, one at a time.
type Service struct {
	Spec    operators.ServiceSpec
	Process *Process // the latest
	pod     string
	host    Host
	task    operators.TaskSpec
	ready   func(ctx context.Context) (bool, string)
}

// Start starts the process and returns when it answers, at most 90 s later. The error says what it last lacked and ends with its output.
func (s *Service) Start(ctx context.Context) error {
	p, err := s.host.Start(s.pod, s.task)
	if err != nil {
		return err
	}
	s.Process = p
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	err = lifecycle.Poll(ctx, lifecycle.Backoff{Min: 25 * time.Millisecond, Max: 25 * time.Millisecond}, func(ctx context.Context) (bool, string, error) {
		if p.Exited() {
			return false, "", errors.Join(errors.New("the process ended"), p.err)
		}
		look, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		ok, why := s.ready(look)
		return ok, why, nil
	})
	if err != nil {
		return fmt.Errorf("start %s: %w\n%s", s.pod, err, p.Output())
	}
	return nil
}

// Kill ends it as a crash would, and waits until it is gone.
func (s *Service) Kill() error { return s.Process.End(syscall.SIGKILL, 10*time.Second) }

func (r *Rig) start(s *Service) {
	r.t.Helper()
	r.t.Cleanup(func() {
		if s.Process != nil {
			if err := s.Kill(); err != nil {
				r.t.Error(err)
			}
		}
	})
	start := time.Now()
	r.must(s.Start(r.t.Context()))
	r.t.Logf("%s: start to ready %s", s.Spec.Operator, time.Since(start).Round(time.Millisecond))
}

// Kafka is a cluster whose first broker runs.
type Kafka struct {
	*Service
	Client admin.Kafka // with all rights
	rig    *Rig
	jars   artifact.Jars
	creds  admin.KafkaCredentials
	first  operators.Placement
}

// Kafka starts a broker on an address of its own.
func (r *Rig) Kafka() *Kafka {
	r.t.Helper()
	k := r.newKafka()
	r.start(k.Service)
	return k
}

func (r *Rig) newKafka() *Kafka {
	r.t.Helper()
	k := &Kafka{rig: r, jars: r.jars(artifact.Kafka)}
	var err error
	k.creds, err = admin.NewKafkaCredentials(rand.Reader)
	r.must(err)
	spec := operators.ServiceSpec{Stack: "proof", Name: "events", Operator: operators.Kafka, Version: "4.3", Size: 1}
	k.first = r.place(kafka.Pod(spec, 0).VolumeID(), map[string]int{kafka.ClientPort: 24010, kafka.ControllerPort: 24011})
	k.Client = admin.Kafka{Address: k.first.Endpoint(kafka.ClientPort), User: kafka.ClientUser, Password: k.creds.ClientPassword}
	k.Service = k.broker(spec, 0, k.first)
	return k
}

// Broker is a further one, not started yet: its pod of a Kafka of that size. Called again it is on the same volume.
func (k *Kafka) Broker(index, size int) *Service {
	k.rig.t.Helper()
	spec := k.Spec
	spec.Size = size
	at := k.rig.place(kafka.Pod(spec, index).VolumeID(), map[string]int{kafka.ClientPort: 24010})
	s := k.broker(spec, index, at)
	k.rig.t.Cleanup(func() {
		if s.Process != nil {
			if err := s.Kill(); err != nil {
				k.rig.t.Error(err)
			}
		}
	})
	return s
}

func (k *Kafka) broker(spec operators.ServiceSpec, index int, at operators.Placement) *Service {
	k.rig.t.Helper()
	pod := kafka.Pod(spec, index)
	secrets, err := k.creds.Secrets(k.rig.CA, spec.PodName(0), at, time.Now())
	k.rig.must(err)
	env := kafka.Env{Java: k.rig.Java.Bin, Libs: k.jars.Dir, Controller: k.first.Endpoint(kafka.ControllerPort)}
	task, err := kafka.Command(operators.Launch{Pod: pod, Spec: spec}, at, env, secrets)
	k.rig.must(err)
	return &Service{Spec: spec, pod: pod.Name(), host: k.rig.Host, task: task, ready: func(ctx context.Context) (bool, string) {
		return kafka.Ready(operators.ServiceSpec{Size: index + 1}, k.Client.Observe(ctx, time.Now()))
	}}
}

// Cassandra is one node that runs.
type Cassandra struct {
	*Service
	Client          admin.Cassandra
	Bundle          security.Bundle // the client's certificate
	defaultPassword string          // for DisableDefault
}

// Cassandra starts a node on an address of its own and makes the client's role.
func (r *Rig) Cassandra() *Cassandra {
	r.t.Helper()
	c := r.newCassandra()
	r.start(c.Service)
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	r.must(c.Client.CreateRole(ctx))
	return c
}

func (r *Rig) newCassandra() *Cassandra {
	r.t.Helper()
	jars := r.jars(artifact.Cassandra)
	jamm, err := jars.Jar("jamm")
	r.must(err)
	spec := operators.ServiceSpec{Stack: "proof", Name: "serving", Operator: operators.Cassandra, Version: "5.0", Size: 1}
	pod := cassandra.Pod(spec, 0)
	at := r.place(pod.VolumeID(), map[string]int{cassandra.ClientPort: 9042, cassandra.StoragePort: 7000, cassandra.TLSPort: 7001})
	creds := admin.NewCassandraCredentials(rand.Reader)
	secrets, err := admin.CassandraSecrets(r.CA, pod.Name(), at, time.Now())
	r.must(err)
	task, err := cassandra.Command(operators.Launch{Pod: pod, Spec: spec}, at, cassandra.Env{Java: r.Java.Bin, Libs: jars.Dir, Jamm: jamm}, secrets)
	r.must(err)
	b, err := r.CA.Issue(security.Request{CN: "server", Role: security.RoleServer, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), ClientAuth: true})
	r.must(err)
	config, err := security.ServiceTLS(b)
	r.must(err)
	client := admin.Cassandra{Address: at.Endpoint(cassandra.ClientPort), TLS: config, User: cassandra.AdminRole, Password: creds.AdminPassword}
	return &Cassandra{Client: client, Bundle: b, defaultPassword: creds.DefaultPassword, Service: &Service{Spec: spec, pod: pod.Name(), host: r.Host, task: task, ready: func(ctx context.Context) (bool, string) {
		return cassandra.Ready(spec, client.Observe(ctx, time.Now()))
	}}}
}
