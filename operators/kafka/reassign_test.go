package kafka

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/operators"
)

// someTopics draws partitions that lie anywhere on the brokers 0 to brokers-1.
func someTopics(r *rapid.T, brokers int) []operators.Partition {
	var out []operators.Partition
	for t := range rapid.IntRange(0, 8).Draw(r, "topics") {
		rf := rapid.IntRange(1, min(3, brokers)).Draw(r, "replication")
		for i := range rapid.IntRange(1, 9).Draw(r, "partitions") {
			ids := rapid.Permutation(upTo(brokers)).Draw(r, "replicas")[:rf]
			out = append(out, operators.Partition{Topic: fmt.Sprintf("t%d", t), Index: i, Leader: ids[0], Replicas: ids, ISR: ids})
		}
	}
	return out
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func carry(all []operators.Partition, moves []operators.Move) []operators.Partition {
	out := slices.Clone(all)
	for _, m := range moves {
		for i := range out {
			if out[i].Topic == m.Topic && out[i].Index == m.Partition {
				out[i].Replicas, out[i].ISR, out[i].Leader = m.Replicas, m.Replicas, m.Replicas[0]
			}
		}
	}
	return out
}

// count is the naive twin of the working state's counts.
func count(all []operators.Partition, topic string, broker int) int {
	n := 0
	for _, p := range all {
		if (topic == "" || p.Topic == topic) && slices.Contains(p.Replicas, broker) {
			n++
		}
	}
	return n
}

// least is how many replicas must move at least: topic by topic what leaves, or lies above or below the even share.
func leastMoves(all []operators.Partition, stay []int) int {
	topics := map[string]int{}
	for _, p := range all {
		topics[p.Topic] += len(p.Replicas)
	}
	sum := 0
	for t, n := range topics {
		low, high := n/len(stay), (n+len(stay)-1)/len(stay)
		over, under, kept := 0, 0, 0
		for _, id := range stay {
			c := count(all, t, id)
			over, under, kept = over+max(0, c-high), under+max(0, low-c), kept+c
		}
		sum += max(n-kept+over, under)
	}
	return sum
}

func TestReplicasAreSpreadEvenlyWithFewMoves(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		brokers := rapid.IntRange(1, 6).Draw(r, "brokers")
		all := someTopics(r, brokers)
		most := 1
		for _, p := range all {
			most = max(most, len(p.Replicas))
		}
		stay := upTo(brokers + rapid.IntRange(0, 2).Draw(r, "new"))
		stay = stay[:rapid.IntRange(most, len(stay)).Draw(r, "stay")]
		moves, err := Spread(all, stay)
		if err != nil {
			r.Fatal(err)
		}
		after := carry(all, moves)
		check(r, all, after, stay)
		again, err := Spread(after, stay)
		if err != nil || len(again) > 0 {
			r.Fatalf("asked again: %v %v", again, err)
		}
		if why := uneven(after, stay); why != "" {
			r.Fatalf("what was spread is uneven: %s", why)
		}
		shuffled := rapid.Permutation(all).Draw(r, "order")
		if other, err := Spread(shuffled, stay); err != nil || fmt.Sprint(other) != fmt.Sprint(moves) {
			r.Fatalf("in another order: %v, want %v", other, moves)
		}
		topics := map[string]bool{}
		for _, p := range all {
			topics[p.Topic] = true
		}
		// A topic's odd replicas may have to change places for the sake of all.
		if n, least := moved(all, after), leastMoves(all, stay); n < least || n > least+len(topics)*len(stay)/2 {
			r.Fatalf("%d replicas moved, at least %d must", n, least)
		}
	})
}

func moved(before, after []operators.Partition) int {
	n := 0
	for i, p := range after {
		for _, id := range p.Replicas {
			if !slices.Contains(before[i].Replicas, id) {
				n++
			}
		}
	}
	return n
}

func check(r *rapid.T, before, after []operators.Partition, stay []int) {
	topics, lead := map[string]bool{"": true}, map[int]int{}
	for i, p := range after {
		topics[p.Topic] = true
		lead[p.Replicas[0]]++
		if len(p.Replicas) != len(before[i].Replicas) {
			r.Fatalf("%s had %d replicas and has %d", p.Name(), len(before[i].Replicas), len(p.Replicas))
		}
		if ids := slices.Sorted(slices.Values(p.Replicas)); len(slices.Compact(slices.Clone(ids))) != len(ids) {
			r.Fatalf("%s lies on a broker twice: %v", p.Name(), p.Replicas)
		}
		for _, id := range p.Replicas {
			if !slices.Contains(stay, id) {
				r.Fatalf("%s lies on broker %d, which leaves", p.Name(), id)
			}
		}
	}
	for t := range topics { // "" is all of them
		least, most := 1<<30, 0
		for _, id := range stay {
			c := count(after, t, id)
			least, most = min(least, c), max(most, c)
		}
		if most-least > 1 {
			r.Fatalf("topic %q: a broker holds %d, another %d", t, most, least)
		}
	}
	for _, p := range after {
		for _, id := range p.Replicas[1:] {
			if lead[p.Replicas[0]]-lead[id] > 1 {
				r.Fatalf("broker %d leads %d and %d leads %d, and %s could change that", p.Replicas[0], lead[p.Replicas[0]], id, lead[id], p.Name())
			}
		}
	}
}

func TestMoreReplicasThanBrokersAreRefusedWithTheNumbers(t *testing.T) {
	all := []operators.Partition{{Topic: "a", Replicas: []int{0}}, {Topic: "b", Replicas: []int{0, 1, 2}}}
	_, err := Spread(all, []int{0, 1})
	if err == nil || !strings.Contains(err.Error(), "topic b has replication 3, and 2 brokers can hold 2") {
		t.Errorf("got %v", err)
	}
}

func TestWhatMovesAlreadyCountsWhereItGoes(t *testing.T) {
	all := []operators.Partition{
		{Topic: "a", Index: 0, Replicas: []int{1, 0}, Adding: []int{1}, Removing: []int{0}},
		{Topic: "a", Index: 1, Replicas: []int{0}},
	}
	if moves, err := Spread(all, []int{0, 1}); err != nil || len(moves) > 0 {
		t.Errorf("it is on its way already: %v %v", moves, err)
	}
	if moves, err := Spread(all, []int{0}); err != nil || fmt.Sprint(moves) != "[a/0 -> [0]]" {
		t.Errorf("what goes to a broker that leaves is turned round: %v %v", moves, err)
	}
}
