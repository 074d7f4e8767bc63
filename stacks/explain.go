package stacks

import (
	"fmt"
	"strings"

	"github.com/weir-project/weir/internal/fault"
)

// Explain prints the documentation of a field, such as "stack.spec.services.brokers": what it may hold, and the fields below it.
func Explain(path string) (string, error) {
	f := Declaration()
	f.Fields = append(f.Fields, StatusDeclaration())
	parts := strings.Split(path, ".")
	if !strings.EqualFold(parts[0], f.Name) && !strings.EqualFold(parts[0], Plural) {
		return "", fault.NotFound("E-KIND", "explain", path, fault.Causef("there is no kind %q (kinds: %s)", parts[0], f.Name), fault.Hint("weir explain stack.spec.services"))
	}
	for i, name := range parts[1:] {
		below, ok := f.Field(name)
		if !ok {
			known := names(f.Fields)
			at := strings.Join(parts[:i+1], ".")
			if len(known) == 0 {
				return "", fault.NotFound("E-FIELD", "explain", path, fault.Causef("%s is a %s, with no field below it", at, f.Kind), fault.Hint("weir explain "+at))
			}
			return "", fault.NotFound("E-FIELD", "explain", path, fault.Causef("%s has no field %q (fields: %s)", at, name, strings.Join(known, ", ")),
				fault.Hint(fault.DidYouMean(name, known, "weir explain "+at)))
		}
		f = below
	}
	return f.explain(path), nil
}

func (f Field) explain(path string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)\n  %s\n", path, f.holds(), f.Doc)
	if path == "stack.spec.services" {
		b.WriteString("operators\n")
		for _, o := range declared {
			fmt.Fprintf(&b, "  %-12s %s: %s\n", o.Name, o.Doc, strings.Join(names(o.all()), ", "))
		}
	}
	if len(f.Fields) > 0 {
		b.WriteString("fields\n")
	}
	for _, below := range f.Fields {
		must := ""
		if below.Required {
			must = ", required"
		}
		fmt.Fprintf(&b, "  %-12s %s (%s%s)\n", below.Name, below.Doc, below.holds(), must)
	}
	return b.String()
}

// holds says in words what the value may be.
func (f Field) holds() string {
	switch {
	case len(f.Words) > 0:
		return "one of " + strings.Join(f.Words, ", ")
	case f.Kind == Whole && f.Most > 0 || f.Kind == Span:
		return fmt.Sprintf("%s from %d to %d", f.Kind, f.Least, f.Most)
	case f.Kind == Map:
		return fmt.Sprintf("map of %d to %d by name", f.Least, f.Most)
	case f.Kind == List:
		return "list"
	}
	return string(f.Kind)
}
