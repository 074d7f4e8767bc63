package resources

import (
	"fmt"
	"strconv"
	"strings"
)

// String prints the vector as Mesos does: cpus(kafka){pod: kafka-0}:0.2; disk(kafka)[v1:data]:512; ports:[9000-9100].
// Nothing prints as the empty string.
func (r Resources) String() string {
	var parts []string
	for _, x := range r.Normal() {
		parts = append(parts, x.String())
	}
	return strings.Join(parts, "; ")
}

// String prints one resource.
func (r Resource) String() string {
	head := r.head() + ":"
	switch {
	case len(r.Ranges) > 0:
		var parts []string
		for _, x := range r.Ranges {
			parts = append(parts, x.String())
		}
		return head + "[" + strings.Join(parts, ", ") + "]"
	case len(r.Set) > 0:
		return head + "{" + strings.Join(r.Set, ", ") + "}"
	}
	return head + r.Scalar.String()
}

// Summary prints the vector for people: a set of many items as its first and their number. It is not read back.
func (r Resources) Summary() string {
	var parts []string
	for _, x := range r.Normal() {
		if n := len(x.Set); n > 4 {
			parts = append(parts, fmt.Sprintf("%s:{%s, … %d in all}", x.head(), x.Set[0], n))
			continue
		}
		parts = append(parts, x.String())
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}

// String prints a range with both ends, 9000-9000 for a single port.
func (r Range) String() string { return fmt.Sprintf("%d-%d", r.Begin, r.End) }

// Parse reads what String prints. An empty text is nothing.
func Parse(text string) (Resources, error) {
	var out Resources
	for _, part := range strings.Split(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		x, err := parseOne(part)
		if err != nil {
			return nil, fmt.Errorf("read resource %.120q: %w", part, err)
		}
		out = append(out, x)
	}
	return out.Normal(), nil
}

func parseOne(s string) (Resource, error) {
	var r Resource
	end := strings.IndexAny(s, "({[:")
	if end <= 0 {
		return r, fmt.Errorf("it has no name and no amount; write it as cpus:0.2")
	}
	r.Name, s = s[:end], s[end:]
	role, s, reserved := bracketed(s, '(', ')')
	if reserved {
		r.Reservation = &Reservation{Role: role}
		var labels string
		var labelled bool
		labels, s, labelled = bracketed(s, '{', '}')
		if labelled {
			var err error
			if r.Reservation.Labels, err = parseLabels(labels); err != nil {
				return r, err
			}
		}
	}
	if volume, rest, ok := bracketed(s, '[', ']'); ok {
		id, path, _ := strings.Cut(volume, ":")
		r.Volume, s = &Volume{ID: id, Path: path}, rest
	}
	amount, ok := strings.CutPrefix(s, ":")
	if !ok {
		return r, fmt.Errorf("no ':' before its amount")
	}
	return r, r.parseAmount(amount)
}

// bracketed takes a leading bracket off, if there is one.
func bracketed(s string, open, closing byte) (inside, rest string, ok bool) {
	if s == "" || s[0] != open {
		return "", s, false
	}
	end := strings.IndexByte(s, closing)
	if end < 0 {
		return "", s, false
	}
	return s[1:end], s[end+1:], true
}

func parseLabels(s string) (map[string]string, error) {
	labels := map[string]string{}
	for _, pair := range strings.Split(s, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(pair), ": ")
		if !ok {
			return nil, fmt.Errorf("label %.60q is not written as key: value", pair)
		}
		labels[k] = v
	}
	return labels, nil
}

func (r *Resource) parseAmount(s string) error {
	if list, _, ok := bracketed(s, '[', ']'); ok {
		for _, text := range strings.Split(list, ",") {
			x, err := parseRange(strings.TrimSpace(text))
			if err != nil {
				return err
			}
			r.Ranges = append(r.Ranges, x)
		}
		return nil
	}
	if list, _, ok := bracketed(s, '{', '}'); ok {
		for _, item := range strings.Split(list, ",") {
			r.Set = append(r.Set, strings.TrimSpace(item))
		}
		return nil
	}
	var err error
	r.Scalar, err = ParseMilli(s)
	return err
}

func parseRange(s string) (Range, error) {
	low, high, _ := strings.Cut(s, "-")
	begin, err1 := strconv.ParseUint(low, 10, 16)
	end, err2 := strconv.ParseUint(high, 10, 16)
	if err1 != nil || err2 != nil || end < begin {
		return Range{}, fmt.Errorf("range %.40q is not two ports as in 9000-9100", s)
	}
	return Range{uint16(begin), uint16(end)}, nil
}
