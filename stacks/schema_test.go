package stacks

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.yaml.in/yaml/v3"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"pgregory.net/rapid"

	"github.com/weir-project/weir/internal/fault"
)

// apiServer says what an API server has against a document: the validator that it uses itself, and around it by hand what it does beyond:
// it finds the kind, refuses fields that the schema does not name (kubectl asks for that), and evaluates the rules.
func apiServer(t require, doc any) []string {
	top, ok := doc.(map[string]any)
	if !ok || top["apiVersion"] != APIVersion || top["kind"] != "Stack" {
		return []string{"no matches for its kind and version"}
	}
	if meta, ok := top["metadata"].(map[string]any); ok && meta["name"] == nil {
		return []string{"metadata.name: Required value"}
	}
	schema := ResourceSchema()
	data, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	var s spec.Schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, err := range validate.NewSchemaValidator(&s, nil, "", strfmt.Default).Validate(doc).Errors {
		out = append(out, err.Error())
	}
	out = append(out, unknown(schema, doc, "")...)
	out = append(out, broken(top)...)
	slices.Sort(out)
	return out
}

type require interface{ Fatal(...any) }

// unknown walks schema and document together.
func unknown(schema Schema, doc any, at string) (out []string) {
	switch v := doc.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(Schema)
		entry, isMap := schema["additionalProperties"].(Schema)
		for key, below := range v {
			path := strings.TrimPrefix(at+"."+key, ".")
			p, known := properties[key].(Schema)
			switch {
			case known:
				out = append(out, unknown(p, below, path)...)
			case isMap:
				out = append(out, unknown(entry, below, path)...)
			case schema["x-kubernetes-preserve-unknown-fields"] == nil:
				out = append(out, fmt.Sprintf("unknown field %q", path))
			}
		}
	case []any:
		for i, below := range v {
			if item, ok := schema["items"].(Schema); ok {
				out = append(out, unknown(item, below, fmt.Sprintf("%s[%d]", at, i))...)
			}
		}
	}
	return out
}

// broken evaluates the rules by their twins.
func broken(doc map[string]any) (out []string) {
	spec, _ := doc["spec"].(map[string]any)
	services, _ := spec["services"].(map[string]any)
	for name, v := range services {
		if !matches(namePattern, name) {
			out = append(out, fmt.Sprintf("spec.services: %q is no name", name))
		}
		service, ok := v.(map[string]any)
		for _, r := range rules() {
			if ok && !r.holds(service) {
				out = append(out, fmt.Sprintf("spec.services.%s: %s", name, r.message))
			}
		}
	}
	return out
}

