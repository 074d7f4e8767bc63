package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-project/weir/operators"
)

// Spread computes where all replicas shall be so that they lie on the brokers that stay and on no other, each topic's evenly (within one),
// all together evenly (within one), and the preferred leaders as evenly as the replicas allow. It moves little: what lies well stays.
// The same input gives the same answer, and its own answer as input gives no move. What already moves counts where it goes to.
//
// It returns the partitions whose replicas or their order change, sorted by name, and refuses where a partition has more replicas than there
// are brokers.
func Spread(all []operators.Partition, stay []int) ([]operators.Move, error) {
	if len(stay) == 0 {
		return nil, errors.New("spread replicas: no broker stays")
	}
	if short := tooFew(all, len(stay)); short != "" {
		return nil, fmt.Errorf("spread replicas over brokers %v: %s", stay, short)
	}
	s := newSpread(all, stay)
	s.evict()
	s.levelTopics()
	s.levelBrokers()
	s.levelLeaders()
	return s.moves(), nil
}

// tooFew names a topic with more replicas than there are brokers; empty where there is none.
func tooFew(all []operators.Partition, brokers int) string {
	worst := operators.Partition{}
	for _, p := range all {
		if len(p.Goal()) > max(brokers, len(worst.Goal())) {
			worst = p
		}
	}
	if worst.Topic == "" {
		return ""
	}
	return fmt.Sprintf("topic %s has replication %d, and %s can hold %d of a partition at most", worst.Topic, len(worst.Goal()), brokersText(brokers), brokers)
}

func brokersText(n int) string {
	if n == 1 {
		return "1 broker"
	}
	return fmt.Sprintf("%d brokers", n)
}

// spread is the working state. Brokers that leave have no count.
type spread struct {
	all   []operators.Partition
	stay  []int
	goal  [][]int                // by partition
	topic map[string]map[int]int // topic -> broker -> replicas
	total map[int]int            // broker -> replicas
	of    map[string][]int       // topic -> its partitions
	names []string               // topics, sorted
}

func newSpread(all []operators.Partition, stay []int) *spread {
	s := &spread{all: slices.Clone(all), stay: slices.Sorted(slices.Values(stay)), topic: map[string]map[int]int{}, total: map[int]int{}, of: map[string][]int{}}
	slices.SortFunc(s.all, byName)
	for i, p := range s.all {
		s.goal = append(s.goal, p.Goal())
		if s.topic[p.Topic] == nil {
			s.topic[p.Topic] = map[int]int{}
			s.names = append(s.names, p.Topic)
		}
		s.of[p.Topic] = append(s.of[p.Topic], i)
		for _, id := range s.goal[i] {
			s.topic[p.Topic][id]++
			s.total[id]++
		}
	}
	return s
}

func byName(a, b operators.Partition) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return a.Index - b.Index
}

// put replaces one replica of a partition, in its place of the order: a leader's successor leads.
func (s *spread) put(i, from, to int) {
	s.goal[i] = slices.Clone(s.goal[i])
	s.goal[i][slices.Index(s.goal[i], from)] = to
	t := s.all[i].Topic
	s.topic[t][from]--
	s.topic[t][to]++
	s.total[from]--
	s.total[to]++
}

// evict moves what lies on brokers that leave to the one that has least of its topic, then least of all.
func (s *spread) evict() {
	for i, p := range s.all {
		for _, from := range slices.Clone(s.goal[i]) {
			if !slices.Contains(s.stay, from) {
				s.put(i, from, s.least(p.Topic, s.goal[i]))
			}
		}
	}
}

func (s *spread) least(topic string, but []int) int {
	best := -1
	for _, id := range s.stay {
		if slices.Contains(but, id) {
			continue
		}
		if best < 0 || s.topic[topic][id] < s.topic[topic][best] || s.topic[topic][id] == s.topic[topic][best] && s.total[id] < s.total[best] {
			best = id
		}
	}
	return best
}

// levelTopics: while a broker has two more of a topic than another, one of them moves. The most loaded gives, the least loaded takes.
func (s *spread) levelTopics() {
	for _, t := range s.names {
		for {
			high, low := s.extremes(func(id int) int { return s.topic[t][id] })
			if s.topic[t][high]-s.topic[t][low] <= 1 {
				break
			}
			s.shift(t, high, low)
		}
	}
}

