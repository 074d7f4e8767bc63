package dsl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/transform"
)

// scope is a chain or a composite: the place in which names are looked up.
type scope struct {
	owner   *member // the composite's own member; nil for the stage's body
	value   *Value
	chain   bool
	members []*member
}

// member is a transform as it was written: a leaf, or a scope of its own.
type member struct {
	in      *scope
	name    string // explicit, or empty
	typ     string
	path    string
	pos     fault.Pos // of its type
	value   *Value
	prev    *member // in a chain
	implied bool    // its input is the chain's, not its own
	leaf    *Transform
	inner   *scope

	inputs     []Input
	asked      bool // inputs are known, or being found
	finding    bool // outputs are being found: a second question is a circle
	failed     bool // its inputs have a mistake, which is told already
	fromParent bool // its inputs are those of the composite around it
}

// tree builds a stage.
type tree struct {
	*reader
	stage  *Stage
	what   string
	plain  bool
	leaves []*Transform
	owners map[*Transform]*member
}

var (
	pipelineKeys  = []string{"type", "windowing", "resource_hints", "transforms", "extra_transforms", "source", "sink"}
	compositeKeys = append([]string{"name", "input", "output"}, pipelineKeys...)
	leafKeys      = []string{"type", "name", "input", "output", "output_schema", "windowing", "resource_hints", "config"}
)

// body reads what stands under `pipeline:`, resolves its names, and applies the weir: block.
func (r *reader) body(s *Stage, v, weir *Value, plain bool) {
	t := &tree{reader: r, stage: s, plain: plain, what: fmt.Sprintf("stage %q", s.Name), owners: map[*Transform]*member{}}
	before := len(r.errs)
	top := t.scope(v, nil, "")
	if top == nil || len(r.errs) > before {
		return
	}
	t.eachLeaf(top, t.connect)
	if len(r.errs) > before {
		return
	}
	t.unique()
	s.Transforms = t.sorted()
	t.weirBlock(weir)
}

// scope reads a chain or composite with all that is below it.
func (t *tree) scope(v *Value, owner *member, prefix string) *scope {
	sc := &scope{owner: owner, value: v}
	items := v
	switch v.Kind {
	case List: // a bare list is a composite
	case Map:
		keys := pipelineKeys
		if owner != nil {
			keys = compositeKeys
		}
		t.fields(v, "read", t.what, keys, func(Entry) {})
		if typ := v.Get("type"); typ != nil {
			sc.chain = t.oneOf(typ, t.what, "the pipeline's type", "chain", "composite") == "chain"
		}
		items = v.Get("transforms")
	default:
		t.bad(v.Pos, "E-TYPE", "read", t.what, fmt.Sprintf("a pipeline is a mapping or a list of transforms, this is %s", A(v.Kind)), "write `pipeline: {type: chain, transforms: […]}`")
		return nil
	}
	t.children(sc, items)
	t.paths(sc, prefix)
	for _, m := range sc.members {
		t.open(m)
	}
	return sc
}

// children lists source, transforms, sink and extra_transforms in their order.
func (t *tree) children(sc *scope, items *Value) {
	var prev *member
	add := func(v *Value, chained bool) {
		m := t.member(sc, v)
		if m == nil {
			return
		}
		if m.implied = chained; chained {
			t.noWiring(m)
			m.prev, prev = prev, m
		}
		sc.members = append(sc.members, m)
	}
	if v := sc.value.Get("source"); v != nil {
		add(v, sc.chain)
	}
	if items != nil && items.Kind == List {
		for _, v := range items.Items {
			add(v, sc.chain)
		}
	} else if items != nil {
		t.bad(items.Pos, "E-TYPE", "read", t.what, fmt.Sprintf("transforms is a list, this is %s", A(items.Kind)), "write `- type: …` lines")
	}
	if v := sc.value.Get("sink"); v != nil {
		add(v, sc.chain)
	}
	if extra, ok := sc.value.Entry("extra_transforms"); ok {
		if !sc.chain {
			t.bad(extra.Pos, "E-FIELD", "read", t.what, "extra_transforms belongs to a chain", "put them among `transforms`")
		}
		if extra.Value.Kind != List {
			t.bad(extra.Pos, "E-TYPE", "read", t.what, "extra_transforms is a list", "write `- type: …` lines")
		}
		for _, v := range extra.Value.Items {
			add(v, false)
		}
	}
	if len(sc.members) == 0 && len(t.errs) == 0 {
		t.bad(sc.value.Pos, "E-REQUIRED", "read", t.what, "the pipeline has no transforms", "add `transforms:` with a source, such as ReadFromCsv")
	}
	t.impliedChain(sc)
}

// impliedChain: the children of a composite that has an input are chained when none of them says otherwise (Beam 2.77).
func (t *tree) impliedChain(sc *scope) {
	if sc.chain || sc.owner == nil || sc.owner.value.Get("input") == nil && !sc.owner.implied {
		return
	}
	for _, m := range sc.members {
		if m.value.Get("input") != nil || m.value.Get("output") != nil {
			return
		}
	}
	sc.chain = true
	for i, m := range sc.members {
		if m.implied = true; i > 0 {
			m.prev = sc.members[i-1]
		}
	}
}

func (t *tree) noWiring(m *member) {
	for _, key := range []string{"input", "output"} {
		if e, ok := m.value.Entry(key); ok && !(m.inner != nil && key == "output") && !(isGroup(m.typ) && key == "output") {
			t.bad(e.Pos, "E-REF", "wire", m.describe(), key+" stands in a chain, which wires its members in order", "remove it, or make the pipeline `type: composite`")
		}
	}
}

