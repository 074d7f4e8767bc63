package operatortest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/admin"
	"github.com/weir-project/weir/operators/artifact"
	"github.com/weir-project/weir/operators/cassandra"
	"github.com/weir-project/weir/operators/kafka"
)

// rig is what the real tests share: a Java, an authority and a place for tasks. Pdeathsig ends the processes with the test.
type rig struct {
	t    *testing.T
	host Host
	java artifact.Java
	ca   *security.CA
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real services")
	}
	java, err := artifact.FindJava(artifact.JavaVersion, artifact.DefaultLook())
	must(t, err)
	ca, err := security.NewCA("weir", time.Now(), rand.Reader)
	must(t, err)
	return &rig{t: t, host: Host{Dir: t.TempDir()}, java: java, ca: ca}
}

func (r *rig) jars(set artifact.Set) artifact.Jars {
	r.t.Helper()
	dir, err := artifact.DefaultDir()
	must(r.t, err)
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	jars, err := artifact.Store{Dir: dir, JavaHome: r.java.Home}.Resolve(ctx, set)
	must(r.t, err)
	return jars
}

// until polls a fact, and fails with its last reason or when the process has ended.
func (r *rig) until(p *Process, limit time.Duration, look func(ctx context.Context) (bool, string)) time.Duration {
	r.t.Helper()
	start := time.Now()
	for {
		ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
		ok, why := look(ctx)
		cancel()
		switch {
		case ok:
			return time.Since(start)
		case p.Exited():
			r.t.Fatalf("the process ended: %v\n%s", p.err, p.Output())
		case time.Since(start) > limit:
			r.t.Fatalf("not so after %s: %s\n%s", limit, why, p.Output())
		}
		time.Sleep(25 * time.Millisecond) // between two looks at a real process
	}
}

func (r *rig) stop(p *Process) {
	r.t.Helper()
	start := time.Now()
	if err := p.End(syscall.SIGTERM, 30*time.Second); err != nil {
		r.t.Error(err)
	}
	r.t.Logf("SIGTERM to exit: %s", time.Since(start).Round(time.Millisecond))
}

// listeners are the addresses on which a process listens, read from the kernel.
func listeners(t *testing.T, pid int) []string {
	t.Helper()
	inodes := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	must(t, err)
	for _, fd := range fds {
		if link, err := os.Readlink(dir + "/" + fd.Name()); err == nil && strings.HasPrefix(link, "socket:[") {
			inodes[strings.Trim(link, "socket:[]")] = true
		}
	}
	var out []string
	for _, file := range []string{"tcp", "tcp6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, file))
		must(t, err)
		for _, line := range strings.Split(string(data), "\n") {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && inodes[f[9]] {
				out = append(out, f[1])
			}
		}
	}
	return out
}

