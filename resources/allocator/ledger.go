package allocator

import (
	"cmp"
	"slices"

	"github.com/weir-project/weir/resources"
)

// ledger is who holds how much during one allocation.
type ledger struct {
	weights    map[string]float64
	total      map[string]resources.Milli // of all agents, by scalar
	frameworks []*Framework               // sorted by id, their own copies
	unreserved map[string]map[string]resources.Milli
	reserved   map[string]map[string]resources.Milli // used or not: it is kept from everybody else
	held       map[resources.FrameworkID]map[string]resources.Milli
}

func newLedger(s State) *ledger {
	l := &ledger{weights: s.Weights, total: map[string]resources.Milli{},
		unreserved: map[string]map[string]resources.Milli{}, reserved: map[string]map[string]resources.Milli{},
		held: map[resources.FrameworkID]map[string]resources.Milli{}}
	for _, a := range s.Agents {
		for _, x := range a.Total {
			l.total[x.Name] += x.Scalar
			if x.Reservation != nil {
				add(l.reserved, x.Reservation.Role, x)
			}
		}
	}
	for _, f := range s.Frameworks {
		l.frameworks = append(l.frameworks, &f)
		l.charge(&f, f.Allocated)
	}
	slices.SortFunc(l.frameworks, func(a, b *Framework) int { return cmp.Compare(a.ID, b.ID) })
	return l
}

func add[K comparable](to map[K]map[string]resources.Milli, key K, x resources.Resource) {
	if to[key] == nil {
		to[key] = map[string]resources.Milli{}
	}
	to[key][x.Name] += x.Scalar
}

// charge books resources on a framework and, where they are not reserved (those are booked already), on its role.
func (l *ledger) charge(f *Framework, r resources.Resources) {
	for _, x := range r {
		add(l.held, f.ID, x)
		if x.Reservation == nil {
			add(l.unreserved, f.Role, x)
		}
	}
}

// share is a role's dominant share: the largest part of any one scalar that it holds, divided by its weight.
func (l *ledger) share(role string) float64 {
	var most float64
	for name, total := range l.total {
		if total > 0 {
			most = max(most, float64(l.unreserved[role][name]+l.reserved[role][name])/float64(total))
		}
	}
	if w := l.weights[role]; w > 0 {
		most /= w
	}
	return most
}

// shareOf is a framework's own dominant share, which orders the frameworks of one role.
func (l *ledger) shareOf(id resources.FrameworkID) float64 {
	var most float64
	for name, total := range l.total {
		if total > 0 {
			most = max(most, float64(l.held[id][name])/float64(total))
		}
	}
	return most
}

// next is the framework whose turn it is: of the role with the lowest share, the one with the lowest share of its own; names
// decide between equals.
func (l *ledger) next(passed map[resources.FrameworkID]bool) (*Framework, float64, bool) {
	var best *Framework
	var bestRole, bestOwn float64
	for _, f := range l.frameworks {
		if passed[f.ID] {
			continue
		}
		role, own := l.share(f.Role), l.shareOf(f.ID)
		if best == nil || cmp.Or(cmp.Compare(role, bestRole), cmp.Compare(f.Role, best.Role), cmp.Compare(own, bestOwn)) < 0 {
			best, bestRole, bestOwn = f, role, own
		}
	}
	return best, bestRole, best != nil
}
