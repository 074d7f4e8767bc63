package operatortest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/kafka"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/resources"
)

// driven is a real Kafka that does what Decide says: a reconciler without a resource layer.
type driven struct {
	t        *testing.T
	k        *Kafka
	spec     operators.ServiceSpec
	brokers  map[int]*Service
	killing  map[int]bool
	attempts map[string]operators.Attempt
	tasks    map[string]operators.Task
}

func drive(t *testing.T, k *Kafka) *driven {
	d := &driven{t: t, k: k, spec: k.Spec, brokers: map[int]*Service{0: k.Service}, killing: map[int]bool{}, attempts: map[string]operators.Attempt{}, tasks: map[string]operators.Task{}}
	d.tasks[k.Spec.PodName(0)] = operators.Task{ID: "first", State: resources.Running, Revision: k.Spec.PodRevision(), Attempt: 1, Since: time.Now()}
	return d
}

// observe sees which processes have ended, and asks the Kafka.
func (d *driven) observe(ctx context.Context) operators.Observed {
	for id, s := range d.brokers {
		pod := d.spec.PodName(id)
		if task := d.tasks[pod]; task.Live() && s.Process.Exited() {
			task.State, task.Since = resources.Failed, time.Now()
			if d.killing[id] {
				task.State = resources.Killed
			}
			d.tasks[pod] = task
			d.attempts[plan.LaunchID(pod)] = d.attempts[plan.LaunchID(pod)].Ended(task)
		}
	}
	now := time.Now()
	look, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	facts := d.k.Client.Observe(look, now)
	return operators.Observed{Now: time.Now(), Tasks: maps.Clone(d.tasks), Attempts: maps.Clone(d.attempts), Kafka: facts}
}

// to brings the Kafka to a size. after is called after each action that was carried out.
func (d *driven) to(ctx context.Context, size int, after func(step string)) {
	d.t.Helper()
	d.spec.Size = size
	start := time.Now()
	var last, was string
	for {
		p := kafka.Decide(d.spec, d.observe(ctx))
		last = p.String()
		if p.Summary() == plan.Done {
			d.t.Logf("to %d brokers: %s", size, time.Since(start).Round(time.Millisecond))
			return
		}
		if ctx.Err() != nil {
			d.t.Fatalf("to %d brokers: %v\n%s\n%s", size, context.Cause(ctx), last, d.k.Process.Output())
		}
		for _, s := range p.Candidates(time.Now()) {
			if err := d.carry(ctx, s); err != nil {
				d.attempts[s.ID] = d.attempts[s.ID].Failed(time.Now(), err.Error())
				d.t.Logf("%6s %s: %v", time.Since(start).Round(time.Millisecond), s.ID, err)
				continue
			}
			if text := s.ID + ": " + s.Action.String(); text != was {
				d.t.Logf("%6s %s", time.Since(start).Round(time.Millisecond), text)
				was = text
			}
			after(s.ID)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *driven) carry(ctx context.Context, s plan.Step) error {
	switch a := s.Action.(type) {
	case operators.Launch:
		id := a.Pod.Index
		if d.brokers[id] == nil {
			d.brokers[id] = d.k.Broker(id, d.spec.Size)
		}
		b := d.brokers[id]
		attempt := d.attempts[s.ID].Begin(time.Now(), a.Pod.TaskID(d.attempts[s.ID].Total+1, "x"))
		d.attempts[s.ID] = attempt
		p, err := b.host.Start(b.pod, b.task)
		if err != nil {
			return err
		}
		b.Process, d.killing[id] = p, false
		d.tasks[b.pod] = operators.Task{ID: attempt.Task, State: resources.Running, Revision: a.Pod.Revision, Attempt: attempt.Total, Since: time.Now()}
	case operators.Kill:
		task := d.tasks[a.Pod]
		task.State = resources.Killing
		d.tasks[a.Pod] = task
		for id, b := range d.brokers {
			if d.spec.PodName(id) == a.Pod {
				d.killing[id] = true
				return b.Process.End(syscall.SIGTERM, 30*time.Second)
			}
		}
	case operators.Admin:
		d.attempts[s.ID] = d.attempts[s.ID].Begin(time.Now(), "")
		if err := d.k.Client.Do(ctx, a); err != nil {
			return err
		}
		d.attempts[s.ID] = d.attempts[s.ID].Succeeded()
	}
	return nil
}

func (k *Kafka) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(k.Client.Address), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.SASL(scram.Auth{User: k.Client.User, Pass: k.Client.Password}.AsSha512Mechanism())}, opts...)...)
	must(t, err)
	return c
}

