package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// realKafka is a broker that runs: WEIR_TEST_KAFKA is its host:port, WEIR_TEST_KAFKA_USER and _PASSWORD a user with all rights. The topics of the
// tests are deleted and made again in it.
func realKafka(t testing.TB) (physical.Connection, []kgo.Opt) {
	t.Helper()
	server, user, password := os.Getenv("WEIR_TEST_KAFKA"), os.Getenv("WEIR_TEST_KAFKA_USER"), os.Getenv("WEIR_TEST_KAFKA_PASSWORD")
	if server == "" {
		t.Skip("set WEIR_TEST_KAFKA to the host:port of a Kafka 4.3, and WEIR_TEST_KAFKA_USER and WEIR_TEST_KAFKA_PASSWORD, to run against it")
	}
	conn := physical.Connection{Operator: "kafka", Servers: []string{server}, User: user, Password: password}
	opts := []kgo.Opt{kgo.SeedBrokers(server)}
	if user != "" {
		opts = append(opts, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
	}
	makeTopics(t, opts, map[string]int32{outTopic: outParts, marks: 1, changes: 12, boxes: 12})
	return conn, opts
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

// settle waits until the slot's last transaction is visible: an answered EndTxn does not say so, an initialised producer does (recipes 1.5).
func settle(t testing.TB, l *txnLog) {
	t.Helper()
	if _, err := l.Recover(testContext(t), 1, 1_000_000); err != nil {
		t.Fatal(err)
	}
}

func dialReal(t testing.TB, conn physical.Connection) *Client {
	t.Helper()
	c, err := Dial(conn, "weir-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
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

// TestAgainstARealKafka commits from one slot that is taken over at random, while the broker is killed once if WEIR_TEST_KAFKA_CRASH is a command
// that does that and starts it again.
func TestAgainstARealKafka(t *testing.T) {
	conn, opts := realKafka(t)
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	const numbers = 3000
	var crash sync.WaitGroup
	defer crash.Wait()
	crashed := os.Getenv("WEIR_TEST_KAFKA_CRASH") == ""
	errorsSeen := map[string]int{}
	at, term := 0, uint64(0)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	for at < numbers {
		term++
		c := dialReal(t, conn)
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
			if !crashed && at > numbers/3 {
				crashed = true
				crash.Go(func() {
					if out, err := exec.Command("sh", "-c", os.Getenv("WEIR_TEST_KAFKA_CRASH")).CombinedOutput(); err != nil {
						t.Errorf("crash the broker: %v: %s", err, out)
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
	t.Logf("%d terms, errors %v", term, errorsSeen)
	seen := map[string]int{}
	c := dialReal(t, conn)
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

func TestAZombieOfARealKafkaIsFenced(t *testing.T) {
	conn, opts := realKafka(t)
	ctx := testContext(t)
	old := logOf(dialReal(t, conn), 0)
	if _, err := old.Recover(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	zombie := &outgoing{place: place{outTopic, 0}, records: &checkpoint.Records{}}
	zombie.records.Append([]byte("666"), []byte(row(666)), 1666)
	if err := old.producer.begin(ctx, []place{zombie.place}); err != nil {
		t.Fatal(err)
	}
	if err := old.producer.write(ctx, []*outgoing{zombie}); err != nil {
		t.Fatal(err)
	}
	heir := logOf(dialReal(t, conn), 0)
	if _, err := heir.Recover(ctx, 1, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Commit(ctx, commitOf(old, 1, 666)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("the zombie's commit: %v, want %v", err, checkpoint.ErrFenced)
	}
	if _, err := heir.Commit(ctx, commitOf(heir, 1, 1)); err != nil {
		t.Fatal(err)
	}
	c := dialReal(t, conn)
	settle(t, heir)
	if got := committedRows(t, c, opts); len(got) != 1 || got[0].key != "1" {
		t.Errorf("visible: %v, want row 1", got)
	}
	if got := readRows(t, c, 1); !slices.Equal(got, []int64{1}) {
		t.Errorf("our reader shows %v, want [1]", got)
	}
}

func TestAWrongPasswordIsRefusedAtOnce(t *testing.T) {
	conn, _ := realKafka(t)
	if conn.User == "" {
		t.Skip("WEIR_TEST_KAFKA_USER is not set: this broker asks nobody")
	}
	conn.Password += "x"
	began := time.Now()
	_, err := dialReal(t, conn).Partitions(testContext(t), outTopic)
	if !errors.Is(err, kafkago.SASLAuthenticationFailed) || time.Since(began) > retryFor/2 {
		t.Errorf("after %s: %v, want %v", time.Since(began), err, kafkago.SASLAuthenticationFailed)
	}
}

// TestMeasure prints figures; it runs only when WEIR_TEST_MEASURE is set.
func TestMeasure(t *testing.T) {
	if os.Getenv("WEIR_TEST_MEASURE") == "" {
		t.Skip("set WEIR_TEST_MEASURE to print figures")
	}
	conn, _ := realKafka(t)
	c := dialReal(t, conn)
	measureVolume(t, c)
	measureCommits(t, conn)
}

func measureVolume(t *testing.T, c *Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	l := logOf(c, 0)
	if _, err := l.Recover(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	const perCommit, commits = 40_000, 25
	value := []byte(`{"id":1,"text":"` + string(make100()) + `"}`)
	r := &checkpoint.Records{}
	for range perCommit / outParts {
		r.Append(nil, value, 5)
	}
	start, before := time.Now(), cpu()
	for e := range commits {
		commit := commitOf(l, uint64(e+1))
		for p := range int32(outParts) {
			commit.Outputs[outTopic][p] = r
		}
		if _, err := l.Commit(ctx, commit); err != nil {
			t.Fatal(err)
		}
	}
	report(t, "produce, encoding included", perCommit*commits, time.Since(start), cpu()-before)
	settle(t, l)
	raw := func(name string, read func(p int32, end int64) int) {
		start, before, n := time.Now(), cpu(), 0
		for p := range int32(outParts) {
			end, err := c.Latest(ctx, outTopic, p)
			if err != nil {
				t.Fatal(err)
			}
			n += read(p, end)
		}
		report(t, name, n, time.Since(start), cpu()-before)
	}
	raw("fetch, CRC, columns of spans", func(p int32, end int64) int {
		n := 0
		tail := newTail(c, outTopic, p, 0)
		for tail.next < end {
			ok, err := tail.load()
			if err == nil && ok {
				n += tail.cols.Len()
				tail.took(tail.cols.Len())
			} else if err == nil && tail.next < end {
				err = tail.fill(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return n
	})
	raw("fetch and JSON rows to columns", func(p int32, end int64) int {
		r, err := Channel(c, outChannel).Open(ctx, splitOf(p), checkpoint.Position{})
		if err != nil {
			t.Fatal(err)
		}
		n, b := 0, column.NewBatch(&rowSchema, 4096)
		for at := int64(0); at < end; {
			b.Reset()
			pos, err := r.Read(ctx, b, 4096)
			if err != nil {
				t.Fatal(err)
			}
			at, n = pos.Offset, n+b.Len()
		}
		return n
	})
}

func report(t *testing.T, name string, n int, wall, used time.Duration) {
	t.Logf("%-45s %8d messages, %.2f M/s, client CPU %d ns/message", name, n, float64(n)/wall.Seconds()/1e6, used.Nanoseconds()/int64(n))
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func make100() []byte {
	out := make([]byte, 80)
	for i := range out {
		out[i] = 'a' + byte(i%26)
	}
	return out
}

// measureCommits commits once a second from twelve slots of one client.
func measureCommits(t *testing.T, conn physical.Connection) {
	const slots, rounds = 12, 30
	c := dialReal(t, conn)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var took, recovered []time.Duration
	var all sync.WaitGroup
	start, before := time.Now(), cpu()
	for i := range slots {
		all.Go(func() {
			l := logOf(c, i)
			began := time.Now()
			if _, err := l.Recover(ctx, 2, 2_000_000); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			recovered = append(recovered, time.Since(began))
			mu.Unlock()
			if err := lifecycle.Sleep(ctx, time.Duration(i)*time.Second/slots); err != nil { // slots that began at once would commit at once
				t.Error(err)
				return
			}
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for e := range rounds {
				commit := commitOf(l, uint64(e+1), ids(100)...)
				for k := range 20 {
					commit.State = append(commit.State, checkpoint.KV{Key: []byte{byte(k)}, Value: make([]byte, 50)})
				}
				began := time.Now()
				if _, err := l.Commit(ctx, commit); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
				<-tick.C
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	slices.Sort(recovered)
	at := func(d []time.Duration, q float64) time.Duration {
		return d[int(q*float64(len(d)-1))].Round(10 * time.Microsecond)
	}
	if len(took) == 0 {
		t.Fatal("no commit succeeded")
	}
	t.Logf("%d commits of %d slots: p50 %s, p95 %s, p99 %s, max %s; recover p50 %s, max %s; client CPU %.3f cores", len(took), slots, at(took, 0.5), at(took, 0.95), at(took, 0.99), at(took, 1),
		at(recovered, 0.5), at(recovered, 1), (cpu()-before).Seconds()/time.Since(start).Seconds())
}

func ids(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
