package resources

import (
	"maps"
	"slices"
	"strings"
)

// Scalar makes an amount of a name, in thousandths.
func Scalar(name string, amount Milli) Resource { return Resource{Name: name, Scalar: amount} }

// RangesOf makes ranges of a name; they need not be in order and may touch.
func RangesOf(name string, ranges ...Range) Resource {
	return Resource{Name: name, Ranges: normalRanges(ranges)}
}

// SetOf makes a set of a name.
func SetOf(name string, items ...string) Resource { return Resource{Name: name, Set: normalSet(items)} }

// ReservedFor is the same resource, kept for a role (and, by labels, for one holder).
func (r Resource) ReservedFor(role string, labels map[string]string) Resource {
	r.Reservation = &Reservation{Role: role, Labels: maps.Clone(labels)}
	return r
}

// WithVolume is the same (reserved) disk as a persistent volume.
func (r Resource) WithVolume(id, path string) Resource {
	r.Volume = &Volume{ID: id, Path: path}
	return r
}

// Plain is the same amount with neither reservation nor volume.
func (r Resource) Plain() Resource {
	r.Reservation, r.Volume = nil, nil
	return r
}

// Empty reports that there is nothing of it.
func (r Resource) Empty() bool { return r.Scalar == 0 && len(r.Ranges) == 0 && len(r.Set) == 0 }

// head is the text before the amount: name, role, labels, volume. Two resources with equal heads are of one kind and merge.
func (r Resource) head() string {
	var b strings.Builder
	b.WriteString(r.Name)
	if r.Reservation != nil {
		b.WriteString("(" + r.Reservation.Role + ")")
		if len(r.Reservation.Labels) > 0 {
			b.WriteString("{" + labelText(r.Reservation.Labels) + "}")
		}
	}
	if r.Volume != nil {
		b.WriteString("[" + r.Volume.ID + ":" + r.Volume.Path + "]")
	}
	return b.String()
}

func labelText(labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+": "+labels[k])
	}
	return strings.Join(parts, ", ")
}

func (r Resource) plus(o Resource) Resource {
	r.Scalar += o.Scalar
	r.Ranges = normalRanges(append(slices.Clone(r.Ranges), o.Ranges...))
	r.Set = normalSet(append(slices.Clone(r.Set), o.Set...))
	return r
}

// minus takes away what is there; what is not there cannot be taken.
func (r Resource) minus(o Resource) Resource {
	r.Scalar = max(0, r.Scalar-o.Scalar)
	r.Ranges = subRanges(r.Ranges, o.Ranges)
	r.Set = slices.DeleteFunc(slices.Clone(r.Set), func(s string) bool { return slices.Contains(o.Set, s) })
	return r
}

func (r Resource) contains(o Resource) bool {
	if r.Scalar < o.Scalar || len(subRanges(o.Ranges, r.Ranges)) > 0 {
		return false
	}
	for _, item := range o.Set {
		if !slices.Contains(r.Set, item) {
			return false
		}
	}
	return true
}

func normalSet(items []string) []string {
	if len(items) == 0 {
		return nil
	}
	out := slices.Clone(items)
	slices.Sort(out)
	return slices.Compact(out)
}

// normalRanges sorts and joins ranges that overlap or touch. Inverted ranges hold nothing.
func normalRanges(ranges []Range) []Range {
	in := slices.DeleteFunc(slices.Clone(ranges), func(r Range) bool { return r.End < r.Begin })
	slices.SortFunc(in, func(a, b Range) int { return int(a.Begin) - int(b.Begin) })
	var out []Range
	for _, r := range in {
		if n := len(out); n > 0 && int(r.Begin) <= int(out[n-1].End)+1 {
			out[n-1].End = max(out[n-1].End, r.End)
			continue
		}
		out = append(out, r)
	}
	return out
}

func subRanges(from, take []Range) []Range {
	out := normalRanges(from)
	for _, t := range normalRanges(take) {
		var next []Range
		for _, r := range out {
			if t.End < r.Begin || t.Begin > r.End {
				next = append(next, r)
				continue
			}
			if r.Begin < t.Begin {
				next = append(next, Range{r.Begin, t.Begin - 1})
			}
			if r.End > t.End {
				next = append(next, Range{t.End + 1, r.End})
			}
		}
		out = next
	}
	return out
}
