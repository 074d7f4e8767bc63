package graph

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
)

// join is a Join while it is typed: two inputs by name, and which of them is looked up (ADR 9).
type join struct {
	*infer
	names  []string // of the inputs, in order
	outer  []bool   // rows of this input come out even if they match nothing
	side   int      // the input that is read whole
	config physical.LookupConfig
	out    column.Schema
}

// join types a lookup join: one input flows, the other is bounded, read whole and looked up. Joins that would have to keep the rows
// of a stream are refused.
func (i *infer) join() *Node {
	j := &join{infer: i}
	if !j.inputs() || !j.kind() || !j.choose() || !j.window() || !j.equalities() || !j.fields() {
		return nil
	}
	j.config.Keep = j.outer[1-j.side]
	return &Node{Op: physical.OpLookup, Config: j.config, Out: j.out, Window: j.stream().Window, SideInput: j.in[j.side]}
}

func (j *join) stream() *Node { return j.in[1-j.side] }

// input names an input, for messages.
func (j *join) input(k int) string { return strconv.Quote(j.names[k]) }

func (j *join) inputs() bool {
	for _, in := range j.t.Inputs {
		j.names = append(j.names, in.Name)
	}
	switch n := len(j.names); {
	case n < 2:
		j.fail(j.t.Pos, "E-REF", fmt.Sprintf("it has one input, %s: a join has two", j.input(0)), "write `input: {left: TRANSFORM, right: TRANSFORM}`")
		return false
	case n > 2:
		j.fail(j.t.Inputs[2].Pos, "E-NOTYET", fmt.Sprintf("it has %d inputs: one join looks up one side input for now", n), "join two of them, and the result to the third in a Join of its own")
		return false
	case j.in[0] == j.in[1]:
		j.fail(j.t.Inputs[1].Pos, "E-NOTYET", fmt.Sprintf("both inputs are %s: a transform that flows cannot be read whole too", j.in[0].Path), "read the source a second time for one of them")
		return false
	}
	return true
}

// kind reads `type`: a word, or {outer: [inputs]}, which is LEFT, RIGHT or FULL by which of the inputs it names, as in Beam.
func (j *join) kind() bool {
	j.outer = make([]bool, 2)
	v := j.t.Config.Get("type")
	if v == nil {
		return true
	}
	words := []string{"inner", "left", "right", "outer"}
	if v.Kind == dsl.String {
		switch v.Text {
		case "inner":
		case "left":
			j.outer[0] = true
		case "right":
			j.outer[1] = true
		case "outer":
			j.outer = []bool{true, true}
		default:
			j.fail(v.Pos, "E-FIELD", fmt.Sprintf("there is no join of type %q (types: %s)", v.Text, strings.Join(words, ", ")), fault.DidYouMean(v.Text, words, "write `type: inner`"))
			return false
		}
		return true
	}
	list := v.Get("outer")
	names, ok := dsl.Names(list)
	if list == nil || len(v.Entries) != 1 || !ok {
		j.fail(v.Pos, "E-TYPE", "a type that is a mapping has the form {outer: [input, …]}", "write `type: left`")
		return false
	}
	for _, n := range names {
		k, ok := j.named(n.Name, n.Pos)
		if !ok {
			return false
		}
		j.outer[k] = true
	}
	return true
}

// named finds an input.
func (j *join) named(name string, at fault.Pos) (int, bool) {
	k := slices.Index(j.names, name)
	if k < 0 {
		j.fail(at, "E-REF", fmt.Sprintf("it has no input %q (inputs: %s)", name, strings.Join(j.names, ", ")), fault.DidYouMean(name, j.names, "name an input of the join"))
	}
	return k, k >= 0
}

