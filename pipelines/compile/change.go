package compile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// ChangeKind says what a new graph means for a pipeline that runs.
type ChangeKind string

// The kinds of a change.
const (
	Same    ChangeKind = "same"
	GoesOn  ChangeKind = "goes on" // no position and no state is touched
	Refused ChangeKind = "refused"
)

// Change is the judgement on a new graph. Notes tell of stages that change and go on; Reasons say why it is refused.
type Change struct {
	Kind    ChangeKind `json:"kind"`
	Notes   []Reason   `json:"notes,omitempty"`
	Reasons []Reason   `json:"reasons,omitempty"`
	Command string     `json:"command,omitempty"` // what to type where it is refused
}

// Reason names a stage or channel, and what changed of it. A fixed one stands in topics and tables that are there already, which a new
// run keeps.
type Reason struct {
	Subject string `json:"subject"`
	What    string `json:"what"`
	Fixed   bool   `json:"fixed,omitempty"`
}

func (r Reason) String() string { return r.Subject + ": " + r.What }

// Compatible judges a change of a running pipeline (D8): positions belong to a source's path, state to a fragment's fingerprint,
// and slots are for ever. A change that keeps all three goes on. A refused one is also an error of fault.ExitInvalid that says
// what to type.
func Compatible(old, next *physical.Graph) (Change, error) {
	d := &diff{}
	if old.Pipeline != next.Pipeline {
		d.fix("pipeline "+old.Pipeline, "its name becomes %s", next.Pipeline)
	}
	d.channels(old, next)
	d.stages(old, next)
	switch {
	case len(d.Reasons) > 0:
		d.Kind, d.Command = Refused, "weir rerun "+next.Pipeline+" STACK.yaml"
		if d.Fixed() {
			d.Command = "weir down --purge"
		}
	case len(d.Notes) > 0:
		d.Kind = GoesOn
	default:
		d.Kind = Same
	}
	if d.Kind != Refused {
		return d.Change, nil
	}
	texts := make([]string, len(d.Reasons))
	for i, r := range d.Reasons {
		texts[i] = r.String()
	}
	hint := "it starts a new run with it, from the beginning of its sources, when the present run is complete"
	if d.Fixed() {
		hint = "it deletes topics and tables, which a change of their shape needs; then `weir up` makes them anew"
	}
	return d.Change, fault.Invalid("E-CHANGE", "change", "pipeline "+next.Pipeline, fault.Causef("it cannot go on from where it stands: %s", strings.Join(texts, "; ")),
		fault.Hintf("`%s`: %s", d.Command, hint))
}

// Fixed reports whether a reason lies in topics and tables that are there, so that not even a new run can begin with the new graph.
func (c Change) Fixed() bool {
	return slices.ContainsFunc(c.Reasons, func(r Reason) bool { return r.Fixed })
}

type diff struct{ Change }

func (d *diff) refuse(subject, format string, args ...any) {
	d.Reasons = append(d.Reasons, Reason{Subject: subject, What: fmt.Sprintf(format, args...)})
}

// fix is refuse for what no new run can mend.
func (d *diff) fix(subject, format string, args ...any) {
	d.Reasons = append(d.Reasons, Reason{Subject: subject, What: fmt.Sprintf(format, args...), Fixed: true})
}

func (d *diff) note(subject, format string, args ...any) {
	d.Notes = append(d.Notes, Reason{Subject: subject, What: fmt.Sprintf(format, args...)})
}

// channels compares what rows travel through: they are there already, in the old form.
func (d *diff) channels(old, next *physical.Graph) {
	for _, name := range sortedKeys(old.Channels) {
		what := "channel " + name
		o := old.Channels[name]
		n, ok := next.Channels[name]
		if !ok {
			d.fix(what, "it is gone, with the rows in it")
			continue
		}
		if a, b := place(o), place(n); a != b {
			d.fix(what, "%s becomes %s", a, b)
		}
		d.schema(what, o.Schema, n.Schema, n.Cassandra != nil)
	}
	for _, name := range sortedKeys(next.Channels) {
		if _, ok := old.Channels[name]; !ok {
			d.note("channel "+name, "it is new")
		}
	}
}

// place prints all that is fixed of a channel.
func place(c physical.Channel) string {
	switch {
	case c.Kafka != nil:
		return fmt.Sprintf("topic %s of %s, %s, key %s", c.Kafka.Topic, c.Kafka.Service, fault.Count(c.Kafka.Partitions, "partition"), list(c.Kafka.Key))
	case c.Cassandra != nil:
		return fmt.Sprintf("table %s.%s of %s, primary key ((%s), %s)", c.Cassandra.Keyspace, c.Cassandra.Table, c.Cassandra.Service, list(c.Cassandra.PartitionKey), list(c.Cassandra.ClusteringKey))
	}
	return "nothing"
}

