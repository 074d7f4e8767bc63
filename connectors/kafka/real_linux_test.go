package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-project/weir/connectors/connectortest"
	"github.com/weir-project/weir/operators/operatortest"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/physical"
)

// realKafka is a broker of its own for a test, and how both clients reach it.
type realKafka struct {
	*operatortest.Kafka
	conn physical.Connection
	opts []kgo.Opt // of the other client
}

func startKafka(t testing.TB) realKafka {
	t.Helper()
	k := operatortest.NewRig(t).Kafka()
	c := k.Client
	return realKafka{Kafka: k, conn: physical.Connection{Operator: "kafka", Servers: []string{c.Address}, User: c.User, Password: c.Password},
		opts: []kgo.Opt{kgo.SeedBrokers(c.Address), kgo.SASL(scram.Auth{User: c.User, Pass: c.Password}.AsSha512Mechanism())}}
}

// empty makes the topics of the tests anew.
func (k realKafka) empty(t testing.TB) {
	t.Helper()
	makeTopics(t, k.opts, map[string]int32{outTopic: outParts, marks: 1, changes: 12, boxes: 12})
}

func makeTopics(t testing.TB, opts []kgo.Opt, topics map[string]int32) {
	t.Helper()
	ctx := testContext(t)
	admin, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for name := range topics {
		del := kmsg.NewPtrDeleteTopicsRequest()
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		del.Topics, del.TopicNames, del.TimeoutMillis = append(del.Topics, topic), []string{name}, 10_000
		if _, err := del.RequestWith(ctx, admin); err != nil {
			t.Fatal(err)
		}
	}
	for name, n := range topics {
		for code := int16(-1); code != 0; {
			req := kmsg.NewPtrCreateTopicsRequest()
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, n, 1
			req.Topics, req.TimeoutMillis = append(req.Topics, topic), 10_000
			res, err := req.RequestWith(ctx, admin)
			if err != nil {
				t.Fatal(err)
			}
			if code = res.Topics[0].ErrorCode; code != 0 && !errors.Is(kerr.ErrorForCode(code), kerr.TopicAlreadyExists) {
				t.Fatalf("create %s: %v", name, kerr.ErrorForCode(code))
			}
		}
	}
}

// settle waits until the slot's last transaction is visible: an answered EndTxn does not say so, an initialised producer does.
func settle(t testing.TB, l *txnLog) {
	t.Helper()
	if _, err := l.Recover(testContext(t), 1, 1_000_000); err != nil {
		t.Fatal(err)
	}
}

// committedRows reads what is visible with franz-go up to the ends that our client lists.
func committedRows(t testing.TB, c *Client, opts []kgo.Opt) []rec {
	t.Helper()
	ctx := testContext(t)
	ends := map[int32]int64{}
	for p := range int32(outParts) {
		end, err := c.Latest(ctx, outTopic, p)
		if err != nil {
			t.Fatal(err)
		}
		ends[p] = end
	}
	return readTo(ctx, t, nil, outTopic, ends, opts...)
}

func TestARealKafka(t *testing.T) {
	k := startKafka(t)
	t.Run("every number is there once though owners change and the broker is killed", func(t *testing.T) { ownersAndKills(t, k) })
	t.Run("a zombie is fenced", func(t *testing.T) { zombie(t, k) })
	t.Run("a channel keeps every claim", func(t *testing.T) {
		fill := func(t testing.TB, topic string) []kgo.Opt {
			makeTopics(t, k.opts, map[string]int32{topic: 1})
			return k.opts
		}
		connectortest.TestSource(t, channelOf(k.conn, fill, func() error {
			if err := k.Kill(); err != nil {
				return err
			}
			return k.Start(t.Context())
		}))
	})
	t.Run("a wrong password is refused at once", func(t *testing.T) { wrongPassword(t, k) })
}

