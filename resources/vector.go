package resources

import (
	"cmp"
	"slices"
)

// Normal is the vector in its one form: equal heads merged, nothing empty, sorted by head. Every method returns this form.
func (r Resources) Normal() Resources {
	out := make(Resources, 0, len(r))
	at := make(map[string]int, len(r))
	for _, x := range r {
		x.Ranges, x.Set = normalRanges(x.Ranges), normalSet(x.Set)
		if i, ok := at[x.head()]; ok {
			out[i] = out[i].plus(x)
			continue
		}
		at[x.head()] = len(out)
		out = append(out, x)
	}
	out = slices.DeleteFunc(out, Resource.Empty)
	slices.SortFunc(out, func(a, b Resource) int { return cmp.Compare(a.head(), b.head()) })
	if len(out) == 0 {
		return nil
	}
	return out
}

// Add is the sum. Ranges and sets are joined: adding what is there already adds nothing.
func (r Resources) Add(o Resources) Resources {
	return append(slices.Clone(r), o...).Normal()
}

// Sub is what is left of r without o. What r does not hold cannot be taken: amounts never become negative, so callers that
// must not lose anything ask Contains first.
func (r Resources) Sub(o Resources) Resources {
	out, take := r.Normal(), o.Normal()
	for i := range out {
		if t, ok := take.same(out[i]); ok {
			out[i] = out[i].minus(t)
		}
	}
	return out.Normal()
}

// Contains reports that r holds all of o, reservation for reservation and volume for volume.
func (r Resources) Contains(o Resources) bool {
	have := r.Normal()
	for _, want := range o.Normal() {
		if got, ok := have.same(want); !ok || !got.contains(want) {
			return false
		}
	}
	return true
}

// Equal reports that both hold the same.
func (r Resources) Equal(o Resources) bool { return r.String() == o.String() }

// Empty reports that there is nothing in it.
func (r Resources) Empty() bool { return len(r.Normal()) == 0 }

// same finds the entry of the same head in a normal vector.
func (r Resources) same(x Resource) (Resource, bool) {
	head := x.head()
	for _, y := range r {
		if y.Name == x.Name && y.head() == head {
			return y, true
		}
	}
	return Resource{}, false
}

// Unreserved is what anybody may use.
func (r Resources) Unreserved() Resources {
	return r.where(func(x Resource) bool { return x.Reservation == nil })
}

// Reserved is what is kept for one role.
func (r Resources) Reserved(role string) Resources {
	return r.where(func(x Resource) bool { return x.Reservation != nil && x.Reservation.Role == role })
}

// Reservations is all that is kept for any role.
func (r Resources) Reservations() Resources {
	return r.where(func(x Resource) bool { return x.Reservation != nil })
}

// Volumes is all persistent volumes.
func (r Resources) Volumes() Resources {
	return r.where(func(x Resource) bool { return x.Volume != nil })
}

// Labelled is what is reserved with this label, the way a pod finds what is its own.
func (r Resources) Labelled(key, value string) Resources {
	return r.where(func(x Resource) bool { return x.Reservation != nil && x.Reservation.Labels[key] == value })
}

// Volume finds a persistent volume by its id.
func (r Resources) Volume(id string) (Resource, bool) {
	for _, x := range r {
		if x.Volume != nil && x.Volume.ID == id {
			return x, true
		}
	}
	return Resource{}, false
}

func (r Resources) where(keep func(Resource) bool) Resources {
	var out Resources
	for _, x := range r {
		if keep(x) {
			out = append(out, x)
		}
	}
	return out.Normal()
}

// Plain is the same amounts without reservations and volumes.
func (r Resources) Plain() Resources {
	return r.each(Resource.Plain)
}

// ReservedFor is the same amounts, each kept for the role (and holder).
func (r Resources) ReservedFor(role string, labels map[string]string) Resources {
	return r.each(func(x Resource) Resource { return x.ReservedFor(role, labels) })
}

func (r Resources) each(change func(Resource) Resource) Resources {
	out := make(Resources, 0, len(r))
	for _, x := range r {
		out = append(out, change(x))
	}
	return out.Normal()
}

// Amount is the sum of a scalar's amounts over all reservations.
func (r Resources) Amount(name string) Milli {
	var sum Milli
	for _, x := range r {
		if x.Name == name {
			sum += x.Scalar
		}
	}
	return sum
}

// PortRanges is the ranges of a name over all reservations, joined.
func (r Resources) PortRanges(name string) []Range {
	var all []Range
	for _, x := range r {
		if x.Name == name {
			all = append(all, x.Ranges...)
		}
	}
	return normalRanges(all)
}

// Items is the set of a name over all reservations, sorted.
func (r Resources) Items(name string) []string {
	var all []string
	for _, x := range r {
		if x.Name == name {
			all = append(all, x.Set...)
		}
	}
	return normalSet(all)
}

// Names are the names that it holds something of, sorted.
func (r Resources) Names() []string {
	var names []string
	for _, x := range r {
		if !x.Empty() {
			names = append(names, x.Name)
		}
	}
	return normalSet(names)
}

// Find takes plain amounts out of r for a role: from the role's reservations first (a volume is never taken for plain disk),
// then from what is unreserved. It returns what it took, with reservations, or false when r does not suffice.
func (r Resources) Find(role string, want Resources) (Resources, bool) {
	var taken Resources
	left := r.Normal()
	for _, w := range want.Plain() {
		for _, x := range append(left.Reserved(role), left.Unreserved()...) {
			if x.Name != w.Name || x.Volume != nil || w.Empty() {
				continue
			}
			piece := x
			piece.Scalar, piece.Ranges, piece.Set = common(x, w)
			taken = taken.Add(Resources{piece})
			w = w.minus(piece)
		}
		if !w.Empty() {
			return nil, false
		}
	}
	return taken.Normal(), true
}

// common is what two resources of one name both hold.
func common(a, b Resource) (Milli, []Range, []string) {
	var set []string
	for _, s := range a.Set {
		if slices.Contains(b.Set, s) {
			set = append(set, s)
		}
	}
	return min(a.Scalar, b.Scalar), subRanges(a.Ranges, subRanges(a.Ranges, b.Ranges)), set
}
