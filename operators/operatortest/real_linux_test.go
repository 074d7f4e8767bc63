package operatortest

import (
	"context"
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

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/admin"
	"github.com/weir-project/weir/operators/cassandra"
	"github.com/weir-project/weir/operators/kafka"
)

func stop(t *testing.T, s *Service) {
	t.Helper()
	start := time.Now()
	if err := s.Process.End(syscall.SIGTERM, 30*time.Second); err != nil {
		t.Error(err)
	}
	t.Logf("SIGTERM to exit: %s", time.Since(start).Round(time.Millisecond))
}

// again kills the service and starts it on what it left.
func again(t *testing.T, s *Service, between func()) {
	t.Helper()
	must(t, s.Kill())
	between()
	start := time.Now()
	must(t, s.Start(t.Context()))
	t.Logf("%s: kill -9, start to ready %s", s.Spec.Operator, time.Since(start).Round(time.Millisecond))
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
	r := NewRig(t)
	k := r.newKafka()
	client := k.Client
	// A format that was interrupted has left something behind.
	left := filepath.Join(r.Host.Dir, "volumes", kafka.Pod(k.Spec, 0).VolumeID(), "format")
	must(t, os.MkdirAll(left, 0o700))
	must(t, os.WriteFile(filepath.Join(left, "meta.properties"), []byte("version=1\n"), 0o600))
	r.start(k.Service)
	mark := time.Now()
	lap := func(what string) {
		t.Logf("kafka: %s %s", what, time.Since(mark).Round(time.Millisecond))
		mark = time.Now()
	}
	if got := listeners(t, k.Process.PID()); len(got) != 2 {
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
	if f := wrong.Observe(ctx, time.Now()); f.Authenticated.Known || !strings.Contains(f.Authenticated.Why, client.Address) {
		t.Errorf("a wrong password: got %+v, want unknown with the address", f.Authenticated)
	}
	lap("two refusals")
	kc, err := kgo.NewClient(kgo.SeedBrokers(client.Address), kgo.SASL(scram.Auth{User: client.User, Pass: client.Password}.AsSha512Mechanism()), kgo.DefaultProduceTopic("p.departures"))
	must(t, err)
	must(t, kc.ProduceSync(ctx, kgo.StringRecord("before the kill")).FirstErr())
	kc.Close()
	lap("one record produced")

	again(t, k.Service, func() {})
	reader, err := kgo.NewClient(kgo.SeedBrokers(client.Address), kgo.SASL(scram.Auth{User: client.User, Pass: client.Password}.AsSha512Mechanism()), kgo.ConsumeTopics("p.departures"))
	must(t, err)
	defer reader.Close()
	got := reader.PollFetches(ctx)
	must(t, got.Err())
	if n := got.NumRecords(); n != 1 {
		t.Errorf("%d records after the kill, want 1", n)
	}
	stop(t, k.Service)
}

func TestRealCassandraIsStartedSecuredUsedKilledAndStartedAgain(t *testing.T) {
	r := NewRig(t)
	node := r.newCassandra()
	client, spec := node.Client, node.Spec
	r.start(node.Service)
	if got := listeners(t, node.Process.PID()); len(got) != 2 {
		t.Errorf("the node listens on %v, want its client and its storage port alone", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stranger := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: client.TLS.RootCAs}
	if conn, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: stranger}).DialContext(ctx, "tcp", client.Address); err == nil {
		if _, _, err := exchange(conn); err == nil {
			t.Error("a client without a certificate is answered")
		}
		conn.Close() // the node has closed it already
	}
	start := time.Now()
	must(t, client.CreateRole(ctx))
	must(t, client.CreateRole(ctx)) // idempotent
	must(t, client.DisableDefault(ctx, node.defaultPassword))
	must(t, client.DisableDefault(ctx, node.defaultPassword))
	t.Logf("cassandra: access %s", time.Since(start).Round(time.Millisecond))
	f := client.Observe(ctx, time.Now())
	if ok, why := cassandra.Usable(spec, f); !ok {
		t.Fatal(why)
	}
	wrong, nobody := client, client
	wrong.Password, nobody.Address = "wrong", "127.0.0.1:1"
	if f := wrong.Observe(ctx, time.Now()); !f.Authenticated.Known || f.Authenticated.Value || len(f.Nodes.Value) != 1 {
		t.Errorf("a wrong password: got %+v, want a node that is up and refuses", f)
	}
	if f := nobody.Observe(ctx, time.Now()); f.Authenticated.Known || f.Nodes.Known || !strings.Contains(f.Nodes.Why, nobody.Address) {
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

	again(t, node.Service, func() {
		if f := client.Observe(ctx, time.Now()); f.Nodes.Known || f.Authenticated.Known {
			t.Errorf("after the kill: got %+v, want a session that was kept to prove nothing", f)
		}
	})
	must(t, lifecycle.Poll(ctx, lifecycle.Backoff{Min: 25 * time.Millisecond, Max: 25 * time.Millisecond}, func(ctx context.Context) (bool, string, error) {
		ok, why := cassandra.Usable(spec, client.Observe(ctx, time.Now()))
		return ok, why, nil
	}))
	s = session(t, client)
	defer s.Close()
	var n int64
	must(t, s.Query(`SELECT flights FROM flights."Delays" WHERE origin = 'ORD'`).WithContext(ctx).Scan(&n))
	if n != 7 {
		t.Errorf("after the kill flights is %d, want 7", n)
	}
	stop(t, node.Service)
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
