package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/physical"
)

// ofCommit are the requests at which an owner is killed: those of a takeover and of a commit.
var ofCommit = []kmsg.Key{kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.Produce, kmsg.EndTxn, kmsg.Fetch, kmsg.ListOffsets}

// life is a slot's owner that reads numbers from a position and writes them, until it is killed.
type life struct {
	servers []string
	term    uint64
	rnd     *rand.Rand
	upTo    int
	planted bool // the bug: an owner goes on from what it remembers, and not from the progress
	memory  int
}

var errKilled = errors.New("killed")

// run recovers, checks what it finds, and commits a few numbers at a time. It is killed at the n-th request of a takeover or a commit.
func (l *life) run(t *testing.T, c *Client, fault *fault) error {
	ctx, cancel := context.WithCancelCause(testContext(t))
	defer cancel(nil)
	left := l.rnd.IntN(60)
	fault.armIf(func(key int16) bool {
		if slices.Contains(ofCommit, kmsg.Key(key)) {
			left--
		}
		return left < 0
	}, l.rnd.IntN(2) == 0, func() {
		fault.kill()
		cancel(errKilled)
	})
	log := logOf(c, 0)
	found, err := log.Recover(ctx, 1, l.term)
	if err != nil {
		return err
	}
	at, epoch := 0, uint64(0)
	if l.planted {
		at = l.memory
	} else if found.Progress != nil {
		at, epoch = int(found.Progress.Positions["Read|0"].Offset), found.Progress.Epoch
		if want := fmt.Sprint(at); len(found.State) != 1 || string(found.State[0].Value) != want {
			t.Errorf("term %d: state %q at position %s", l.term, found.State, want)
		}
	}
	for at < l.upTo {
		next := min(at+1+l.rnd.IntN(9), l.upTo)
		var ids []int
		for ; at < next; at++ {
			ids = append(ids, at)
		}
		epoch++
		commit := commitOf(log, epoch, ids...)
		commit.Progress.Positions = map[string]checkpoint.Position{"Read|0": {Offset: int64(at)}}
		commit.State = []checkpoint.KV{{Key: []byte("sum"), Value: []byte(fmt.Sprint(at))}}
		commit.Outbox = [][]byte{[]byte(fmt.Sprint(at))}
		if _, err := log.Commit(ctx, commit); err != nil {
			return err
		}
		l.memory = at
	}
	return nil
}

// live runs owners one after the other until deaths of them were killed and all numbers are written.
func (l *life) live(t *testing.T, deaths int) {
	killed, more := 0, l.upTo/10
	for done := false; !done; {
		l.term++
		c, err := Dial(physical.Connection{Servers: l.servers}, fmt.Sprintf("life %d", l.term))
		if err != nil {
			t.Fatal(err)
		}
		fault := injectInto(c)
		err = l.run(t, c, fault)
		if done = err == nil; !done {
			killed += fault.fired
			if !errors.Is(err, errKilled) && !strings.Contains(err.Error(), errKilled.Error()) {
				t.Fatalf("term %d ended by %v", l.term, err)
			}
		}
		if done && killed < deaths {
			l.upTo += more
			done = false
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d deaths, %d numbers, %d terms", killed, l.upTo, l.term)
}

func TestEveryNumberIsThereOnceWhereverTheOwnerIsKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := cluster(t, 3)
	l := &life{servers: k.ListenAddrs(), rnd: rand.New(rand.NewPCG(seed, 1)), upTo: 2000}
	l.live(t, 200)
	for _, wrong := range mistakes(t, l.servers, l.upTo) {
		t.Error(wrong)
	}
}

func TestTheKillingFindsABugThatWasPlanted(t *testing.T) {
	k := cluster(t, 1)
	l := &life{servers: k.ListenAddrs(), rnd: rand.New(rand.NewPCG(7, 7)), upTo: 500, planted: true}
	l.live(t, 60)
	if len(mistakes(t, l.servers, l.upTo)) == 0 {
		t.Error("an owner that forgets the progress wrote every number once: the check finds nothing")
	}
}

// mistakes reads the numbers below n with the other client: each must be there once, and in order within its partition.
func mistakes(t *testing.T, servers []string, n int) []string {
	t.Helper()
	var out []string
	seen, last := map[int]int{}, map[int32]int{}
	for _, r := range readAll(t, servers, outTopic, outParts) {
		var id int
		if _, err := fmt.Sscan(r.key, &id); err != nil {
			t.Fatal(err)
		}
		if seen[id]++; seen[id] > 1 {
			out = append(out, fmt.Sprintf("%d is there %d times", id, seen[id]))
		}
		if before, ok := last[r.partition]; ok && id < before {
			out = append(out, fmt.Sprintf("partition %d: %d after %d", r.partition, id, before))
		}
		last[r.partition] = id
	}
	if len(seen) != n {
		out = append(out, fmt.Sprintf("%d numbers are visible, want %d", len(seen), n))
	}
	return out
}

// TestACutConnectionIsPassedOver cuts one connection at each kind of request, before it was sent or after it was answered. Only the end of a
// transaction may not be repeated blindly (see TestAnAnswerThatWasLostIsFoundOut).
func TestACutConnectionIsPassedOver(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.Metadata, kmsg.FindCoordinator, kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.Produce, kmsg.Fetch, kmsg.ListOffsets} {
		for _, delivered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s delivered=%t", key.Name(), delivered), func(t *testing.T) {
				k := cluster(t, 2)
				ctx, c := testContext(t), dial(t, k)
				fault := injectInto(c)
				first := logOf(c, 0)
				if _, err := first.Recover(ctx, 1, 1); err != nil {
					t.Fatal(err)
				}
				if _, err := first.Commit(ctx, commitOf(first, 1, 0, 1, 2, 3)); err != nil {
					t.Fatal(err)
				}
				fault.arm(key, delivered, nil)
				c.forget(outTopic)
				c.forgetCoordinator(first.producer.id)
				l := logOf(c, 0)
				if _, err := l.Recover(ctx, 1, 2); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Commit(ctx, commitOf(l, 2, 4, 5, 6, 7)); err != nil {
					t.Fatal(err)
				}
				if fault.fired != 1 {
					t.Fatalf("the connection was cut %d times, want once", fault.fired)
				}
				if wrong := mistakes(t, k.ListenAddrs(), 8); len(wrong) > 0 {
					t.Error(wrong)
				}
				found, err := l.Recover(ctx, 1, 3)
				if err != nil {
					t.Fatal(err)
				}
				// Each partition holds a row, a marker, a row and a marker.
				if want := (map[int32]int64{0: 3, 1: 3, 2: 3, 3: 3}); !maps.Equal(found.Ends[marks], want) {
					t.Errorf("ends %v, want %v", found.Ends[marks], want)
				}
			})
		}
	}
}
