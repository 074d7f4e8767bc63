package evaluate

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// ports takes the fixed ports first, so that no free choice takes one of them.
func (e *evaluation) ports() {
	for _, fixed := range []bool{true, false} {
		for _, p := range e.pod.Ports {
			if (p.Number != 0) != fixed {
				continue
			}
			if p.OnAddress {
				e.place.Ports[p.Name] = p.Number
				continue
			}
			e.port(p)
		}
	}
}

func (e *evaluation) port(p operators.Port) {
	if n, ok := e.reservedPort(p); ok {
		e.place.Ports[p.Name] = int(n)
		return
	}
	for i := range e.left {
		r := &e.left[i]
		if r.Name != resources.Ports || !unreserved(*r) {
			continue
		}
		n, rest, ok := cut(r.Ranges, e.choose(r.Ranges, p))
		if !ok {
			continue
		}
		r.Ranges = rest
		e.place.Ports[p.Name] = int(n)
		e.keep(resources.Resource{Name: resources.Ports, Ranges: []resources.Range{{Begin: n, End: n}}}, p.Name)
		return
	}
	if p.Number != 0 {
		e.miss("needs port %d (fixed, %s), agent %s offers ports %s", p.Number, p.Name, e.offer.Agent, e.offered())
		return
	}
	e.miss("needs a free port (%s), agent %s offers ports %s", p.Name, e.offer.Agent, e.offered())
}

// choose is the fixed port, or the first free one from the number that the agent names as the beginning of its corner: an agent offers the
// ports below it too, for those who fix theirs. 0: the first there is.
func (e *evaluation) choose(free []resources.Range, p operators.Port) uint16 {
	if p.Number != 0 {
		return uint16(p.Number)
	}
	from, err := strconv.ParseUint(e.offer.Attributes[resources.FreePorts], 10, 16)
	if err != nil {
		return 0 // the agent names none
	}
	for _, r := range free {
		if n := max(r.Begin, uint16(from)); n <= r.End {
			return n
		}
	}
	return 0
}

// reservedPort finds the port that the pod holds under this name. A fixed number that has changed does not match: the new one is taken.
func (e *evaluation) reservedPort(p operators.Port) (uint16, bool) {
	for i := range e.left {
		r := &e.left[i]
		if r.Name != resources.Ports || !e.mine(*r) || r.Reservation.Labels[operators.LabelPort] != p.Name {
			continue
		}
		n, rest, ok := cut(r.Ranges, uint16(p.Number))
		if !ok {
			continue
		}
		r.Ranges = rest
		e.take = append(e.take, resources.Resource{Name: resources.Ports, Ranges: []resources.Range{{Begin: n, End: n}}, Reservation: r.Reservation})
		return n, true
	}
	return 0, false
}

func (e *evaluation) offered() string {
	var all []resources.Range
	for _, r := range e.left {
		if r.Name == resources.Ports && unreserved(r) {
			all = append(all, r.Ranges...)
		}
	}
	return ranges(all)
}

func ranges(all []resources.Range) string {
	if len(all) == 0 {
		return "none"
	}
	parts := make([]string, len(all))
	for i, r := range all {
		parts[i] = fmt.Sprintf("%d-%d", r.Begin, r.End)
		if r.Begin == r.End {
			parts[i] = fmt.Sprint(r.Begin)
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// cut takes one port out of ranges: the wanted one, or the first where want is 0.
func cut(all []resources.Range, want uint16) (n uint16, rest []resources.Range, ok bool) {
	for i, r := range all {
		if r.Begin > r.End {
			continue
		}
		n = want
		if want == 0 {
			n = r.Begin
		}
		if n < r.Begin || n > r.End {
			continue
		}
		rest = append(rest, all[:i]...)
		if n > r.Begin {
			rest = append(rest, resources.Range{Begin: r.Begin, End: n - 1})
		}
		if n < r.End {
			rest = append(rest, resources.Range{Begin: n + 1, End: r.End})
		}
		return n, append(rest, all[i+1:]...), true
	}
	return 0, nil, false
}
