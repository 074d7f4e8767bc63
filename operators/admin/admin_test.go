package admin

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
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

func TestAServerThatDoesNotKnowThePasswordIsRefused(t *testing.T) {
	m, first, err := scramSHA512{user: "a=b,c", password: "p"}.Start(t.Context())
	must(t, err)
	if !strings.HasPrefix(string(first), "n,,n=a=3Db=2Cc,r=") {
		t.Errorf("first message %q", first)
	}
	nonce := scramFields(string(first[3:]))["r"]
	_, final, err := m.Next(t.Context(), []byte("r="+nonce+"x,s=c2FsdA==,i=4096"))
	must(t, err)
	if !strings.HasPrefix(string(final), "c=biws,r="+nonce+"x,p=") {
		t.Errorf("final message %q", final)
	}
	if done, _, err := m.Next(t.Context(), []byte("v=AAAA")); done || err == nil {
		t.Error("a wrong signature was accepted")
	}
	for _, challenge := range []string{"e=unknown-user", "r=other,s=c2FsdA==,i=4096", "r=" + nonce + "x,s=c2FsdA==,i=1", "r=" + nonce + "x,s=!,i=4096", "r=" + nonce + ",s=c2FsdA==,i=4096", "r=" + nonce + "x,s=c2FsdA==,i=99999999"} {
		m := &scramSession{password: "p", nonce: nonce}
		if _, _, err := m.Next(t.Context(), []byte(challenge)); err == nil {
			t.Errorf("challenge %q was accepted", challenge)
		}
	}
}

// node answers a login and then, for each query, the given frames.
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
			serve(conn, password)
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
		op, answer := byte(opError), []byte("\x00\x00\x00\x0a\x00\x05oh no")
		switch {
		case head[4] == opStartup:
			op, answer = opAuthenticate, nil
		case head[4] == opAuthResponse && strings.HasSuffix(string(body), "\x00"+password):
			op, answer = opAuthSuccess, nil
		case head[4] == opAuthResponse:
			answer = []byte("\x00\x00\x01\x00\x00\x03bad")
		}
		frame := binary.BigEndian.AppendUint32([]byte{0x84, 0, 0, 0, op}, uint32(len(answer)))
		if _, err := conn.Write(append(frame, answer...)); err != nil {
			return
		}
	}
}

func TestARefusedLoginIsToldFromABrokenOne(t *testing.T) {
	ca, err := security.NewCA("weir", time.Now(), rand.Reader)
	must(t, err)
	issue := func(name string, server bool) *tls.Config {
		b, err := ca.Issue(security.Request{CN: name, Role: security.RoleCassandra, IPs: []net.IP{net.ParseIP("127.40.0.3")}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), ClientAuth: true, ServerAuth: server})
		must(t, err)
		c, err := CassandraTLS(b)
		must(t, err)
		c.ClientCAs, c.ClientAuth = c.RootCAs, tls.RequireAndVerifyClientCert
		return c
	}
	client := issue("weir", false)
	c := Cassandra{Address: node(t, issue("serving-0", true), "right"), TLS: client, User: "weir", Password: "right"}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	must(t, login(ctx, c.Address, client, "weir", "right"))
	if err := login(ctx, c.Address, client, "weir", "other"); !errors.Is(err, errRefused) {
		t.Errorf("another password: %v, want a refusal", err)
	}
	if err := login(ctx, c.Address, &tls.Config{RootCAs: client.RootCAs}, "weir", "right"); err == nil || errors.Is(err, errRefused) {
		t.Errorf("without a certificate: %v, want a failure that is no refusal", err)
	}
	if err := login(ctx, "127.40.0.3:1", client, "weir", "right"); err == nil || errors.Is(err, errRefused) {
		t.Errorf("nobody there: %v", err)
	}
	f := c.Observe(ctx, time.Now())
	if !f.Authenticated.Value || f.DefaultOff.Known || !strings.Contains(f.DefaultOff.Why, "oh no") || !strings.Contains(f.Tables.Why, c.Address) {
		t.Errorf("queries that fail: %+v", f)
	}
	c.Password = "other"
	if f := c.Observe(ctx, time.Now()); f.Authenticated.Value || !f.Authenticated.Known || len(f.Nodes.Value) != 1 {
		t.Errorf("a refusal says that the node is up and the role not there: %+v", f)
	}
}

func TestANodeWithoutADefaultAccountIsNotWaitedForLong(t *testing.T) {
	ca, err := security.NewCA("weir", time.Now(), rand.Reader)
	must(t, err)
	b, err := ca.Issue(security.Request{CN: "both", Role: security.RoleCassandra, IPs: []net.IP{net.ParseIP("127.40.0.3")}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), ClientAuth: true, ServerAuth: true})
	must(t, err)
	config, err := CassandraTLS(b)
	must(t, err)
	c := Cassandra{Address: node(t, config, "somebody else's"), TLS: config, User: "weir", Password: "right"}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := c.CreateRole(ctx); err == nil || !strings.Contains(err.Error(), "create role weir") || !strings.Contains(err.Error(), c.Address) {
		t.Errorf("got %v", err)
	}
}

func TestRowsAreDecodedAndBrokenOnesRefused(t *testing.T) {
	n := func(all ...int) []byte {
		var b []byte
		for _, v := range all {
			b = binary.BigEndian.AppendUint32(b, uint32(int32(v)))
		}
		return b
	}
	s := func(text string) []byte {
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
	}
	v := func(text string) []byte { return append(n(len(text)), text...) }
	good := slices.Concat(n(resultRows, globalSpec, 2), s("ks"), s("t"), s("a"), []byte{0, 0x0d}, s("b"), []byte{0, typeMap, 0, 0x0d, 0, 0x0d}, n(2), v("x"), n(-1), v(""), v("y"))
	got, err := rows(good)
	must(t, err)
	if len(got) != 2 || string(got[0][0]) != "x" || got[0][1] != nil || got[1][0] == nil || string(got[1][1]) != "y" {
		t.Errorf("got %q", got)
	}
	for cut := range len(good) {
		if _, err := rows(good[:cut]); err == nil {
			t.Errorf("an answer cut after %d of %d bytes was accepted", cut, len(good))
		}
	}
	m, err := textMap(slices.Concat(n(1), v("class"), v("Simple")))
	if err != nil || m["class"] != "Simple" {
		t.Errorf("map: %v %v", m, err)
	}
	for _, bad := range [][]byte{nil, n(1), slices.Concat(n(2), v("a"), v("b")), slices.Concat(n(1), n(-1), v("b"))} {
		if _, err := textMap(bad); err == nil {
			t.Errorf("map %x was accepted", bad)
		}
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
