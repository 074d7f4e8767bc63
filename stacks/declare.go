package stacks

import (
	"regexp"
	"slices"
	"strings"
)

// Kind is what the value of a field may be.
type Kind string

const (
	Object Kind = "object"       // the fields below it
	Map    Kind = "map"          // names that the user chooses, each with the fields below it
	List   Kind = "list"         // of the fields below it; of texts where there are none
	Text   Kind = "text"         // one of Words, or what Pattern matches
	Whole  Kind = "whole number" // from Least to Most
	Size   Kind = "size"         // 512Mi, 20Gi, 1Ti
	Span   Kind = "number or {min, max}"
	Moment Kind = "time" // RFC 3339
)

// Field is the declaration of one field of the Stack document (D14). The loader, the schema of the custom resource and `weir explain` come
// from it, so that what one accepts the others accept.
type Field struct {
	Name     string
	Kind     Kind
	Doc      string
	Required bool
	Words    []string // of a text: the only ones there are
	Pattern  string   // of a text, of each text of a list, of the names of a map (RE2)
	Never    string   // a pattern that none of these may match
	Least    int      // of a whole number; of a map and a list: how many entries
	Most     int      // the same; of a text: how many characters. 0: no bound is declared
	Fields   []Field
}

// Operator is the declaration of one kind of service: the fields that it adds to those that every service has.
type Operator struct {
	Name   string
	Doc    string
	Fields []Field
}

const (
	// Names stand in certificates' common names, of at most 64 bytes, with a pod's index and a task's attempt behind them (X.509's
	// ub-common-name).
	maxName     = 20
	namePattern = `^[a-z][a-z0-9-]{0,19}$`
	sizePattern = `^[1-9][0-9]{0,8}(Mi|Gi|Ti)$`
	// Files lie below the stack's own folder.
	pathPattern = `^[^/]`
	pathNever   = `(^|/)\.\.(/|$)`
	maxPath     = 250
	maxServices = 50
	maxFiles    = 100
)

// MaxPods is the largest size of a service.
const MaxPods = 1000

// serviceFields are those of every service.
var serviceFields = []Field{
	{Name: "operator", Kind: Text, Required: true, Doc: "which operator runs it"},
	{Name: "memory", Kind: Size, Doc: "memory of each task, such as 512Mi; the operator's default where it is left out"},
}

// declared is the one table of operators and their fields.
var declared = []Operator{
	{"kafka", "an Apache Kafka, secured with SCRAM", []Field{
		versions("4.3"),
		{Name: "brokers", Kind: Whole, Least: 1, Most: MaxPods, Doc: "number of brokers"},
		{Name: "storage", Kind: Size, Doc: "disk of each broker, such as 20Gi"},
		port,
	}},
	{"cassandra", "an Apache Cassandra, secured with mTLS", []Field{
		versions("5.0"),
		{Name: "nodes", Kind: Whole, Least: 1, Most: MaxPods, Doc: "number of nodes"},
		{Name: "storage", Kind: Size, Doc: "disk of each node, such as 20Gi"},
		port,
	}},
	{"nats", "a NATS with JetStream, secured with mTLS and a password; one server", []Field{
		versions("2.15"),
		{Name: "storage", Kind: Size, Doc: "disk of the server, such as 20Gi"},
		port,
	}},
	{"stream", "the workers that run the stack's pipelines", []Field{
		{Name: "workers", Kind: Span, Least: 1, Most: MaxPods, Doc: "number of workers, or {min: 1, max: 8}: the load decides between them"},
		{Name: "cores", Kind: Whole, Least: 1, Most: 1024, Doc: "cores that each worker may use at once; all of its machine where it is left out"},
	}},
}

var port = Field{Name: "port", Kind: Whole, Least: 1, Most: 65535, Doc: "fixed client port; a free one is chosen where it is left out"}

// versions declares a version field; the last one is taken where it is left out.
func versions(known ...string) Field {
	return Field{Name: "version", Kind: Text, Words: known, Doc: "written as \"" + known[len(known)-1] + "\", in quotes"}
}

