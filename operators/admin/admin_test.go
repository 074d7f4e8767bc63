package admin

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// broker is a kfake that asks for SCRAM, which it checks by franz-go's own code.
func broker(t *testing.T) Kafka {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "weir", "right"))
	must(t, err)
	t.Cleanup(c.Close)
	return Kafka{Address: c.ListenAddrs()[0], User: "weir", Password: "right"}
}

func TestTopicsAreMadeChangedAndReadBack(t *testing.T) {
	k := broker(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	want := []operators.Topic{{Name: "a", Partitions: 3, Replication: 1, Settings: map[string]string{"cleanup.policy": "compact"}}, {Name: "b", Partitions: 1, Replication: 1}}
	must(t, k.EnsureTopics(ctx, want))
	want[0].Settings["cleanup.policy"] = "delete"
	must(t, k.EnsureTopics(ctx, want))
	f := k.Observe(ctx, time.Now())
	if !f.Authenticated.Known || !f.Authenticated.Value || len(f.Brokers.Value) != 1 || !f.Topics.Known {
		t.Fatalf("got %+v", f)
	}
	for _, w := range want {
		if d := w.Differs(f.Topics.Value[w.Name]); d != "" {
			t.Errorf("%s: %s", w.Name, d)
		}
	}
	want[1].Partitions = 2
	if err := k.EnsureTopics(ctx, want); err == nil || !strings.Contains(err.Error(), "partitions are 1 and should be 2") {
		t.Errorf("other partitions: %v", err)
	}
}

func TestWhatCannotBeReadIsUnknownWithItsCause(t *testing.T) {
	k := broker(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	k.Password = "wrong"
	start := time.Now()
	f := k.Observe(ctx, start)
	if f.Authenticated.Known || !strings.Contains(f.Authenticated.Why, k.Address) || strings.Contains(f.Authenticated.Why, "wrong") {
		t.Errorf("a wrong password: %+v", f.Authenticated)
	}
	k.Address = "127.40.0.9:1"
	f = k.Observe(ctx, start)
	if f.Brokers.Known || !strings.Contains(f.Brokers.Why, "refused") || time.Since(start) > 5*time.Second {
		t.Errorf("nobody there: %+v after %s", f.Brokers, time.Since(start))
	}
}

// The frames that a login needs, of the native protocol.
const (
	opError        = 0x00
	opStartup      = 0x01
	opAuthenticate = 0x03
	opOptions      = 0x05
	opSupported    = 0x06
	opAuthResponse = 0x0F
	opAuthSuccess  = 0x10
)

// node lets the password in, cannot read the roles for the password "unread", and answers each query with an error.
func node(t *testing.T, config *tls.Config, password string) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.40.0.3:0", config)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn, password)
		}
	}()
	return l.Addr().String()
}

func serve(conn net.Conn, password string) {
	defer conn.Close()
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[5:]))
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		op, answer := answerTo(head[4], body, password)
		frame := append([]byte{0x84, 0, head[2], head[3], op}, binary.BigEndian.AppendUint32(nil, uint32(len(answer)))...)
		if _, err := conn.Write(append(frame, answer...)); err != nil {
			return
		}
	}
}

func answerTo(op byte, body []byte, password string) (byte, []byte) {
	text := func(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }
	failure := func(code uint32, why string) (byte, []byte) {
		return opError, append(binary.BigEndian.AppendUint32(nil, code), text(why)...)
	}
	_, got, _ := strings.Cut(strings.TrimLeft(string(body), "\x00"), "weir\x00")
	switch {
	case op == opOptions:
		return opSupported, []byte{0, 0}
	case op == opStartup:
		return opAuthenticate, text("org.apache.cassandra.auth.PasswordAuthenticator")
	case op != opAuthResponse:
		return failure(0x000A, "oh no")
	case got == password:
		return opAuthSuccess, binary.BigEndian.AppendUint32(nil, 0xffffffff)
	case got == "unread":
		return failure(0x0100, "Unable to perform authentication: Cannot achieve consistency level QUORUM")
	}
	return failure(0x0100, "Provided username weir and/or password are incorrect")
}