// traffic is what goes on beside a scale: a producer that waits for each acknowledgement, one whose every ten records are a transaction, and a
// reader in a group, whose offsets lie in one of Kafka's own topics.
type traffic struct {
	cancel    context.CancelFunc
	done      sync.WaitGroup
	mu        sync.Mutex // guards all below
	acked     map[string]bool
	committed map[string]bool
	read      map[string]int
	slowest   time.Duration // of an acknowledgement
	failed    []error
}

func (k *Kafka) traffic(t *testing.T) *traffic {
	ctx, cancel := context.WithCancel(t.Context())
	w := &traffic{cancel: cancel, acked: map[string]bool{}, committed: map[string]bool{}, read: map[string]int{}}
	plain := k.client(t, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DefaultProduceTopic("orders"), kgo.ProducerLinger(0))
	exact := k.client(t, kgo.TransactionalID("exact"), kgo.DefaultProduceTopic("exact"), kgo.TransactionTimeout(20*time.Second))
	reader := k.client(t, kgo.ConsumerGroup("counts"), kgo.ConsumeTopics("orders"), kgo.AutoCommitInterval(200*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	w.done.Go(func() { defer plain.Close(); w.produce(ctx, plain) })
	w.done.Go(func() { defer exact.Close(); w.transact(ctx, exact) })
	w.done.Go(func() { defer reader.Close(); w.consume(ctx, reader) })
	return w
}

func (w *traffic) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, err)
}

// produce: what was begun is finished, so that a record which is asked for is either acknowledged or an error.
func (w *traffic) produce(ctx context.Context, c *kgo.Client) {
	for i := 0; ctx.Err() == nil; i++ {
		id := strconv.Itoa(i)
		start := time.Now()
		if err := c.ProduceSync(context.WithoutCancel(ctx), kgo.KeySliceRecord([]byte(id), []byte(id))).FirstErr(); err != nil {
			w.fail(fmt.Errorf("produce %s: %w", id, err))
			return
		}
		w.mu.Lock()
		w.acked[id] = true
		w.slowest = max(w.slowest, time.Since(start))
		w.mu.Unlock()
		time.Sleep(2 * time.Millisecond) // a rate, not a wait
	}
}

func (w *traffic) transact(ctx context.Context, c *kgo.Client) {
	whole := context.WithoutCancel(ctx)
	for i := 0; ctx.Err() == nil; i++ {
		if err := c.BeginTransaction(); err != nil {
			w.fail(err)
			return
		}
		var ids []string
		for j := range 10 {
			id := fmt.Sprintf("%d-%d", i, j)
			ids = append(ids, id)
			c.Produce(whole, kgo.KeySliceRecord([]byte(id), []byte(id)), func(_ *kgo.Record, err error) {
				if err != nil {
					w.fail(fmt.Errorf("produce in a transaction: %w", err))
				}
			})
		}
		if err := c.Flush(whole); err != nil {
			w.fail(err)
			return
		}
		if err := c.EndTransaction(whole, kgo.TryCommit); err != nil {
			w.fail(fmt.Errorf("commit: %w", err))
			return
		}
		w.mu.Lock()
		for _, id := range ids {
			w.committed[id] = true
		}
		w.mu.Unlock()
		time.Sleep(20 * time.Millisecond) // a rate, not a wait
	}
}

func (w *traffic) consume(ctx context.Context, c *kgo.Client) {
	for ctx.Err() == nil {
		f := c.PollFetches(ctx)
		w.mu.Lock()
		f.EachRecord(func(r *kgo.Record) { w.read[string(r.Value)]++ })
		w.mu.Unlock()
	}
}