// Declaration is the whole document, the fields of a service being those of all operators.
func Declaration() Field {
	files := func(name, doc string) Field {
		return Field{Name: name, Kind: List, Most: maxFiles, Pattern: pathPattern, Never: pathNever, Doc: doc}
	}
	return Field{Name: "stack", Kind: Object, Doc: "a named set of services and the pipelines that run on them", Fields: []Field{
		{Name: "apiVersion", Kind: Text, Required: true, Words: []string{APIVersion}, Doc: "version of the document"},
		{Name: "kind", Kind: Text, Required: true, Words: []string{"Stack"}, Doc: "kind of the document"},
		{Name: "metadata", Kind: Object, Required: true, Doc: "what names it", Fields: []Field{
			{Name: "name", Kind: Text, Required: true, Pattern: namePattern, Most: maxName, Doc: "name of the stack"},
		}},
		{Name: "spec", Kind: Object, Required: true, Doc: "what is wanted", Fields: []Field{
			{Name: "profile", Kind: Text, Words: []string{string(Dev), string(Production)},
				Doc: "dev allows replication 1; production asks exactly_once for replication 3 and min ISR 2; dev where it is left out"},
			{Name: "services", Kind: Map, Required: true, Least: 1, Most: maxServices, Pattern: namePattern, Doc: "the services by name", Fields: anyService()},
			files("pipelines", "files of pipelines, below the folder of the stack file (on Kubernetes: keys of the ConfigMap of the stack's name)"),
			files("show", "files of pipelines that read results back; weir up prints them at the end"),
		}},
	}}
}

// anyService is the union of the operators' fields. A field of one name has one kind and one range in all of them; a test says so.
func anyService() []Field {
	out := slices.Clone(serviceFields)
	out[0].Words = operatorNames()
	docs := map[string]string{} // of fields whose operators document them differently
	for _, o := range declared {
		for _, f := range o.Fields {
			docs[f.Name] += "; " + o.Name + ": " + f.Doc
			i := slices.IndexFunc(out, func(g Field) bool { return g.Name == f.Name })
			if i < 0 {
				out = append(out, f)
				continue
			}
			out[i].Words = union(out[i].Words, f.Words)
			if out[i].Doc != f.Doc {
				out[i].Doc = strings.TrimPrefix(docs[f.Name], "; ")
			}
		}
	}
	return out
}

// union leaves its arguments as they are.
func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func operatorNames() []string {
	out := make([]string, len(declared))
	for i, o := range declared {
		out[i] = o.Name
	}
	return out
}

func findOperator(name string) (Operator, bool) {
	i := slices.IndexFunc(declared, func(o Operator) bool { return o.Name == name })
	if i < 0 {
		return Operator{}, false
	}
	return declared[i], true
}

// all are the operator's fields with those of every service before them.
func (o Operator) all() []Field { return append(slices.Clone(serviceFields), o.Fields...) }

// Field returns the named field below f.
func (f Field) Field(name string) (Field, bool) { return find(f.Fields, name) }

func find(fields []Field, name string) (Field, bool) {
	i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return fields[i], true
}

func names(fields []Field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.Name
	}
	return out
}

// at is the field at a path of names, which must be there.
func (f Field) at(path ...string) Field {
	for _, name := range path {
		below, ok := f.Field(name)
		if !ok {
			panic("stacks: no field " + name + " is declared below " + f.Name)
		}
		f = below
	}
	return f
}

// allows reports whether a text is one that the field may hold.
func (f Field) allows(text string) bool {
	switch {
	case f.Kind == Size:
		return matches(sizePattern, text)
	case len(f.Words) > 0:
		return slices.Contains(f.Words, text)
	case f.Never != "" && matches(f.Never, text):
		return false
	}
	return text != "" && (f.Pattern == "" || matches(f.Pattern, text))
}

// patterns are compiled once: a pattern of the declaration that does not compile is a defect of this package.
var patterns = map[string]*regexp.Regexp{
	namePattern: regexp.MustCompile(namePattern), sizePattern: regexp.MustCompile(sizePattern),
	pathPattern: regexp.MustCompile(pathPattern), pathNever: regexp.MustCompile(pathNever),
}

func matches(pattern, text string) bool { return patterns[pattern].MatchString(text) }
