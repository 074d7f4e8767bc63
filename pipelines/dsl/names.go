package dsl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/transform"
)

// connect gives a leaf its inputs and the windowing that the composites around it push to their roots.
func (t *tree) connect(m *member) {
	before := len(t.errs)
	m.leaf.Inputs = t.inputsOf(m)
	d, _ := transform.Lookup(m.leaf.Type) // open looked it up
	switch n := len(m.leaf.Inputs); {
	case d.Source() && n > 0:
		t.bad(m.leaf.Inputs[0].Pos, "E-REF", "wire", m.describe(), "it is a source and takes no input", "remove its input, or make it the first of its chain")
	case !d.Source() && n == 0 && len(t.errs) == before && !m.failed:
		t.bad(m.pos, "E-REF", "wire", m.describe(), "it has no input", "add `input: NAME`, or put it into a chain after a source")
	case d.Named && n > 0 && slices.ContainsFunc(m.leaf.Inputs, func(i Input) bool { return i.Name == "" }):
		t.bad(m.leaf.Inputs[0].Pos, "E-REF", "wire", m.describe(), "its inputs need names", "write `input: {left: TRANSFORM, right: TRANSFORM}` in a composite")
	}
	if m.leaf.Windowing == nil && m.leaf.Type != "WindowInto" {
		m.leaf.Windowing = pushed(m)
	}
}

// pushed is the windowing of the nearest composite of which m is a root.
func pushed(m *member) *Value {
	for m.in != nil && (len(m.inputs) == 0 || m.fromParent) {
		if w := m.in.value.Get("windowing"); w != nil {
			return w
		}
		if m.in.owner == nil {
			return nil
		}
		m = m.in.owner
	}
	return nil
}

// inputsOf finds what a member reads: at most one input, except for transforms that take many; a list becomes a Flatten before it.
func (t *tree) inputsOf(m *member) []Input {
	if m.asked {
		return m.inputs
	}
	m.asked = true
	before := len(t.errs)
	defer func() { m.failed = len(t.errs) > before }()
	e, explicit := m.value.Entry("input")
	switch {
	case explicit && !m.implied:
		m.inputs = t.explicit(m, e.Value)
	case m.prev != nil:
		m.inputs = t.outputsOf(m.prev, "", m.pos)
	case m.implied && m.in.owner != nil:
		m.inputs, m.fromParent = t.inputsOf(m.in.owner), true
	}
	if len(m.inputs) > 1 && !takesMany(m) {
		m.inputs = t.flatten(m, "Inputs", m.inputs)
	}
	return m.inputs
}

// takesMany reports a leaf whose inputs stay apart.
func takesMany(m *member) bool {
	d, ok := transform.Lookup(m.typ)
	return ok && d.Inputs == transform.Many
}

// named reports a leaf that tells its inputs apart by their names.
func named(m *member) bool {
	d, ok := transform.Lookup(m.typ)
	return ok && d.Named
}

// flatten puts an implicit Flatten before m.
func (t *tree) flatten(m *member, name string, in []Input) []Input {
	f := &Transform{Path: m.path + "/" + name, Type: "Flatten", Pos: in[0].Pos, Inputs: in, Config: &Value{Kind: Map, Pos: m.pos}, order: len(t.leaves)}
	t.leaves = append(t.leaves, f)
	return []Input{{From: f, Pos: in[0].Pos}}
}

// explicit reads `input:`: a reference, a list of them, or a mapping of names to references.
func (t *tree) explicit(m *member, v *Value) []Input {
	switch v.Kind {
	case String:
		return t.reference(m.in, v, m)
	case List:
		var out []Input
		for _, i := range v.Items {
			out = append(out, t.referenceOf(m, i)...)
		}
		return out
	case Map:
		if len(v.Entries) > 1 && !takesMany(m) && m.inner == nil {
			t.bad(v.Entries[1].Pos, "E-REF", "wire", m.describe(), fmt.Sprintf("it takes one input, %d are named", len(v.Entries)), "name one, or write a list, which is flattened")
			return nil
		}
		var out []Input
		for _, e := range v.Entries {
			in := t.referenceOf(m, e.Value)
			if named(m) {
				if len(in) > 1 {
					in = t.flatten(m, e.Key, in)
				}
				for i := range in {
					in[i] = Input{From: in[i].From, Name: e.Key, Pos: in[i].Pos}
				}
			}
			out = append(out, in...)
		}
		return out
	}
	t.bad(v.Pos, "E-TYPE", "wire", m.describe(), fmt.Sprintf("input is a name, a list or a mapping, this is %s", A(v.Kind)), "write `input: NAME`")
	return nil
}

func (t *tree) referenceOf(m *member, v *Value) []Input {
	if v.Kind != String {
		t.bad(v.Pos, "E-TYPE", "wire", m.describe(), fmt.Sprintf("an input is a name, this is %s", A(v.Kind)), "write the name of a transform")
		return nil
	}
	return t.reference(m.in, v, m)
}