// plain reads YAML as kubectl does: into what JSON holds.
func plain(src []byte) (any, error) {
	var doc any
	if err := yaml.Unmarshal(src, &doc); err != nil {
		return nil, err
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	doc = nil
	err = json.Unmarshal(data, &doc)
	return doc, err
}

// beyond are the mistakes that no structural schema can tell: of the text, between fields far from each other, of what this version runs.
var beyond = []string{"E-YAML", "E-DUPLICATE", "E-WORKERS", "E-LOG", "E-SIZE"}

func codes(err error) []string {
	var list fault.List
	if !errors.As(err, &list) {
		list = fault.List{fault.From(err)}
	}
	var out []string
	for _, e := range list {
		out = append(out, fault.From(e).Flat().Code)
	}
	return out
}

// documents are all stacks that this folder has: those of the loader's scenarios and the catalogue.
func documents(t *testing.T) map[string][]byte {
	out := map[string][]byte{}
	datadriven.RunTest(t, "testdata/load", func(_ *testing.T, d *datadriven.TestData) string {
		out[d.Pos] = []byte(d.Input)
		return d.Expected
	})
	found, err := filepath.Glob("catalog/*/stack.yaml")
	if err != nil || len(found) == 0 {
		t.Fatalf("the catalogue holds %v, %v", found, err)
	}
	for _, name := range found {
		if out[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestWhatTheLoaderRefusesForItsShapeTheSchemaRefuses(t *testing.T) {
	refused := 0
	for name, src := range documents(t) {
		_, err := Load("stack.yaml", src)
		doc, perr := plain(src)
		if perr != nil || doc == nil {
			if err == nil {
				t.Errorf("%s: the loader reads what is no YAML: %v", name, perr)
			}
			continue
		}
		complaints := apiServer(t, doc)
		shape := err != nil && slices.ContainsFunc(codes(err), func(c string) bool { return !slices.Contains(beyond, c) })
		if shape != (len(complaints) > 0) {
			t.Errorf("%s: the loader says %v, the schema %q", name, err, complaints)
		}
		if shape {
			refused++
		}
	}
	if refused < 4 {
		t.Errorf("only %d documents were refused for their shape: the comparison compares nothing", refused)
	}
}

// TestSchema prints what an API server would say, beside the loader's codes.
func TestSchema(t *testing.T) {
	datadriven.RunTest(t, "testdata/schema", func(t *testing.T, d *datadriven.TestData) string {
		doc, err := plain([]byte(d.Input))
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		loader := "accepts it"
		if _, err := Load("stack.yaml", []byte(d.Input)); err != nil {
			loader = strings.Join(codes(err), " ")
		}
		out := "loader: " + loader + "\n"
		complaints := apiServer(t, doc)
		for _, c := range complaints {
			out += "schema: " + c + "\n"
		}
		if complaints == nil {
			out += "schema: accepts it\n"
		}
		return out
	})
}

// right and wrong are values of a field of each kind.
func right(f Field) []any {
	switch {
	case len(f.Words) > 0:
		out := make([]any, len(f.Words))
		for i, w := range f.Words {
			out[i] = w
		}
		return out
	case f.Kind == Size:
		return []any{"1Mi", "512Mi", "20Gi", "999999999Ti"}
	case f.Kind == Whole && f.Name != "port":
		return []any{1} // more than the operators may run yet is no matter of shape
	case f.Kind == Whole:
		return []any{f.Least, f.Most}
	case f.Kind == Span:
		return []any{1, f.Most, map[string]any{"min": 1, "max": 8}}
	}
	return []any{"a", "a/b.yaml"}
}

func wrong(f Field) []any {
	switch f.Kind {
	case Size:
		return []any{"", "0Gi", "20GB", "Gi", "1.5Gi", "-1Gi", 20, true, "1000000000Mi", []any{"1Gi"}}
	case Whole:
		return []any{0, -1, f.Most + 1, "1", 1.5, true, nil, map[string]any{"min": 1}}
	case Span:
		return []any{0, f.Most + 1, map[string]any{"min": 0, "max": 2}, map[string]any{"min": 1, "max": "2"}}
	}
	return []any{"", "no such", 4.3, true, []any{"a"}, map[string]any{"a": "b"}}
}

// TestLoaderAndSchemaAgree: over documents made from the declaration with mistakes planted in them.
func TestLoaderAndSchemaAgree(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		services := map[string]any{}
		for range rapid.IntRange(1, 3).Draw(t, "services") {
			services[rapid.SampledFrom([]string{"a", "b", "c", "events", "a-b-1", "x9", "workers", "Events", "a23456789012345678901"}).Draw(t, "name")] = drawService(t)
		}
		spec := map[string]any{"services": services}
		for _, key := range []string{"profile", "show"} {
			if rapid.IntRange(0, 6).Draw(t, key) == 6 {
				spec[key] = rapid.SampledFrom([]any{"dev", "production", "prod", []any{"a.yaml", "b/c.yaml"}, []any{"/a"}, []any{"a/../b"}, []any{1}, []any{"a..b"}, true, []any{}}).Draw(t, "value of "+key)
			}
		}
		doc := map[string]any{"apiVersion": APIVersion, "kind": "Stack", "metadata": map[string]any{"name": "s"}, "spec": spec}
		src, err := yaml.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load("stack.yaml", src)
		read, perr := plain(src)
		if perr != nil {
			t.Fatal(perr)
		}
		complaints := apiServer(t, read)
		if (err == nil) != (len(complaints) == 0) {
			t.Fatalf("%s\nthe loader says %v\nthe schema %q", src, err, complaints)
		}
		if err == nil {
			accepted++
		} else {
			refused++
		}
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("%d documents were accepted and %d refused: one side was not tried", accepted, refused)
	}
}

func drawService(t *rapid.T) any {
	op := rapid.SampledFrom(declared).Draw(t, "operator")
	out := map[string]any{"operator": op.Name}
	if rapid.IntRange(0, 19).Draw(t, "odd operator") == 19 {
		out["operator"] = rapid.SampledFrom([]any{"kafak", "", 1, nil}).Draw(t, "operator's name")
		return out
	}
	for _, f := range op.all()[1:] {
		switch rapid.IntRange(0, 20).Draw(t, f.Name) {
		case 20:
			out[f.Name] = rapid.SampledFrom(wrong(f)).Draw(t, "wrong "+f.Name)
		case 1, 2, 3, 4, 5, 6, 7, 8:
			out[f.Name] = rapid.SampledFrom(right(f)).Draw(t, "right "+f.Name)
		}
	}
	if rapid.IntRange(0, 19).Draw(t, "stray field") == 19 {
		out[rapid.SampledFrom([]string{"broker", "nodes", "brokers", "port"}).Draw(t, "stray")] = 1
	}
	return out
}

// A field of one name means one thing, whichever operator has it: the schema is their union.
func TestAFieldOfOneNameIsOfOneKind(t *testing.T) {
	seen := map[string]Field{}
	for _, o := range declared {
		for _, f := range o.all() {
			was, ok := seen[f.Name]
			if !ok {
				seen[f.Name] = f
				continue
			}
			was.Doc, was.Words = f.Doc, f.Words
			if !reflect.DeepEqual(was, f) {
				t.Errorf("%s of %s is %+v, of another operator %+v", f.Name, o.Name, f, seen[f.Name])
			}
		}
	}
}

func TestEveryFieldIsDocumented(t *testing.T) {
	var walk func(path string, f Field)
	walk = func(path string, f Field) {
		if f.Doc == "" {
			t.Errorf("%s says nothing of itself", path)
		}
		text, err := Explain(path)
		if err != nil || !strings.Contains(text, f.Doc) {
			t.Errorf("explain %s: %q, %v", path, text, err)
		}
		for _, below := range f.Fields {
			walk(path+"."+below.Name, below)
		}
	}
	doc := Declaration()
	doc.Fields = append(doc.Fields, StatusDeclaration())
	walk("stack", doc)
	for path, code := range map[string]string{"pipe": "E-KIND", "stack.spec.service": "E-FIELD", "stack.kind.x": "E-FIELD"} {
		if _, err := Explain(path); !fault.HasCode(err, code) || fault.ExitCode(err) != fault.ExitNotFound {
			t.Errorf("explain %s: %v, want %s", path, err, code)
		}
	}
}