// choose finds the side input: the one that `weir: {Join: {side_input: NAME}}` names; else the only one that can be read whole; else, of two
// that can, the second, or the first where the join is a right one. Rows of the side input that match nothing cannot come out: which they
// are is known when the other input has ended, and a slot sees a part of that only.
func (j *join) choose() bool {
	why := []string{j.flows(j.in[0]), j.flows(j.in[1])}
	given := j.t.Weir.Get("side_input")
	switch {
	case why[0] != "" && why[1] != "":
		j.fail(j.t.Pos, "E-NOTYET", fmt.Sprintf("neither %s nor %s can be read whole (%s; %s): joining two streams needs state that this version does not keep", j.input(0), j.input(1), why[0], why[1]), "make one of them a file, rows of the document or a table")
		return false
	case j.outer[0] && j.outer[1]:
		j.fail(j.t.Config.Get("type").Pos, "E-NOTYET", "an outer join of both inputs would have to know which rows of the side input were never matched", "write `type: left` or `type: right`, so that the streamed input keeps its rows")
		return false
	case given != nil:
		k, ok := j.named(given.Text, given.Pos)
		if !ok {
			return false
		}
		if j.side = k; why[k] != "" {
			j.fail(given.Pos, "E-BOUNDED", fmt.Sprintf("the side input %s cannot be read whole: %s", j.input(k), why[k]), fmt.Sprintf("write `side_input: %s`", j.names[1-k]))
			return false
		}
	case why[0] == "" && why[1] == "":
		if j.side = 1; j.outer[1] {
			j.side = 0
		}
	case why[0] == "":
		j.side = 0
	default:
		j.side = 1
	}
	if j.outer[j.side] {
		word := []string{"left", "right"}[1-j.side]
		j.fail(j.t.Config.Get("type").Pos, "E-NOTYET", fmt.Sprintf("it keeps the rows of %s that match nothing, but that is the side input, which is looked up: which rows were never matched is not known before %s has ended", j.input(j.side), j.input(1-j.side)), fmt.Sprintf("write `type: inner`, or `type: %s` to keep those of %s", word, j.input(1-j.side)))
		return false
	}
	return true
}

// flows says why a node's rows cannot be read whole, or nothing where they can.
func (j *join) flows(n *Node) string {
	if c, ok := n.Config.(physical.ReadConfig); ok {
		switch ch := j.channels[c.Channel]; {
		case !c.Bounded:
			return n.Path + " has no end"
		case c.Connector == "kafka" || c.Connector == "nats":
			return n.Path + " reads a log that others write, and may be another at each recovery"
		case ch != nil && ch.Kafka != nil:
			return fmt.Sprintf("%s reads the Kafka channel %s, of which a slot sees only its partitions", n.Path, c.Channel)
		}
		return ""
	}
	for _, in := range n.Inputs {
		if why := j.flows(in); why != "" {
			return why
		}
	}
	return ""
}

// window refuses a windowed side input: Beam would join within windows, and a table has none.
func (j *join) window() bool {
	if w := j.in[j.side].Window; w.Type != "global" {
		j.fail(j.t.Inputs[j.side].Pos, "E-WINDOW", fmt.Sprintf("the side input %s has %s windows; it is looked up as a whole, whatever window a row is in", j.input(j.side), w.Type), "window behind the Join, or only the streamed input")
		return false
	}
	if j.t.Windowing != nil {
		j.fail(j.t.Windowing.Pos, "E-WINDOW", "it is windowed itself, and its side input would be too", "put the windowing on the transforms behind it, or on its streamed input")
		return false
	}
	return true
}

