package stacks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/dsl"
)

// MaxSource is the largest document that is parsed, in bytes.
const MaxSource = 1 << 20

// Load parses and validates a Stack document. The error is a fault.List with every mistake found, at file:line:col.
func Load(file string, src []byte) (*Stack, error) {
	r := &reader{file: file, lines: strings.Split(string(src), "\n")}
	if len(src) > MaxSource {
		return nil, fault.Invalid("E-SIZE", "read stack", file, fault.Causef("%d bytes, at most %d are read", len(src), MaxSource))
	}
	root, err := r.document(src)
	if err != nil {
		return nil, err
	}
	if r.other(root) {
		return nil, r.errs.Err()
	}
	s := r.stack(root)
	if err := r.errs.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// reader gathers mistakes, so that a user sees all of them at once.
type reader struct {
	file  string
	lines []string
	errs  fault.List
}

func (r *reader) pos(n *yaml.Node) fault.Pos {
	return fault.Pos{File: r.file, Line: n.Line, Col: n.Column}
}

func (r *reader) bad(n *yaml.Node, code, op, subject, cause, hint string) {
	line := ""
	if n.Line >= 1 && n.Line <= len(r.lines) {
		line = r.lines[n.Line-1]
	}
	r.errs.Add(fault.Invalid(code, op, subject, fault.AtPos(r.pos(n)), fault.Causef("%s", cause), fault.Hint(hint), fault.Line(line)))
}

func (r *reader) document(src []byte) (_ *yaml.Node, err error) {
	defer func() {
		// The library has panicked on malformed input in the past, and a stack comes from outside.
		if p := recover(); p != nil {
			err = fault.Invalid("E-YAML", "read stack", "", fault.At(r.file, 1, 1), fault.Causef("the parser gave up: %v", p), fault.Hint("simplify the document"))
		}
	}()
	if !utf8.Valid(src) {
		return nil, fault.Invalid("E-YAML", "read stack", "", fault.At(r.file, 1, 1), fault.Causef("it is not UTF-8"), fault.Hint("save it as UTF-8"))
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) != 1 {
		return nil, fault.Invalid("E-YAML", "read stack", "", fault.At(r.file, 1, 1), fault.Causef("the file is empty"), fault.Hint("begin with stacks/catalog/flights/stack.yaml"))
	} else if err != nil {
		return nil, dsl.Syntax(r.file, src, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fault.Invalid("E-YAML", "read stack", "", fault.At(r.file, 1, 1), fault.Causef("the file holds more than one document"), fault.Hint("keep one Stack in a file; list its pipelines under spec.pipelines"))
	}
	return doc.Content[0], nil
}

// entries walks a mapping; unknown and doubled keys are mistakes with the nearest name.
func (r *reader) entries(n *yaml.Node, what string, known []string, f func(key string, k, v *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		of := "names"
		if known != nil {
			of = strings.Join(known, ", ")
		}
		r.bad(n, "E-TYPE", "read", what, "a mapping of "+of+" is expected", "write `key: value` lines")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		switch {
		case seen[k.Value]:
			r.bad(k, "E-DUPLICATE", "read", what, fmt.Sprintf("the key %q stands there twice", k.Value), "keep one of them")
		case known != nil && !slices.Contains(known, k.Value):
			r.bad(k, "E-FIELD", "read", what, fmt.Sprintf("unknown field %q (fields: %s)", k.Value, strings.Join(known, ", ")),
				fault.DidYouMean(k.Value, known, "remove it"))
		default:
			f(k.Value, k, v)
		}
		seen[k.Value] = true
	}
}

// other refuses a document of another kind with that alone: what its fields should be in a Stack helps nobody.
func (r *reader) other(root *yaml.Node) bool {
	if root.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		switch {
		case k.Value == "kind" && v.Value == "Pipeline":
			r.bad(v, "E-KIND", "read stack", "kind", "it must be Stack, and this is a Pipeline", "name this file under spec.pipelines of a stack, and give that stack's file")
			return true
		case k.Value == "pipeline":
			r.bad(k, "E-KIND", "read stack", r.file, "it is a plain Beam pipeline, not a Stack", "weir run "+r.file)
			return true
		}
	}
	return false
}

func (r *reader) stack(root *yaml.Node) *Stack {
	s := &Stack{Profile: Dev}
	doc := Declaration()
	var api, kind, spec *yaml.Node
	r.entries(root, "stack", names(doc.Fields), func(key string, k, v *yaml.Node) {
		switch key {
		case "apiVersion":
			api = v
		case "kind":
			kind = v
		case "metadata":
			r.entries(v, "metadata", names(doc.at("metadata").Fields), func(_ string, _, v *yaml.Node) { s.Name = r.name(v, "stack") })
		case "spec":
			spec = v
		}
	})
	if api == nil || api.Value != APIVersion {
		r.bad(or(api, root), "E-VERSION", "read stack", "apiVersion", "it must be "+APIVersion, "write `apiVersion: "+APIVersion+"`")
	}
	if kind == nil || kind.Value != "Stack" {
		r.bad(or(kind, root), "E-KIND", "read stack", "kind", "it must be Stack", "write `kind: Stack`, or run a pipeline with `weir run FILE`")
	}
	if s.Name == "" && len(r.errs) == 0 {
		r.bad(root, "E-NAME", "read stack", "metadata.name", "the stack has no name", "write `metadata: {name: mystack}`")
	}
	if spec == nil {
		r.bad(root, "E-SPEC", "read stack", "spec", "there is none", "add `spec:` with `services:` below it")
		return s
	}
	r.spec(s, doc.at("spec"), spec)
	return s
}

func or(n, fallback *yaml.Node) *yaml.Node {
	if n != nil {
		return n
	}
	return fallback
}

func (r *reader) name(v *yaml.Node, what string) string {
	if v.Kind != yaml.ScalarNode || v.Tag != "!!str" || !matches(namePattern, v.Value) {
		r.bad(v, "E-NAME", "read", what, fmt.Sprintf("the name %q is not of the form a-z, then a-z, 0-9 or -, at most %d", v.Value, maxName), "choose such a name")
	}
	return v.Value
}

func (r *reader) spec(s *Stack, decl Field, spec *yaml.Node) {
	r.entries(spec, "spec", names(decl.Fields), func(key string, _, v *yaml.Node) {
		f := decl.at(key)
		switch key {
		case "profile":
			s.Profile = Profile(v.Value)
			if !f.allows(v.Value) {
				r.bad(v, "E-PROFILE", "read stack", "profile", fmt.Sprintf("%q is unknown (profiles: %s)", v.Value, strings.Join(f.Words, ", ")), fault.DidYouMean(v.Value, f.Words, "write `profile: dev`"))
			}
		case "services":
			r.entries(v, "services", nil, func(name string, k, v *yaml.Node) {
				r.name(k, "service")
				s.Services = append(s.Services, r.service(name, k, v))
			})
			r.atMost(v, f, len(s.Services))
		case "pipelines":
			s.Pipelines = r.refs(v, f)
		case "show":
			s.Show = r.refs(v, f)
		}
	})
	if len(s.Services) == 0 && len(r.errs) == 0 {
		r.bad(spec, "E-SERVICES", "read stack", "spec.services", "there are none", "add one, such as `events: {operator: kafka, version: \"4.3\", brokers: 1}`")
	}
	r.roles(s, spec)
}

// roles refuses what this slice's Decide cannot carry: more than one worker fleet, and replication that a profile demands.
func (r *reader) roles(s *Stack, spec *yaml.Node) {
	fleets, kafkas := 0, 0
	for _, v := range s.Services {
		switch v.Operator {
		case "stream":
			fleets++
		case "kafka":
			kafkas++
		}
	}
	if len(s.Pipelines) > 0 && fleets != 1 && len(r.errs) == 0 {
		r.bad(spec, "E-WORKERS", "read stack", "spec.services", fmt.Sprintf("the pipelines run on the stack's worker service: one is needed, %d are there", fleets), "add `workers: {operator: stream, workers: 2}`")
	}
	if len(s.Pipelines) > 0 && kafkas == 0 && len(r.errs) == 0 {
		r.bad(spec, "E-LOG", "read stack", "spec.services", "the stages of pipelines keep their progress in a Kafka of the stack, and there is none", "add `events: {operator: kafka, version: \"4.3\", brokers: 1}`")
	}
}

// atMost refuses more entries than are declared.
func (r *reader) atMost(v *yaml.Node, f Field, n int) {
	if n > f.Most {
		r.bad(v, "E-NUMBER", "read stack", f.Name, fmt.Sprintf("%d are there, at most %d may be", n, f.Most), "make two stacks of it")
	}
}

func (r *reader) refs(v *yaml.Node, f Field) []Ref {
	if v.Kind != yaml.SequenceNode {
		r.bad(v, "E-TYPE", "read stack", f.Name, "a list of file names is expected", "write `"+f.Name+": [flights.yaml]`")
		return nil
	}
	r.atMost(v, f, len(v.Content))
	var out []Ref
	for _, n := range v.Content {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || len(n.Value) > maxPath || !f.allows(n.Value) {
			r.bad(n, "E-PATH", "read stack", f.Name, fmt.Sprintf("%q is not a path below the stack file", n.Value), "put the pipeline beside the stack file")
			continue
		}
		out = append(out, Ref{Path: n.Value, Pos: r.pos(n)})
	}
	return out
}
