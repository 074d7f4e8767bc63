package dsl

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/fault"
)

// APIVersion is the only version of the documents so far.
const APIVersion = "weir.dev/v1"

// PlainStage is the name of the one stage of a plain Beam YAML file.
const PlainStage = "main"

// DefaultCommit is how often a slot commits where the stage doesn't say (D8).
const DefaultCommit = time.Second

// Document is a pipeline file whose names all mean something.
type Document struct {
	Text     *Text
	Name     string
	Plain    bool   // only Beam YAML: one stage, PlainStage
	Stack    string // spec.stack
	Channels []Channel
	Stages   []*Stage
}

// Channel is a declaration under spec.channels. Exactly one of Kafka and Cassandra is set.
type Channel struct {
	Name      string
	Pos       fault.Pos
	Kafka     *Value
	Cassandra *Value
}

// Name is a name that the document mentions, with its place.
type Name struct {
	Name string
	Pos  fault.Pos
}

// Stage is one sub-pipeline.
type Stage struct {
	Name           string
	Pos            fault.Pos
	Mode           string // batch, streaming, or empty: inferred
	ModePos        fault.Pos
	After          []Name
	Guarantee      string // exactly_once, at_least_once; empty where the document doesn't ask
	GuaranteePos   fault.Pos
	Engine         string // native or beam; empty is native
	EnginePos      fault.Pos
	Runner         string // of the beam engine
	RunnerPos      fault.Pos
	MinWorkers     int
	MaxWorkers     int
	CommitInterval time.Duration
	Transforms     []*Transform // leaves, in topological order, in the document's order where that leaves a choice
}

// Transform is a leaf of the tree: chains and composites are dissolved, their names are the path's front.
type Transform struct {
	Path      string // unique in the stage: "Outer/Filter", "Filter#2" for the second of a scope
	Type      string
	Language  string // from the type's suffix (MapToFields-python) or config.language; empty is generic
	Pos       fault.Pos
	Inputs    []Input
	Windowing *Value // of the transform, or pushed to it as a root
	Config    *Value // a mapping, never nil
	Weir      *Value // its entry of the weir: block, or nil
	order     int
}

// Input is one resolved input.
type Input struct {
	From *Transform
	Name string // by which the transform knows it, where its inputs are named
	Pos  fault.Pos
}

