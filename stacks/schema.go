package stacks

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Schema is a structural schema of OpenAPI v3, as a custom resource carries it.
type Schema = map[string]any

// maxText bounds texts that nothing else bounds, in characters: the API server prices its rules by it.
const maxText = 4096

// schema is what the declaration says, as far as a structural schema can say it. What it cannot say (a type that is one of two, what hangs on
// another field) the loader refuses, and the condition Accepted tells.
func (f Field) schema() Schema {
	s := Schema{"description": f.Doc}
	switch f.Kind {
	case Object:
		f.object(s)
	case Map:
		entry := Field{Kind: Object, Doc: "one of them", Fields: f.Fields}.schema()
		s["type"], s["additionalProperties"] = "object", entry
		s["minProperties"], s["maxProperties"] = f.Least, f.Most
		s["x-kubernetes-validations"] = []any{Schema{"rule": fmt.Sprintf("self.all(name, name.matches('%s'))", f.Pattern),
			"message": fmt.Sprintf("a name is of the form a-z, then a-z, 0-9 or -, at most %d", maxName)}}
	case List:
		item := f.text(maxPath)
		if len(f.Fields) > 0 {
			item = Field{Kind: Object, Doc: "one of them", Fields: f.Fields}.schema()
		}
		s["type"], s["items"], s["maxItems"] = "array", item, f.Most
	case Text:
		maps.Copy(s, f.text(f.Most))
	case Size:
		s["type"], s["pattern"], s["maxLength"] = "string", sizePattern, 11
	case Whole:
		s["type"], s["minimum"] = "integer", f.Least
		if f.Most > 0 {
			s["maximum"] = f.Most
		}
	case Span:
		// Neither a number nor an object, as far as the type goes: bounds hold for the one, properties for the other.
		end := func(doc string) Schema {
			return Field{Kind: Whole, Doc: doc, Least: f.Least, Most: f.Most}.schema()
		}
		s["x-kubernetes-preserve-unknown-fields"] = true
		s["minimum"], s["maximum"] = f.Least, f.Most
		s["properties"] = Schema{"min": end("at least so many"), "max": end("at most so many")}
	case Moment:
		s["type"], s["format"] = "string", "date-time"
	}
	return s
}

func (f Field) object(s Schema) {
	properties := Schema{}
	var required []any
	for _, below := range f.Fields {
		properties[below.Name] = below.schema()
		if below.Required {
			required = append(required, below.Name)
		}
	}
	s["type"], s["properties"] = "object", properties
	if required != nil {
		s["required"] = required
	}
}

func (f Field) text(most int) Schema {
	if most == 0 {
		most = maxText
	}
	s := Schema{"type": "string", "maxLength": most}
	switch {
	case len(f.Words) > 0:
		words := make([]any, len(f.Words))
		for i, w := range f.Words {
			words[i] = w
		}
		s["enum"] = words
	case f.Pattern != "":
		s["pattern"] = f.Pattern
	}
	if f.Never != "" {
		s["not"] = Schema{"pattern": f.Never}
	}
	return s
}

// rule is a condition between fields of a service: as the API server evaluates it (CEL), and as a function, the twin that tests hold it to.
type rule struct {
	cel     string
	message string
	holds   func(service map[string]any) bool
}

// rules says which operator has which field and runs which versions. A field of two types has no name in CEL and so no rule; the loader
// refuses it.
func rules() []rule {
	var out []rule
	for _, f := range anyService()[len(serviceFields):] {
		if f.Kind == Span {
			continue
		}
		var having []string
		for _, o := range declared {
			if _, ok := find(o.Fields, f.Name); ok {
				having = append(having, o.Name)
			}
		}
		out = append(out, rule{
			cel:     fmt.Sprintf("!has(self.%s) || self.operator in ['%s']", f.Name, strings.Join(having, "', '")),
			message: fmt.Sprintf("%s is a field of %s alone", f.Name, strings.Join(having, " and ")),
			holds: func(service map[string]any) bool {
				_, has := service[f.Name]
				return !has || slices.Contains(having, fmt.Sprint(service["operator"]))
			},
		})
	}
	for _, o := range declared {
		f, ok := find(o.Fields, "version")
		if !ok {
			continue
		}
		out = append(out, rule{
			cel:     fmt.Sprintf("!has(self.version) || self.operator != '%s' || self.version in ['%s']", o.Name, strings.Join(f.Words, "', '")),
			message: fmt.Sprintf("the versions of %s are %s", o.Name, strings.Join(f.Words, ", ")),
			holds: func(service map[string]any) bool {
				v, has := service["version"]
				return !has || service["operator"] != o.Name || slices.Contains(f.Words, fmt.Sprint(v))
			},
		})
	}
	return out
}

// ResourceSchema is the schema of a Stack as a custom resource: the document with the status that the server writes.
func ResourceSchema() Schema {
	doc := Declaration()
	s := doc.schema()
	properties := s["properties"].(Schema)
	// The API server owns these three; it takes restrictions of the name alone.
	properties["apiVersion"] = Schema{"type": "string"}
	properties["kind"] = Schema{"type": "string"}
	name := doc.at("metadata", "name").schema()
	delete(name, "description")
	properties["metadata"] = Schema{"type": "object", "properties": Schema{"name": name}}
	properties["status"] = StatusSchema()
	s["required"] = []any{"spec"}

	services := properties["spec"].(Schema)["properties"].(Schema)["services"].(Schema)
	var checks []any
	for _, r := range rules() {
		checks = append(checks, Schema{"rule": r.cel, "message": r.message})
	}
	services["additionalProperties"].(Schema)["x-kubernetes-validations"] = checks
	return s
}
