package kafka

import (
	"fmt"
	"slices"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
)

// CheckSize refuses, before anything is done, a size that a Kafka cannot have: none at all, or fewer brokers than a topic of it has replicas.
// Growing is always possible here; whether there is room is the placement's to say. A Kafka that cannot be asked is not made smaller.
func CheckSize(was, want operators.ServiceSpec, f operators.KafkaFacts) error {
	const op = "scale service"
	switch {
	case want.Size < 1:
		return fault.Invalid("E-SIZE", op, want.Name, fault.Causef("a Kafka of %s holds no data", brokersText(want.Size)),
			fault.Hintf("the least is `weir scale %s/%s=1`; `weir down` stops the stack and keeps its data", want.Stack, want.Name))
	case want.Size >= was.Size:
		return nil
	case !f.Partitions.Known:
		return fault.New("E-UNKNOWN", op, want.Name,
			fault.Causef("to go from %d to %s the replication of its topics must be known, and it is not: %s", was.Size, brokersText(want.Size), f.Partitions.Reason()),
			fault.Hint("`weir rollout` shows when it answers; then try again"))
	}
	if why := tooFew(f.Partitions.Value, want.Size); why != "" {
		return fault.Invalid("E-REPLICATION", op, want.Name, fault.Causef("%s", why),
			fault.Hintf("the least is `weir scale %s/%s=%d`", want.Stack, want.Name, replication(f.Partitions.Value)))
	}
	return nil
}

// replication is the highest in use.
func replication(all []operators.Partition) int {
	most := 1
	for _, p := range all {
		most = max(most, len(p.Goal()))
	}
	return most
}

// mayStop reports whether a broker that shall run again may be stopped now: no partition may fall below its min ISR by it (I5). A partition that
// cannot have more than its min ISR never holds it up, or nothing could ever be restarted. why names the partition that does.
func mayStop(f operators.KafkaFacts, id int) (ok bool, why string) {
	if !f.Partitions.Known {
		return false, "whether its partitions have other replicas is unknown: " + f.Partitions.Reason()
	}
	for _, p := range f.Partitions.Value {
		least := max(1, p.MinISR)
		if !slices.Contains(p.Replicas, id) || len(p.Replicas) <= least {
			continue
		}
		left := len(slices.DeleteFunc(slices.Clone(p.ISR), func(other int) bool { return other == id }))
		if left < least {
			return false, fmt.Sprintf("partition %s would have %d replicas in sync, its least is %d", p.Name(), left, least)
		}
	}
	return true, ""
}