// reference resolves "Name" or "Name.output" in a scope, by name, else by type where that is unique.
func (t *tree) reference(sc *scope, v *Value, from *member) []Input {
	if v.Text == "input" && sc.owner != nil {
		if from != nil {
			from.fromParent = true
		}
		return t.inputsOf(sc.owner)
	}
	found, tag := t.lookup(sc, v.Text), ""
	if at := strings.LastIndexByte(v.Text, '.'); len(found) == 0 && at > 0 {
		found, tag = t.lookup(sc, v.Text[:at]), v.Text[at+1:]
	}
	what := t.what
	if from != nil {
		what = from.describe()
	}
	switch {
	case len(found) == 0:
		t.bad(v.Pos, "E-REF", "wire", what, fmt.Sprintf("there is no transform %q here (transforms: %s)", v.Text, strings.Join(sc.names(), ", ")),
			fault.DidYouMean(v.Text, sc.names(), "refer to a transform of the same pipeline by its name or type"))
		return nil
	case len(found) > 1:
		t.bad(v.Pos, "E-REF", "wire", what, fmt.Sprintf("%q is ambiguous: %s", v.Text, places(found)), "give the one that is meant a `name` of its own")
		return nil
	case found[0] == from:
		t.bad(v.Pos, "E-CYCLE", "wire", what, "it reads its own output", "name another transform as its input")
		return nil
	}
	return t.outputsOf(found[0], tag, v.Pos)
}

func places(found []*member) string {
	out := make([]string, len(found))
	for i, m := range found {
		out[i] = fmt.Sprintf("%s at line %d", m.describe(), m.pos.Line)
	}
	return strings.Join(out, ", ")
}

func (sc *scope) names() []string {
	var out []string
	for _, m := range sc.members {
		if d := m.display(); !containsName(out, d) {
			out = append(out, d)
		}
	}
	if sc.owner != nil {
		out = append(out, "input")
	}
	return out
}

func (t *tree) lookup(sc *scope, name string) []*member {
	var byName, byType []*member
	for _, m := range sc.members {
		if m.name == name {
			byName = append(byName, m)
		}
		if m.typ == name {
			byType = append(byType, m)
		}
	}
	if len(byName) > 0 {
		return byName
	}
	return byType
}

// outputsOf is what a reference to a member means: a leaf itself, or the outputs that a composite declares.
func (t *tree) outputsOf(m *member, tag string, at fault.Pos) []Input {
	if m.inner == nil {
		if d, ok := transform.Lookup(strings.SplitN(m.typ, "-", 2)[0]); ok && d.Outputs == 0 {
			t.bad(at, "E-REF", "wire", t.what, fmt.Sprintf("%s is a sink and has no output to read", m.describe()), "read what the sink reads")
			return nil
		}
		if tag != "" && tag != "output" {
			t.bad(at, "E-REF", "wire", t.what, fmt.Sprintf("%s has no output %q (outputs: output)", m.describe(), tag), "write the name alone")
			return nil
		}
		if m.leaf == nil {
			return nil // its type is unknown, which is told already
		}
		return []Input{{From: m.leaf, Pos: at}}
	}
	if m.finding {
		t.bad(at, "E-CYCLE", "wire", m.describe(), "its output depends on itself", "name another transform as its output")
		return nil
	}
	m.finding = true
	defer func() { m.finding = false }()
	return t.declared(m, tag, at)
}

// declared follows a composite's `output`; a chain without one ends in its last member's.
func (t *tree) declared(m *member, tag string, at fault.Pos) []Input {
	out := m.value.Get("output")
	if out == nil {
		if last := m.inner.last(); last != nil && tag == "" {
			return atPlace(t.outputsOf(last, "", at), at)
		}
		t.bad(at, "E-REF", "wire", m.describe(), strings.TrimSpace("it declares no output "+tag), "add `output: NAME` to it")
		return nil
	}
	ref := out
	if out.Kind == Map {
		switch {
		case tag != "":
			ref = out.Get(tag)
		case len(out.Entries) == 1:
			ref = out.Entries[0].Value
		default:
			ref = out.Get("output")
		}
	}
	if ref == nil || ref.Kind != String {
		t.bad(at, "E-REF", "wire", m.describe(), fmt.Sprintf("it has no output %q (outputs: %s)", tag, strings.Join(out.Keys(), ", ")), "write NAME.OUTPUT with one of them")
		return nil
	}
	return atPlace(t.reference(m.inner, ref, nil), at)
}

// last is the end of a chain; extra_transforms stand outside it.
func (sc *scope) last() *member {
	for i := len(sc.members) - 1; i >= 0 && sc.chain; i-- {
		if sc.members[i].implied {
			return sc.members[i]
		}
	}
	return nil
}

func atPlace(in []Input, at fault.Pos) []Input {
	out := make([]Input, len(in))
	for i := range in {
		out[i] = Input{From: in[i].From, Pos: at}
	}
	return out
}
