package kafka

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/physical"
)

func TestLeadersAndCoordinatorsMayMove(t *testing.T) {
	k := cluster(t, 3)
	ctx, c := testContext(t), dial(t, k)
	l := logOf(c, 0)
	if _, err := l.Recover(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	rnd := mathrand.New(mathrand.NewPCG(1, 1))
	const epochs = 30
	for e := range epochs {
		if _, err := l.Commit(ctx, commitOf(l, uint64(e+1), 4*e, 4*e+1, 4*e+2, 4*e+3)); err != nil {
			t.Fatalf("epoch %d: %v", e+1, err)
		}
		k.RehashCoordinators()
		for p := range int32(outParts) {
			if err := k.MoveTopicPartition(outTopic, p, int32(rnd.IntN(3))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if wrong := mistakes(t, k.ListenAddrs(), 4*epochs); len(wrong) > 0 {
		t.Error(wrong)
	}
	if got := readRows(t, c, 4*epochs); len(got) != 4*epochs || got[4*epochs-1] != 4*epochs-1 {
		t.Errorf("our reader shows %v", got)
	}
}

func TestScramOpensWithThePassword(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "weir", "a,b=c"), kfake.SeedTopics(3, outTopic))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c, err := Dial(physical.Connection{Servers: k.ListenAddrs(), User: "weir", Password: "a,b=c"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Partitions(testContext(t), outTopic); err != nil || n != 3 {
		t.Errorf("%d partitions and %v, want 3", n, err)
	}
}

func TestTLSIsSpokenWhereACAIsGiven(t *testing.T) {
	ca, err := security.NewCA("test", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := ca.Issue(security.Request{CN: "kafka", Role: security.RoleKafka, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), ServerAuth: true})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := bundle.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}), kfake.SeedTopics(3, outTopic))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c, err := Dial(physical.Connection{Servers: k.ListenAddrs(), CA: ca.CertPEM()}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Partitions(testContext(t), outTopic); err != nil || n != 3 {
		t.Errorf("%d partitions and %v, want 3", n, err)
	}
	if _, err := Dial(physical.Connection{Servers: k.ListenAddrs(), CA: []byte("no PEM")}, "test"); err == nil {
		t.Error("a CA that is no PEM was taken")
	}
}

func TestAnErrorNamesWhatWasTriedAndWhere(t *testing.T) {
	k := cluster(t, 1)
	ctx, c := testContext(t), dial(t, k)
	if _, err := c.Latest(ctx, outTopic, 0); err != nil {
		t.Fatal(err)
	}
	tail := newTail(c, outTopic, 0, 99)
	err := tail.fillOnce(ctx)
	want := fmt.Sprintf("kafka: fetch offset 99 of %s/0 through broker 0 at %s: offset 99 is outside of the kept 0 to 0: [1] Offset Out Of Range", outTopic, k.ListenAddrs()[0])
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v\nwant  %s", err, want)
	}
}