// schema allows a field more that may be null, since rows that are there already lack it; not in a table, which is never altered, and whose
// rows may wait in an outbox.
func (d *diff) schema(what string, old, next column.Schema, table bool) {
	for _, f := range old.Fields {
		i := next.Index(f.Name)
		switch {
		case i < 0:
			d.fix(what, "the field %s is gone", f.Name)
		case next.Fields[i].Kind != f.Kind:
			d.fix(what, "the field %s was %s and becomes %s", f.Name, f.Kind, next.Fields[i].Kind)
		case f.Nullable && !next.Fields[i].Nullable:
			d.fix(what, "the field %s may be null in rows that are there already", f.Name)
		}
	}
	for _, f := range next.Fields {
		switch {
		case old.Index(f.Name) >= 0:
		case table:
			d.fix(what, "the field %s is new, and tables are not altered yet", f.Name)
		case f.Nullable:
			d.note(what, "the field %s is new", f.Name)
		default:
			d.fix(what, "the new field %s may not be null, and rows that are there already lack it", f.Name)
		}
	}
}

func (d *diff) stages(old, next *physical.Graph) {
	for _, o := range old.Stages {
		i := slices.IndexFunc(next.Stages, func(s physical.Stage) bool { return s.Name == o.Name })
		if i < 0 {
			d.refuse("stage "+o.Name, "it is gone, with its positions and state")
			continue
		}
		d.stage(o, next.Stages[i])
	}
	for _, n := range next.Stages {
		if !slices.ContainsFunc(old.Stages, func(s physical.Stage) bool { return s.Name == n.Name }) {
			d.note("stage "+n.Name, "it is new and starts at the beginning of its sources")
		}
	}
}

func (d *diff) stage(old, next physical.Stage) {
	what := "stage " + old.Name
	if old.Mode != next.Mode {
		d.refuse(what, "its mode %s becomes %s", old.Mode, next.Mode)
	}
	if len(old.Fragments) != len(next.Fragments) {
		d.refuse(what, "%s become %d", fault.Count(len(old.Fragments), "fragment"), len(next.Fragments))
		return
	}
	before := len(d.Reasons)
	for i := range old.Fragments {
		d.fragment(what, old.Fragments[i], next.Fragments[i])
	}
	if a, b := unplaced(old), unplaced(next); len(d.Reasons) == before && !sameJSON(a, b) {
		d.note(what, "%s", changedNodes(a, b))
	}
}

func (d *diff) fragment(what string, old, next physical.Fragment) {
	if old.Slots != next.Slots {
		d.fix(what, "%s become %d (%s)", fault.Count(old.Slots, "slot"), next.Slots, next.SlotsReason)
	}
	if !slices.Equal(old.Key, next.Key) {
		d.refuse(what, "its key %s becomes %s", list(old.Key), list(next.Key))
	}
	if old.Once != next.Once {
		d.refuse(what, "it commits %s instead of %s", oncePhrase(next.Once), oncePhrase(old.Once))
	}
	if old.Fingerprint == next.Fingerprint {
		return
	}
	a, b := stateful(old), stateful(next)
	for _, line := range a {
		if !slices.Contains(b, line) {
			d.refuse(what, "%s is gone or another now", line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			d.refuse(what, "%s is new", line)
		}
	}
	if slices.Equal(a, b) || len(a) == len(b) && !slices.ContainsFunc(a, func(l string) bool { return !slices.Contains(b, l) }) {
		d.refuse(what, "its fingerprint %.8s becomes %.8s", old.Fingerprint, next.Fingerprint)
	}
}

func oncePhrase(once bool) string {
	if once {
		return "once, at its end,"
	}
	return "as it goes"
}

// unplaced is a stage without its lines in the file, since moving them changes nothing, and without what the server adds to a graph that it
// runs, which one that comes from a file does not have yet.
func unplaced(s physical.Stage) physical.Stage {
	s.Fragments = slices.Clone(s.Fragments)
	for i := range s.Fragments {
		s.Fragments[i].Home = ""
		nodes := slices.Clone(s.Fragments[i].Nodes)
		for k := range nodes {
			nodes[k].Line = 0
		}
		s.Fragments[i].Nodes = nodes
	}
	return s
}

// changedNodes lists the transforms that differ and touch no state.
func changedNodes(old, next physical.Stage) string {
	byPath := map[string]physical.Node{}
	for _, f := range old.Fragments {
		for _, n := range f.Nodes {
			byPath[n.Path] = n
		}
	}
	var out []string
	for _, f := range next.Fragments {
		for _, n := range f.Nodes {
			o, ok := byPath[n.Path]
			delete(byPath, n.Path)
			switch {
			case !ok:
				out = append(out, n.Path+" is new")
			case !sameJSON(o, n):
				out = append(out, n.Path+" changes")
			}
		}
	}
	for _, p := range sortedKeys(byPath) {
		out = append(out, p+" is gone")
	}
	if len(out) == 0 {
		return "its settings change"
	}
	return strings.Join(out, ", ")
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