// ownersAndKills commits from one slot that is taken over at random, while the broker is killed twice and starts again.
func ownersAndKills(t *testing.T, k realKafka) {
	k.empty(t)
	conn, opts := k.conn, k.opts
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	const numbers, kills = 3000, 2
	killed := 0
	var crash sync.WaitGroup
	defer crash.Wait()
	errorsSeen := map[string]int{}
	at, term := 0, uint64(0)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	for at < numbers {
		term++
		c := dialTo(t, conn)
		l := logOf(c, 0)
		found, err := l.Recover(ctx, 1, term)
		if err != nil {
			errorsSeen[fmt.Sprintf("recover: code %d", code(err))]++
			t.Logf("term %d: %v", term, err)
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			continue
		}
		at = 0
		if found.Progress != nil {
			at = int(found.Progress.Positions["Read|0"].Offset)
		}
		for left := 1 + rnd.IntN(40); at < numbers && left > 0; left-- {
			var ids []int
			for n := 1 + rnd.IntN(9); n > 0 && at < numbers; n-- {
				ids, at = append(ids, at), at+1
			}
			if killed < kills && at > (killed+1)*numbers/(kills+1) {
				killed++
				crash.Wait()
				crash.Go(func() {
					if err := errors.Join(k.Kill(), k.Start(ctx)); err != nil {
						t.Errorf("kill -9 and start: %v", err)
					}
				})
			}
			commit := commitOf(l, uint64(at), ids...)
			commit.Progress.Positions["Read|0"] = checkpoint.Position{Offset: int64(at)}
			if _, err := l.Commit(ctx, commit); err != nil {
				errorsSeen[fmt.Sprintf("commit: code %d", code(err))]++
				t.Logf("term %d: %v", term, err)
				break
			}
		}
	}
	crash.Wait()
	t.Logf("%d terms, %d kills, errors %v", term, killed, errorsSeen)
	if killed != kills {
		t.Errorf("the broker was killed %d times, want %d", killed, kills)
	}
	seen := map[string]int{}
	c := dialTo(t, conn)
	settle(t, logOf(c, 0))
	for _, r := range committedRows(t, c, opts) {
		seen[r.key]++
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	if len(seen) != numbers {
		t.Errorf("%d numbers are visible, want %d", len(seen), numbers)
	}
	if got := readRows(t, c, numbers); len(got) != numbers || got[0] != 0 || got[numbers-1] != numbers-1 {
		t.Errorf("our reader shows %d rows", len(got))
	}
}

func zombie(t *testing.T, k realKafka) {
	k.empty(t)
	conn, opts := k.conn, k.opts
	ctx := testContext(t)
	old := logOf(dialTo(t, conn), 0)
	if _, err := old.Recover(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	stray := &outgoing{place: place{outTopic, 0}, records: &checkpoint.Records{}}
	stray.records.Append([]byte("666"), []byte(row(666)), 1666)
	if err := old.producer.begin(ctx, []place{stray.place}); err != nil {
		t.Fatal(err)
	}
	if err := old.producer.write(ctx, []*outgoing{stray}); err != nil {
		t.Fatal(err)
	}
	heir := logOf(dialTo(t, conn), 0)
	if _, err := heir.Recover(ctx, 1, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Commit(ctx, commitOf(old, 1, 666)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("the zombie's commit: %v, want %v", err, checkpoint.ErrFenced)
	}
	if _, err := heir.Commit(ctx, commitOf(heir, 1, 1)); err != nil {
		t.Fatal(err)
	}
	c := dialTo(t, conn)
	settle(t, heir)
	if got := committedRows(t, c, opts); len(got) != 1 || got[0].key != "1" {
		t.Errorf("visible: %v, want row 1", got)
	}
	if got := readRows(t, c, 1); !slices.Equal(got, []int64{1}) {
		t.Errorf("our reader shows %v, want [1]", got)
	}
}

func wrongPassword(t *testing.T, k realKafka) {
	conn := k.conn
	conn.Password += "x"
	began := time.Now()
	_, err := dialTo(t, conn).Partitions(testContext(t), outTopic)
	if !errors.Is(err, kafkago.SASLAuthenticationFailed) || time.Since(began) > retryFor/2 {
		t.Errorf("after %s: %v, want %v", time.Since(began), err, kafkago.SASLAuthenticationFailed)
	}
}