func isGroup(typ string) bool { return typ == "chain" || typ == "composite" }

// describe names the member in messages.
func (m *member) describe() string {
	if m.name != "" {
		return fmt.Sprintf("%s %q", m.typ, m.name)
	}
	return m.typ
}

func (m *member) display() string {
	if m.name != "" {
		return m.name
	}
	return m.typ
}

func (t *tree) member(sc *scope, v *Value) *member {
	if v.Kind != Map {
		t.bad(v.Pos, "E-TYPE", "read", t.what, fmt.Sprintf("a transform is a mapping, this is %s", A(v.Kind)), "write `- type: …`")
		return nil
	}
	m := &member{in: sc, value: v, pos: v.Pos}
	if n := v.Get("name"); n != nil {
		if n.Kind != String || n.Text == "" {
			t.bad(n.Pos, "E-TYPE", "read", "transform", fmt.Sprintf("its name is %s", A(n.Kind)), "write a name, in quotes if YAML takes it for something else")
			return nil
		}
		m.name = n.Text
	}
	typ := v.Get("type")
	if typ == nil {
		t.bad(v.Pos, "E-REQUIRED", "read", "transform", "it has no type", instead("type", v, "add `type:`, one of "+strings.Join(transform.Types(), ", ")))
		return nil
	}
	m.typ, m.pos = typ.Text, typ.Pos
	return m
}

// paths gives each member its place in the tree. The same name twice is told apart by a number: it stays when lines are added above.
func (t *tree) paths(sc *scope, prefix string) {
	count, first := map[string]int{}, map[string]*member{}
	for _, m := range sc.members {
		d := m.display()
		if other := first[d]; other != nil && m.name != "" && other.name != "" && !t.plain {
			t.bad(m.value.Get("name").Pos, "E-DUPLICATE", "read", m.describe(), fmt.Sprintf("line %d has the same name", other.value.Get("name").Pos.Line), "give it another name")
		}
		if first[d] == nil {
			first[d] = m
		}
		count[d]++
	}
	seen := map[string]int{}
	for _, m := range sc.members {
		d := m.display()
		if seen[d]++; count[d] > 1 {
			d += "#" + strconv.Itoa(seen[d])
		}
		m.path = prefix + d
	}
}

// open makes the leaf, or goes down.
func (t *tree) open(m *member) {
	if isGroup(m.typ) {
		m.inner = t.scope(m.value, m, m.path+"/")
		return
	}
	typ, language, _ := strings.Cut(m.typ, "-")
	d, ok := transform.Lookup(typ)
	if !ok {
		types := append(transform.Types(), "chain", "composite")
		t.bad(m.pos, "E-TRANSFORM", "read", t.what, fmt.Sprintf("there is no transform %q (transforms: %s)", m.typ, strings.Join(types, ", ")), fault.DidYouMean(typ, types, "see `weir explain transforms`"))
		return
	}
	t.fields(m.value, "read", m.describe(), leafKeys, func(e Entry) {
		switch e.Key {
		case "output", "output_schema":
			t.bad(e.Pos, "E-NOTYET", "read", m.describe(), e.Key+" on a transform is not read yet", "for a source write `config: {output_schema: …}`; refer to the transform by its name")
		}
	})
	m.leaf = &Transform{Path: m.path, Type: typ, Language: language, Pos: m.pos, Windowing: m.value.Get("windowing"), order: len(t.leaves)}
	m.leaf.Config = t.config(m, d)
	if l := m.leaf.Config.Get("language"); l != nil {
		m.leaf.Language = l.Text
	}
	t.leaves = append(t.leaves, m.leaf)
	t.owners[m.leaf] = m
}

func (t *tree) eachLeaf(sc *scope, f func(*member)) {
	for _, m := range sc.members {
		if m.inner != nil {
			t.eachLeaf(m.inner, f)
		} else if m.leaf != nil {
			f(m)
		}
	}
}

// unique refuses two leaves of one path, which a name with a slash can make.
func (t *tree) unique() {
	seen := map[string]bool{}
	for _, l := range t.leaves {
		if seen[l.Path] {
			t.bad(l.Pos, "E-DUPLICATE", "read", l.Type, fmt.Sprintf("the path %q is taken by another transform", l.Path), "give it another name")
		}
		seen[l.Path] = true
	}
}

// sorted orders the leaves so that inputs come first, and keeps the document's order where that leaves a choice.
func (t *tree) sorted() []*Transform {
	var out []*Transform
	state := map[*Transform]int{} // 1: on the way, 2: done
	var way []*Transform
	var visit func(x *Transform) bool
	visit = func(x *Transform) bool {
		switch state[x] {
		case 1:
			t.circle(way[slices.Index(way, x):])
			return false
		case 2:
			return true
		}
		state[x] = 1
		way = append(way, x)
		for _, in := range x.Inputs {
			if !visit(in.From) {
				return false
			}
		}
		way = way[:len(way)-1]
		state[x] = 2
		out = append(out, x)
		return true
	}
	for _, l := range t.leaves {
		if !visit(l) {
			return nil
		}
	}
	return out
}

func (t *tree) circle(way []*Transform) {
	names := make([]string, 0, len(way)+1)
	for i := len(way) - 1; i >= 0; i-- { // inputs were followed upwards: turn it into the direction of the data
		names = append(names, way[i].Path)
	}
	first := way[len(way)-1]
	p := first.Pos
	if len(first.Inputs) > 0 {
		p = first.Inputs[0].Pos
	}
	t.bad(p, "E-CYCLE", "wire", t.what, "its transforms form a circle: "+strings.Join(append(names, names[0]), " -> "), "let one of them read something else")
}