// levelBrokers: while a broker has two more than another, there is a topic of which it has more, and one of that moves. The topic stays level,
// since the two only change places in it.
func (s *spread) levelBrokers() {
	for {
		high, low := s.extremes(func(id int) int { return s.total[id] })
		if s.total[high]-s.total[low] <= 1 {
			return
		}
		for _, t := range s.names {
			if s.topic[t][high] > s.topic[t][low] {
				s.shift(t, high, low)
				break
			}
		}
	}
}

// extremes are the brokers with most and least; of equals the one with most and least of all, then the lower id.
func (s *spread) extremes(count func(int) int) (high, low int) {
	high, low = s.stay[0], s.stay[0]
	for _, id := range s.stay[1:] {
		if c, h := count(id), count(high); c > h || c == h && s.total[id] > s.total[high] {
			high = id
		}
		if c, l := count(id), count(low); c < l || c == l && s.total[id] < s.total[low] {
			low = id
		}
	}
	return high, low
}

// shift moves one replica of a topic between two brokers, the first of which has more of it: so a partition is there that lies on the one
// and not on the other. One that does not move yet is preferred: what moves must come to its end first.
func (s *spread) shift(topic string, from, to int) {
	best := -1
	for _, i := range s.of[topic] {
		if !slices.Contains(s.goal[i], from) || slices.Contains(s.goal[i], to) {
			continue
		}
		if best < 0 || s.all[best].Moving() && !s.all[i].Moving() {
			best = i
		}
	}
	s.put(best, from, to)
}

// levelLeaders: the first replica is the preferred leader. Along the shortest chain of partitions that two brokers share, leadership is passed
// from a broker that leads two more to one that leads less. No data moves.
func (s *spread) levelLeaders() {
	for {
		lead := map[int]int{}
		for _, g := range s.goal {
			if len(g) > 0 {
				lead[g[0]]++
			}
		}
		chain := s.chain(lead)
		if chain == nil {
			return
		}
		for _, step := range chain {
			g := slices.Clone(s.goal[step.partition])
			k := slices.Index(g, step.to)
			g[0], g[k] = g[k], g[0]
			s.goal[step.partition] = g
		}
	}
}

type pass struct{ partition, to int }

// chain finds how leadership gets from a broker with most to one with at least two less; nil where it does not.
func (s *spread) chain(lead map[int]int) []pass {
	for _, start := range slices.SortedFunc(slices.Values(s.stay), func(a, b int) int { return lead[b] - lead[a] }) {
		via := map[int]pass{start: {-1, start}}
		from := map[int]int{}
		queue := []int{start}
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			if lead[start]-lead[at] >= 2 {
				return trace(via, from, start, at)
			}
			for i, g := range s.goal {
				if len(g) == 0 || g[0] != at {
					continue
				}
				for _, next := range g[1:] {
					if _, seen := via[next]; !seen {
						via[next], from[next] = pass{i, next}, at
						queue = append(queue, next)
					}
				}
			}
		}
	}
	return nil
}

func trace(via map[int]pass, from map[int]int, start, end int) []pass {
	var out []pass
	for at := end; at != start; at = from[at] {
		out = append(out, via[at])
	}
	return out
}

func (s *spread) moves() []operators.Move {
	var out []operators.Move
	for i, p := range s.all {
		if !slices.Equal(s.goal[i], p.Goal()) {
			out = append(out, operators.Move{Topic: p.Topic, Partition: p.Index, Replicas: s.goal[i]})
		}
	}
	return out
}

// uneven says in what the replicas lie badly enough to be moved; empty where they do not. A topic's must be level within one, since Kafka itself
// lays them so; all together only roughly, or each new topic of one partition would set others moving.
func uneven(all []operators.Partition, stay []int) string {
	s := newSpread(all, stay)
	for i := range s.goal {
		for _, id := range s.goal[i] {
			if !slices.Contains(stay, id) {
				return fmt.Sprintf("%s lies on broker %d, which is none of %v", s.all[i].Name(), id, stay)
			}
		}
	}
	sum := 0
	for _, n := range s.total {
		sum += n
	}
	high, low := s.extremes(func(id int) int { return s.total[id] })
	if s.total[high]-s.total[low] > max(2, sum/len(stay)/4) {
		return fmt.Sprintf("broker %d holds %d replicas and broker %d holds %d", high, s.total[high], low, s.total[low])
	}
	for _, t := range s.names {
		high, low := s.extremes(func(id int) int { return s.topic[t][id] })
		if s.topic[t][high]-s.topic[t][low] > 1 {
			return fmt.Sprintf("broker %d holds %d replicas of topic %s and broker %d holds %d", high, s.topic[t][high], t, low, s.topic[t][low])
		}
	}
	return ""
}