// mutual is the client's and the node's side of mutual TLS.
func mutual(t *testing.T) (client, server *tls.Config) {
	t.Helper()
	ca, err := security.NewCA("weir", time.Now(), rand.Reader)
	must(t, err)
	issue := func(name string, server bool) *tls.Config {
		b, err := ca.Issue(security.Request{CN: name, Role: security.RoleCassandra, IPs: []net.IP{net.ParseIP("127.40.0.3")}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), ClientAuth: true, ServerAuth: server})
		must(t, err)
		c, err := security.ServiceTLS(b)
		must(t, err)
		return c
	}
	client, server = issue("weir", false), issue("serving-0", true)
	server.ClientCAs, server.ClientAuth = server.RootCAs, tls.RequireAndVerifyClientCert
	return client, server
}

func TestARefusedLoginIsToldFromABrokenOne(t *testing.T) {
	client, server := mutual(t)
	c := Cassandra{Address: node(t, server, "right"), TLS: client, User: "weir", Password: "right"}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(t, c.login(ctx))
	if err := c.as("weir", "other").login(ctx); !errors.Is(err, errRefused) || strings.Contains(err.Error(), "other") {
		t.Errorf("another password: %v, want a refusal without it", err)
	}
	stranger, nobody := c, c
	stranger.TLS, nobody.Address = &tls.Config{RootCAs: client.RootCAs}, "127.40.0.3:1"
	for what, c := range map[string]Cassandra{"roles that the node could not read": c.as("weir", "unread"), "no certificate": stranger, "nobody there": nobody} {
		if err := c.login(ctx); err == nil || errors.Is(err, errRefused) {
			t.Errorf("%s: %v, want a failure that is no refusal", what, err)
		}
	}
	f := c.Observe(ctx, time.Now())
	if f.Authenticated.Known || f.DefaultOff.Known || !strings.Contains(f.Tables.Why, "oh no") || !strings.Contains(f.Tables.Why, c.Address) {
		t.Errorf("queries that fail: %+v", f)
	}
	c.Password = "other"
	if f := c.Observe(ctx, time.Now()); f.Authenticated.Value || !f.Authenticated.Known || len(f.Nodes.Value) != 1 {
		t.Errorf("a refusal says that the node is up and the role not there: %+v", f)
	}
}

func TestANodeThatIsSilentIsAskedNoLongerThanTheContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.40.0.3:0")
	must(t, err)
	defer func() { must(t, l.Close()) }()
	client, _ := mutual(t)
	c := Cassandra{Address: l.Addr().String(), TLS: client, User: "weir", Password: "right"}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if f := c.Observe(ctx, start); f.Nodes.Known || !strings.Contains(f.Nodes.Why, "deadline exceeded") || time.Since(start) > dialTimeout {
		t.Errorf("got %+v after %s, want unknown at the deadline", f.Nodes, time.Since(start))
	}
}

func TestANodeWithoutADefaultAccountIsNotWaitedForLong(t *testing.T) {
	client, server := mutual(t)
	c := Cassandra{Address: node(t, server, "somebody else's"), TLS: client, User: "weir", Password: "right"}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := c.CreateRole(ctx); err == nil || !strings.Contains(err.Error(), "create role weir") || !strings.Contains(err.Error(), c.Address) {
		t.Errorf("got %v", err)
	}
}

func TestAReplicationIsReadOfBothStrategies(t *testing.T) {
	simple := keyspace("a", map[string]string{"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "1"})
	named := keyspace("b", map[string]string{"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "dc1": "3"})
	if simple != (operators.Keyspace{Name: "a", Replication: 1}) || named != (operators.Keyspace{Name: "b", Replication: 3, DC: "dc1"}) {
		t.Errorf("got %+v and %+v", simple, named)
	}
}

func TestCredentialsFitWhatTheyAreFor(t *testing.T) {
	c, err := NewKafkaCredentials(rand.Reader)
	must(t, err)
	if len(c.ClusterID) != 22 || c.ClusterID[0] == '-' || c.BrokerPassword == c.ClientPassword {
		t.Errorf("got %d characters of cluster id", len(c.ClusterID))
	}
	ca, err := security.NewCA("weir", time.Now(), rand.Reader)
	must(t, err)
	s, err := c.Secrets(ca, "events-0", operators.Placement{Address: "127.0.0.1"}, time.Now())
	must(t, err)
	if !strings.Contains(s.BrokerScram, "name=broker") || !strings.Contains(s.ClientScram, "name=weir") || !strings.Contains(string(s.NodePEM), "PRIVATE KEY") {
		t.Error("a broker's secrets lack a part")
	}
	if _, err := c.Secrets(ca, "events-0", operators.Placement{Address: "here"}, time.Now()); err == nil || !strings.Contains(err.Error(), `"here"`) {
		t.Errorf("an address that is none: %v", err)
	}
}