// equalities reads the fields that must be equal.
func (j *join) equalities() bool {
	v := j.t.Config.Get("equalities")
	if v.Kind == dsl.String {
		return j.equal([2]dsl.Name{{Name: v.Text, Pos: v.Pos}, {Name: v.Text, Pos: v.Pos}})
	}
	if len(v.Items) == 0 {
		j.fail(v.Pos, "E-REQUIRED", "nothing has to be equal: every row would match every row", fmt.Sprintf("write `equalities: [{%s: FIELD, %s: FIELD}]`", j.names[0], j.names[1]))
		return false
	}
	for _, item := range v.Items {
		if item.Kind != dsl.Map || len(item.Entries) != 2 {
			j.fail(item.Pos, "E-TYPE", "an equality names one field of each input", fmt.Sprintf("write `{%s: FIELD, %s: FIELD}`", j.names[0], j.names[1]))
			return false
		}
		var pair [2]dsl.Name
		for _, e := range item.Entries {
			k, ok := j.named(e.Key, e.Pos)
			if !ok {
				return false
			}
			pair[k] = dsl.Name{Name: e.Value.Text, Pos: e.Value.Pos}
		}
		if !j.equal(pair) {
			return false
		}
	}
	return true
}

func (j *join) equal(pair [2]dsl.Name) bool {
	var fields [2]column.Field
	for k, n := range pair {
		at := j.in[k].Out.Index(n.Name)
		if at < 0 {
			names := j.in[k].Out.Names()
			j.fail(n.Pos, "E-COLUMN", fmt.Sprintf("input %s has no field %q (fields: %s)", j.input(k), n.Name, strings.Join(names, ", ")), fault.DidYouMean(n.Name, names, "name a field of the input"))
			return false
		}
		fields[k] = j.in[k].Out.Fields[at]
	}
	switch a, b := fields[0].Kind, fields[1].Kind; {
	case a != b:
		j.fail(pair[1].Pos, "E-TYPE", fmt.Sprintf("%s of %s is %s, %s of %s is %s: they are never equal", pair[0].Name, j.input(0), dsl.A(a), pair[1].Name, j.input(1), dsl.A(b)), "convert one of them with MapToFields before the Join")
		return false
	case a == column.Float64: // as group_by does
		j.fail(pair[0].Pos, "E-KEY", fmt.Sprintf("it joins by %q, which is a number: equal values may be different keys", pair[0].Name), "join by an integer or a string")
		return false
	}
	j.config.Keys = append(j.config.Keys, physical.LookupKey{Field: pair[1-j.side].Name, Side: pair[j.side].Name})
	return true
}

// fields reads which fields come out: those that `fields` names in its order, then all of the inputs that it does not name. Without it all
// come out, and of two with one name the second is numbered, as Beam's SQL does.
func (j *join) fields() bool {
	v, rename := j.t.Config.Get("fields"), false
	named := map[string]bool{}
	if rename = v == nil; !rename {
		for _, e := range v.Entries {
			k, ok := j.named(e.Key, e.Pos)
			if !ok || !j.chosen(k, e.Value) {
				return false
			}
			named[e.Key] = true
		}
	}
	for k, name := range j.names {
		if named[name] {
			continue
		}
		for _, f := range j.in[k].Out.Fields {
			if !j.add(k, f.Name, f.Name, j.t.Inputs[k].Pos, rename) {
				return false
			}
		}
	}
	if len(j.out.Fields) == 0 {
		j.fail(v.Pos, "E-REQUIRED", "no field is left", "name at least one under fields")
		return false
	}
	return true
}

// chosen reads the fields of one input: a list, or new names for fields.
func (j *join) chosen(k int, v *dsl.Value) bool {
	if v.Kind == dsl.Map {
		for _, e := range v.Entries {
			if !j.add(k, e.Key, e.Value.Text, e.Pos, false) {
				return false
			}
		}
		return true
	}
	names, ok := dsl.Names(v)
	if !ok || v.Kind != dsl.List {
		j.fail(v.Pos, "E-TYPE", fmt.Sprintf("the fields of %s are a list, or {new name: field}; this is %s", j.input(k), dsl.A(v.Kind)), "leave the input out to have all of its fields")
		return false
	}
	for _, n := range names {
		if !j.add(k, n.Name, n.Name, n.Pos, false) {
			return false
		}
	}
	return true
}