func TestRealKafkaIsFormattedStartedUsedKilledAndStartedAgain(t *testing.T) {
	r := newRig(t)
	jars := r.jars(artifact.Kafka)
	spec := operators.ServiceSpec{Stack: "proof", Name: "events", Operator: operators.Kafka, Version: "4.3", Size: 1}
	pod := kafka.Pod(spec, 0)
	at := operators.Placement{Agent: "a1", Address: "127.40.0.1", Ports: map[string]int{kafka.ClientPort: 24010, kafka.ControllerPort: 24011}, Volume: pod.VolumeID()}
	creds, err := admin.NewKafkaCredentials(rand.Reader)
	must(t, err)
	secrets, err := creds.Secrets(r.ca, pod.Name(), at, time.Now())
	must(t, err)
	task, err := kafka.Command(operators.Launch{Pod: pod, Spec: spec}, at, kafka.Env{Java: r.java.Bin, Libs: jars.Dir}, secrets)
	must(t, err)
	client := admin.Kafka{Address: at.Endpoint(kafka.ClientPort), User: kafka.ClientUser, Password: creds.ClientPassword}
	ready := func(ctx context.Context) (bool, string) {
		return kafka.Ready(spec, client.Observe(ctx, time.Now()))
	}

	// A format that was interrupted has left something behind.
	left := filepath.Join(r.host.Dir, "volumes", pod.VolumeID(), "format")
	must(t, os.MkdirAll(left, 0o700))
	must(t, os.WriteFile(filepath.Join(left, "meta.properties"), []byte("version=1\n"), 0o600))
	start := time.Now()
	p, err := r.host.Start("events-0", task)
	must(t, err)
	prepared := time.Since(start)
	took := prepared + r.until(p, 60*time.Second, ready)
	mark := time.Now()
	lap := func(what string) {
		t.Logf("kafka: %s %s", what, time.Since(mark).Round(time.Millisecond))
		mark = time.Now()
	}
	t.Logf("kafka: format %s, format and start to ready %s", prepared.Round(time.Millisecond), took.Round(time.Millisecond))
	if got := listeners(t, p.PID()); len(got) != 2 {
		t.Errorf("the broker listens on %v, want its two listeners alone", got)
	}

	topics := []operators.Topic{{Name: "_weir.p.s.f0.changelog", Partitions: 3, Replication: 1, Settings: map[string]string{
		"cleanup.policy": "compact", "segment.bytes": "16777216", "min.cleanable.dirty.ratio": "0.1", "delete.retention.ms": "60000"}}, {Name: "p.departures", Partitions: 4, Replication: 1}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, client.EnsureTopics(ctx, topics))
	must(t, client.EnsureTopics(ctx, topics)) // idempotent
	lap("topics made, and again")
	topics[0].Settings["delete.retention.ms"] = "61000"
	must(t, client.EnsureTopics(ctx, topics))
	f := client.Observe(ctx, time.Now())
	for _, want := range topics {
		if d := want.Differs(f.Topics.Value[want.Name]); d != "" {
			t.Errorf("topic %s: %s", want.Name, d)
		}
	}
	lap("a setting changed, and observed")
	topics[1].Partitions = 5
	if err := client.EnsureTopics(ctx, topics); err == nil || !strings.Contains(err.Error(), "partitions are 4 and should be 5") {
		t.Errorf("more partitions: got %v, want a refusal with both numbers", err)
	}
	wrong := client
	wrong.Password = "wrong"
	if f := wrong.Observe(ctx, time.Now()); f.Authenticated.Known || !strings.Contains(f.Authenticated.Why, "127.40.0.1:24010") {
		t.Errorf("a wrong password: got %+v, want unknown with the address", f.Authenticated)
	}
	lap("two refusals")
	kc, err := kgo.NewClient(kgo.SeedBrokers(client.Address), kgo.SASL(scram.Auth{User: client.User, Pass: client.Password}.AsSha512Mechanism()), kgo.DefaultProduceTopic("p.departures"))
	must(t, err)
	must(t, kc.ProduceSync(ctx, kgo.StringRecord("before the kill")).FirstErr())
	kc.Close()
	lap("one record produced")

	must(t, p.End(syscall.SIGKILL, 5*time.Second))
	p, err = r.host.Start("events-0", task)
	must(t, err)
	t.Logf("kafka: kill -9, start to ready %s", r.until(p, 60*time.Second, ready).Round(time.Millisecond))
	reader, err := kgo.NewClient(kgo.SeedBrokers(client.Address), kgo.SASL(scram.Auth{User: client.User, Pass: client.Password}.AsSha512Mechanism()), kgo.ConsumeTopics("p.departures"))
	must(t, err)
	defer reader.Close()
	got := reader.PollFetches(ctx)
	must(t, got.Err())
	if n := got.NumRecords(); n != 1 {
		t.Errorf("%d records after the kill, want 1", n)
	}
	r.stop(p)
}