// end stops the traffic and compares it with what lies in the topics, read by a client of its own.
func (w *traffic) end(t *testing.T, k *Kafka) {
	t.Helper()
	w.cancel()
	w.done.Wait()
	for _, err := range w.failed {
		t.Error(err)
	}
	for topic, want := range map[string]map[string]bool{"orders": w.acked, "exact": w.committed} {
		got := k.all(t, topic, len(want))
		lost, twice := 0, 0
		for id := range want {
			if got[id] == 0 {
				lost++
			}
			if got[id] > 1 {
				twice++
			}
		}
		t.Logf("topic %s: %d records acknowledged, %d lost, %d twice", topic, len(want), lost, twice)
		if lost+twice > 0 || len(want) < 50 {
			t.Errorf("topic %s: %d of %d lost, %d twice", topic, lost, len(want), twice)
		}
	}
	missing := 0
	for id := range w.acked {
		if w.read[id] == 0 {
			missing++
		}
	}
	t.Logf("the group's reader saw %d records; the slowest acknowledgement took %s", len(w.read), w.slowest.Round(time.Millisecond))
	if missing > len(w.acked)/10 {
		t.Errorf("the group's reader misses %d of %d", missing, len(w.acked))
	}
}

// all reads a topic from its beginning until so many different records have come, at most 20 s, and then until nothing comes for a second: a record
// that is there twice may come last.
func (k *Kafka) all(t *testing.T, topic string, want int) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := k.client(t, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	got := map[string]int{}
	for ctx.Err() == nil {
		whole := len(got) >= want
		look, done := context.WithTimeout(ctx, time.Second)
		f := c.PollFetches(look)
		done()
		f.EachRecord(func(r *kgo.Record) { got[string(r.Value)]++ })
		if whole && f.NumRecords() == 0 {
			break
		}
	}
	return got
}

// TestRealKafkaGrowsAndShrinksUnderTraffic: 1 -> 2 -> 1 brokers, and with WEIR_VERIFY once more with the volume that was left and a kill -9 in the
// middle of the drain.
func TestRealKafkaGrowsAndShrinksUnderTraffic(t *testing.T) {
	k := NewRig(t).Kafka()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	must(t, k.Client.EnsureTopics(ctx, []operators.Topic{{Name: "orders", Partitions: 6, Replication: 1}, {Name: "exact", Partitions: 4, Replication: 1}}))
	w := k.traffic(t)
	d := drive(t, k)
	nothing := func(string) {}
	rounds := []func(string){nothing}
	if os.Getenv("WEIR_VERIFY") != "" {
		killed := false
		rounds = append(rounds, func(step string) {
			if step == d.spec.PodName(1)+":drain" && !killed {
				killed = true
				must(t, d.brokers[1].Kill())
				t.Log("kill -9 of broker 1 in the middle of its drain")
			}
		})
	}
	for _, after := range rounds {
		d.to(ctx, 2, nothing)
		f := k.Client.Observe(ctx, time.Now())
		wantSpread(t, f, 2)
		d.to(ctx, 1, after)
		f = k.Client.Observe(ctx, time.Now())
		wantSpread(t, f, 1)
		if ids := slices.Sorted(maps.Keys(f.Registered.Value)); !f.Registered.Known || !slices.Equal(ids, []int{0}) {
			t.Errorf("registered are %v (%s), want the first alone", ids, f.Registered.Reason())
		}
		if !d.brokers[1].Process.Exited() {
			t.Error("broker 1 runs")
		}
	}
	if d.tasks[k.Spec.PodName(0)].Attempt != 1 || k.Process.Exited() {
		t.Error("the first broker was restarted")
	}
	w.end(t, k)
}

// wantSpread: every topic, Kafka's own too, lies evenly on the brokers.
func wantSpread(t *testing.T, f operators.KafkaFacts, brokers int) {
	t.Helper()
	if !f.Partitions.Known {
		t.Fatal(f.Partitions.Reason())
	}
	topics := map[string]map[int]int{}
	for _, p := range f.Partitions.Value {
		if topics[p.Topic] == nil {
			topics[p.Topic] = map[int]int{}
		}
		if p.Moving() {
			t.Errorf("%s moves", p.Name())
		}
		for _, id := range p.Replicas {
			topics[p.Topic][id]++
		}
	}
	for _, own := range []string{"__consumer_offsets", "__transaction_state"} {
		if topics[own] == nil {
			t.Errorf("there is no topic %s: the traffic proves less than it says", own)
		}
	}
	for topic, on := range topics {
		if len(on) != brokers {
			t.Errorf("topic %s lies on %v, want %d brokers", topic, on, brokers)
		}
	}
}