// add puts a field into the output. What an outer join fills with nulls is nullable.
func (j *join) add(k int, name, field string, at fault.Pos, rename bool) bool {
	in := j.in[k].Out
	i := in.Index(field)
	if i < 0 {
		j.fail(at, "E-COLUMN", fmt.Sprintf("input %s has no field %q (fields: %s)", j.input(k), field, strings.Join(in.Names(), ", ")), fault.DidYouMean(field, in.Names(), "name a field of the input"))
		return false
	}
	for n := 0; rename && j.out.Index(name) >= 0; n++ {
		name = field + strconv.Itoa(n)
	}
	if j.out.Index(name) >= 0 {
		j.fail(at, "E-DUPLICATE", fmt.Sprintf("the output has a field %q already", name), fmt.Sprintf("give it another name: `fields: {%s: {NEW: %s}}`", j.names[k], field))
		return false
	}
	f := in.Fields[i]
	j.out.Fields = append(j.out.Fields, column.Field{Name: name, Kind: f.Kind, Nullable: f.Nullable || j.outer[1-k]})
	j.config.Fields = append(j.config.Fields, physical.LookupField{Name: name, Field: field, Side: k == j.side})
	return true
}

// detach takes the nodes that make side inputs out of the stage: they do not flow, are divided over no slots and have no positions.
func (b *builder) detach(s *Stage) {
	for _, n := range s.Nodes {
		if n.SideInput == nil {
			continue
		}
		n.Side = before(n.SideInput, s.Nodes)
		for _, m := range n.Side {
			b.sideNode(s, n, m)
		}
	}
	for _, n := range s.Nodes {
		// A join within a side input keeps its own side input to itself.
		n.Side = slices.DeleteFunc(n.Side, func(m *Node) bool {
			return slices.ContainsFunc(n.Side, func(j *Node) bool { return slices.Contains(j.Side, m) })
		})
		if n.SideInput != nil {
			n.Inputs = slices.DeleteFunc(slices.Clone(n.Inputs), func(in *Node) bool { return in == n.SideInput })
		}
	}
	all := s.Nodes
	s.Nodes = nil
	for _, n := range all {
		if !slices.ContainsFunc(all, func(j *Node) bool { return slices.Contains(j.Side, n) }) {
			s.Nodes = append(s.Nodes, n)
		}
	}
}

// before lists a node and all that it reads, in the order of the stage.
func before(last *Node, all []*Node) []*Node {
	reach := map[*Node]bool{}
	var visit func(*Node)
	visit = func(n *Node) {
		if reach[n] {
			return
		}
		reach[n] = true
		for _, in := range n.Inputs {
			visit(in)
		}
	}
	visit(last)
	return slices.DeleteFunc(slices.Clone(all), func(n *Node) bool { return !reach[n] })
}

// sideNode refuses what cannot be part of a side input.
func (b *builder) sideNode(s *Stage, join, n *Node) {
	for _, reader := range s.Nodes {
		if reader != join && slices.Contains(reader.Inputs, n) && !slices.Contains(join.Side, reader) || reader == join && n != join.SideInput && slices.Contains(join.Inputs, n) {
			b.bad(reader.Pos, "E-NOTYET", "build", reader.what(), fmt.Sprintf("it reads %s, which is read whole as the side input of %s: what is read whole does not flow too", n.Path, join.Path), fmt.Sprintf("read the source of %s a second time, under another name", n.Path))
		}
	}
	c, ok := n.Config.(physical.ReadConfig)
	if !ok {
		return
	}
	ch := b.channels[c.Channel]
	switch {
	case ch != nil && ch.Cassandra != nil:
		b.afterWriters(s, n)
	case c.Pace > 0:
		b.bad(n.Pos, "E-FIELD", "build", n.what(), fmt.Sprintf("it is the side input of %s, which is read whole before the first row: a pace would only delay that", join.Path), "remove `pace`")
	}
}