func TestRealCassandraIsStartedSecuredUsedKilledAndStartedAgain(t *testing.T) {
	r := newRig(t)
	jars := r.jars(artifact.Cassandra)
	jamm, err := jars.Jar("jamm")
	must(t, err)
	spec := operators.ServiceSpec{Stack: "proof", Name: "serving", Operator: operators.Cassandra, Version: "5.0", Size: 1}
	pod := cassandra.Pod(spec, 0)
	at := operators.Placement{Agent: "a1", Address: "127.40.0.2", Volume: pod.VolumeID(), Ports: map[string]int{cassandra.ClientPort: 9042, cassandra.StoragePort: 7000, cassandra.TLSPort: 7001}}
	creds := admin.NewCassandraCredentials(rand.Reader)
	secrets, err := admin.CassandraSecrets(r.ca, pod.Name(), at, time.Now())
	must(t, err)
	task, err := cassandra.Command(operators.Launch{Pod: pod, Spec: spec}, at, cassandra.Env{Java: r.java.Bin, Libs: jars.Dir, Jamm: jamm}, secrets)
	must(t, err)
	b, err := r.ca.Issue(security.Request{CN: "server", Role: security.RoleServer, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), ClientAuth: true})
	must(t, err)
	config, err := admin.CassandraTLS(b)
	must(t, err)
	client := admin.Cassandra{Address: at.Endpoint(cassandra.ClientPort), TLS: config, User: cassandra.AdminRole, Password: creds.AdminPassword}
	up := func(ctx context.Context) (bool, string) {
		return cassandra.Ready(spec, client.Observe(ctx, time.Now()))
	}

	p, err := r.host.Start("serving-0", task)
	must(t, err)
	t.Logf("cassandra: first start to a login answered %s", r.until(p, 90*time.Second, up).Round(time.Millisecond))
	if got := listeners(t, p.PID()); len(got) != 2 {
		t.Errorf("the node listens on %v, want its client and its storage port alone", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stranger := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: config.RootCAs}
	if conn, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: stranger}).DialContext(ctx, "tcp", client.Address); err == nil {
		if _, _, err := exchange(conn); err == nil {
			t.Error("a client without a certificate is answered")
		}
		conn.Close() // the node has closed it already
	}
	start := time.Now()
	must(t, client.CreateRole(ctx))
	must(t, client.CreateRole(ctx)) // idempotent
	must(t, client.DisableDefault(ctx, creds.DefaultPassword))
	must(t, client.DisableDefault(ctx, creds.DefaultPassword))
	t.Logf("cassandra: access %s", time.Since(start).Round(time.Millisecond))
	f := client.Observe(ctx, time.Now())
	if ok, why := cassandra.Usable(spec, f); !ok {
		t.Fatal(why)
	}
	wrong, nobody := client, client
	wrong.Password, nobody.Address = "wrong", "127.40.0.2:1"
	if f := wrong.Observe(ctx, time.Now()); !f.Authenticated.Known || f.Authenticated.Value || len(f.Nodes.Value) != 1 {
		t.Errorf("a wrong password: got %+v, want a node that is up and refuses", f)
	}
	if f := nobody.Observe(ctx, time.Now()); f.Authenticated.Known || f.Nodes.Known || !strings.Contains(f.Nodes.Why, "127.40.0.2:1") {
		t.Errorf("no node: got %+v, want unknown with the address", f)
	}
	keyspaces := []operators.Keyspace{{Name: "flights", Replication: 1}}
	tables := []operators.Table{{Keyspace: "flights", Name: "Delays", PartitionKey: []string{"origin"}, ClusteringKey: []string{"hour"}, Columns: []operators.Column{
		{Name: "origin", Type: "text"}, {Name: "hour", Type: "timestamp"}, {Name: "flights", Type: "bigint"}, {Name: "mean", Type: "double"}, {Name: "late", Type: "boolean"}, {Name: "raw", Type: "blob"}}}}
	start = time.Now()
	must(t, client.EnsureTables(ctx, keyspaces, tables))
	must(t, client.EnsureTables(ctx, keyspaces, tables))
	t.Logf("cassandra: tables %s", time.Since(start).Round(time.Millisecond))
	f = client.Observe(ctx, time.Now())
	if d := tables[0].Differs(f.Tables.Value["flights.Delays"]); d != "" || f.Keyspaces.Value["flights"].Replication != 1 {
		t.Errorf("schema: %s %+v", d, f.Keyspaces.Value)
	}
	s := session(t, client)
	must(t, s.Query(`INSERT INTO flights."Delays" (origin, hour, flights) VALUES ('ORD', '2001-01-01', 7)`).WithContext(ctx).Exec())
	s.Close()

	must(t, p.End(syscall.SIGKILL, 5*time.Second))
	if f := client.Observe(ctx, time.Now()); f.Nodes.Known || f.Authenticated.Known {
		t.Errorf("after the kill: got %+v, want a session that was kept to prove nothing", f)
	}
	p, err = r.host.Start("serving-0", task)
	must(t, err)
	t.Logf("cassandra: kill -9, start to usable %s", r.until(p, 90*time.Second, func(ctx context.Context) (bool, string) {
		return cassandra.Usable(spec, client.Observe(ctx, time.Now()))
	}).Round(time.Millisecond))
	s = session(t, client)
	defer s.Close()
	var n int64
	must(t, s.Query(`SELECT flights FROM flights."Delays" WHERE origin = 'ORD'`).WithContext(ctx).Scan(&n))
	if n != 7 {
		t.Errorf("after the kill flights is %d, want 7", n)
	}
	r.stop(p)
}

// exchange sends a STARTUP frame and reads a byte: with TLS 1.3 a server refuses a client's missing certificate after the handshake.
func exchange(conn net.Conn) (int, []byte, error) {
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, nil, err
	}
	if _, err := conn.Write([]byte{4, 0, 0, 0, 1, 0, 0, 0, 0}); err != nil {
		return 0, nil, err
	}
	b := make([]byte, 1)
	n, err := conn.Read(b)
	return n, b, err
}

func session(t *testing.T, c admin.Cassandra) *gocql.Session {
	t.Helper()
	host, _, err := net.SplitHostPort(c.Address)
	must(t, err)
	cluster := gocql.NewCluster(host)
	cluster.ProtoVersion, cluster.DisableInitialHostLookup, cluster.Timeout = 4, true, 10*time.Second
	cluster.Authenticator = gocql.PasswordAuthenticator{Username: c.User, Password: c.Password}
	cluster.SslOpts = &gocql.SslOptions{Config: c.TLS, EnableHostVerification: true}
	cluster.Logger = quiet{}
	s, err := cluster.CreateSession()
	must(t, err)
	return s
}

type quiet struct{}

func (quiet) Print(...any)          {}
func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}