var identifier = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
var channelName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,39}$`)

// Parse reads a document. The error is a fault or a fault.List with every mistake found, each of fault.ExitInvalid.
func Parse(file string, src []byte) (*Document, error) {
	r := newReader(file, src)
	root, err := r.parse(src)
	if err != nil {
		return nil, err
	}
	doc := r.root(root)
	if err := r.errs.Err(); err != nil {
		return nil, err
	}
	return doc, nil
}

func (r *reader) root(root *Value) *Document {
	doc := &Document{Text: r.text}
	if root.Kind != Map {
		r.bad(root.Pos, "E-TYPE", "read pipeline", r.text.File, "a mapping is expected, this is "+A(root.Kind), "begin with `pipeline:`, or with `kind: Pipeline`")
		return doc
	}
	if root.Get("kind") != nil || root.Get("apiVersion") != nil {
		r.pipelineKind(doc, root)
		return doc
	}
	r.plainFile(doc, root)
	return doc
}

// plainFile reads Beam YAML: other keys at its top are Beam's or somebody else's, and are ignored as Beam's launcher does.
func (r *reader) plainFile(doc *Document, root *Value) {
	doc.Plain, doc.Name = true, fileName(r.text.File)
	body, ok := root.Entry("pipeline")
	if !ok {
		r.bad(root.Pos, "E-REQUIRED", "read pipeline", r.text.File, "there is no `pipeline:` at its top", instead("pipeline", root, "add `pipeline:`, or write `kind: Pipeline` with stages"))
		return
	}
	s := &Stage{Name: PlainStage, Pos: body.Pos, CommitInterval: DefaultCommit}
	if v := root.Get("options").Get("streaming"); v != nil && v.Kind == Bool {
		s.Mode, s.ModePos = map[bool]string{true: "streaming", false: "batch"}[v.Bool], v.Pos
	}
	r.body(s, body.Value, root.Get("weir"), true)
	doc.Stages = []*Stage{s}
}

// fileName makes a pipeline's name from its file: what may stand in a topic and a task's name.
func fileName(file string) string {
	base := strings.ToLower(path.Base(strings.ReplaceAll(file, `\`, "/")))
	base, _, _ = strings.Cut(base, ".")
	var b strings.Builder
	for _, c := range base {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' && b.Len() > 0 {
			b.WriteRune(c)
		} else if b.Len() > 0 {
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String()[:min(b.Len(), 40)], "-")
	if name == "" {
		return "pipeline"
	}
	return name
}

// fields walks a strict mapping; unknown keys are mistakes with the nearest name.
func (r *reader) fields(v *Value, op, what string, known []string, f func(e Entry)) {
	if v == nil || v.Kind != Map {
		if v != nil {
			r.bad(v.Pos, "E-TYPE", op, what, fmt.Sprintf("a mapping is expected, this is %s", A(v.Kind)), "write `key: value` lines")
		}
		return
	}
	for _, e := range v.Entries {
		if known != nil && !containsName(known, e.Key) {
			r.bad(e.Pos, "E-FIELD", op, what, fmt.Sprintf("unknown field %q (fields: %s)", e.Key, strings.Join(known, ", ")), fault.DidYouMean(e.Key, known, "remove it"))
			continue
		}
		f(e)
	}
}

// instead is the hint for a key that is missing: a key that is there may be meant as it.
func instead(missing string, v *Value, fallback string) string {
	if near := fault.Nearest(missing, v.Keys()); near != "" {
		return fmt.Sprintf("write `%s` instead of `%s`", missing, near)
	}
	return fallback
}

func containsName(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

func (r *reader) pipelineKind(doc *Document, root *Value) {
	if v := root.Get("apiVersion"); v == nil || v.Text != APIVersion {
		r.bad(placeOf(v, root), "E-VERSION", "read pipeline", "apiVersion", "it must be "+APIVersion, "write `apiVersion: "+APIVersion+"`")
	}
	if v := root.Get("kind"); v == nil || v.Text != "Pipeline" {
		r.bad(placeOf(v, root), "E-KIND", "read pipeline", "kind", "it must be Pipeline", "write `kind: Pipeline`, or leave apiVersion and kind out of plain Beam YAML")
		return
	}
	spec := root.Get("spec")
	r.fields(root, "read pipeline", "document", []string{"apiVersion", "kind", "metadata", "spec"}, func(e Entry) {
		if e.Key == "metadata" {
			r.fields(e.Value, "read pipeline", "metadata", []string{"name"}, func(e Entry) { doc.Name = r.name(e.Value, "pipeline", identifier) })
		}
	})
	if root.Get("metadata").Get("name") == nil {
		r.bad(root.Pos, "E-REQUIRED", "read pipeline", "metadata.name", "the pipeline has no name", "write `metadata: {name: mypipeline}`")
	}
	if spec == nil {
		r.bad(root.Pos, "E-REQUIRED", "read pipeline", "spec", "there is none", "add `spec:` with `stages:` below it")
		return
	}
	r.fields(spec, "read pipeline", "spec", []string{"stack", "channels", "stages"}, func(e Entry) {
		switch e.Key {
		case "stack":
			doc.Stack = r.name(e.Value, "stack", identifier)
		case "channels":
			r.channels(doc, e.Value)
		case "stages":
			r.stages(doc, e.Value)
		}
	})
	if len(doc.Stages) == 0 && len(r.errs) == 0 {
		r.bad(spec.Pos, "E-REQUIRED", "read pipeline", "spec.stages", "there are none", "add a stage: `stages: {main: {pipeline: …}}`")
	}
}

func placeOf(v, fallback *Value) fault.Pos {
	if v != nil {
		return v.Pos
	}
	return fallback.Pos
}

func (r *reader) name(v *Value, what string, form *regexp.Regexp) string {
	r.checkName(v.Pos, v.Text, v.Kind, what, form)
	return v.Text
}

func (r *reader) checkName(p fault.Pos, text string, kind Kind, what string, form *regexp.Regexp) {
	if kind != String || !form.MatchString(text) {
		allowed := "0-9 or -"
		if form == channelName {
			allowed = "0-9, _ or -"
		}
		r.bad(p, "E-NAME", "read", what, fmt.Sprintf("the name %q is not of the form a-z, then a-z, %s, at most 40", text, allowed), "choose such a name")
	}
}

func (r *reader) channels(doc *Document, v *Value) {
	r.fields(v, "read pipeline", "channels", nil, func(e Entry) {
		r.checkName(e.Pos, e.Key, String, "channel", channelName)
		c := Channel{Name: e.Key, Pos: e.Pos}
		what := fmt.Sprintf("channel %q", e.Key)
		if n, ok := e.Value.Entry("nats"); ok {
			r.bad(n.Pos, "E-NOTYET", "read", what, "a stream of a NATS has no keyed partitions and no place for its writers' watermarks, which a channel's readers follow", "end the stage with WriteToNats and begin the next with ReadFromNats and a `disorder`, or write `kafka:`")
			return
		}
		r.fields(e.Value, "read", what, []string{"kafka", "cassandra"}, func(e Entry) {
			switch e.Key {
			case "kafka":
				c.Kafka = e.Value
				r.fields(e.Value, "read", what, []string{"service", "partitions", "key"}, func(Entry) {})
			case "cassandra":
				c.Cassandra = e.Value
				r.fields(e.Value, "read", what, []string{"service", "keyspace", "partition_key", "clustering_key"}, func(Entry) {})
			}
		})
		if e.Value.Kind == Map && (c.Kafka == nil) == (c.Cassandra == nil) && len(r.errs) == 0 {
			r.bad(e.Pos, "E-REQUIRED", "read", what, "it needs exactly one of kafka and cassandra", "write `"+e.Key+": {kafka: {service: events, partitions: 12, key: [id]}}`")
		}
		doc.Channels = append(doc.Channels, c)
	})
}
