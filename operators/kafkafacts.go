package operators

import (
	"fmt"
	"slices"
	"strings"
)

// KafkaFacts are what the admin calls read of a Kafka.
type KafkaFacts struct {
	Brokers       Fact[[]int]              // ids that Metadata lists: they serve
	Authenticated Fact[bool]               // a SCRAM login succeeded and topics can be made
	Topics        Fact[map[string]Topic]   // by name, without Kafka's own
	Registered    Fact[map[int]BrokerFact] // by id, those that are down too
	Partitions    Fact[[]Partition]        // of all topics, Kafka's own too, by topic and index
	Quorum        Fact[Quorum]
}

// BrokerFact is a broker that the controller has registered.
type BrokerFact struct {
	Endpoint string     // host:port of its client listener
	Fenced   bool       // it does not serve: it is down, or was not let in yet
	Cordoned Fact[bool] // all its directories are closed to new replicas; it alone can tell
}

// Partition is one partition as Metadata and the list of reassignments show it.
type Partition struct {
	Topic    string
	Index    int
	Leader   int   // -1: none
	Replicas []int // the preferred leader first; while it moves also those that it comes from
	ISR      []int
	Adding   []int // while it moves
	Removing []int // while it moves
	MinISR   int   // min.insync.replicas of its topic; 0: unknown
}

// Moving reports whether a reassignment of the partition is under way.
func (p Partition) Moving() bool { return len(p.Adding)+len(p.Removing) > 0 }

// Goal is where the partition's replicas are, or where they go to.
func (p Partition) Goal() []int {
	return slices.DeleteFunc(slices.Clone(p.Replicas), func(id int) bool { return slices.Contains(p.Removing, id) })
}

// Name is "topic/index".
func (p Partition) Name() string { return fmt.Sprintf("%s/%d", p.Topic, p.Index) }

// Quorum is who decides about the metadata.
type Quorum struct {
	Leader int
	Voters []int
}

// Move gives a partition's replicas new places, the preferred leader first.
type Move struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Replicas  []int  `json:"replicas"`
}

func (m Move) String() string { return fmt.Sprintf("%s/%d -> %v", m.Topic, m.Partition, m.Replicas) }

// someMoves is how many moves are named before the rest is counted.
const someMoves = 3

func movesText(all []Move) string {
	var out []string
	for _, m := range all[:min(someMoves, len(all))] {
		out = append(out, m.String())
	}
	if more := len(all) - someMoves; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}
