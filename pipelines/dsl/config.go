package dsl

import (
	"fmt"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/transform"
)

// config checks a transform's config against its declaration (D14) and returns it, an empty mapping where there is none.
func (t *tree) config(m *member, d transform.Decl) *Value {
	e, ok := m.value.Entry("config")
	if !ok {
		e.Value = &Value{Kind: Map, Pos: m.pos}
	}
	if e.Value.Kind == Null { // `config:` with nothing below it
		e.Value = &Value{Kind: Map, Pos: e.Value.Pos}
	}
	t.shapes(e.Value, "read", m.describe(), d.Fields)
	if e.Value.Kind == Map {
		for _, f := range d.Fields {
			// A key that is nearly the name is told of already.
			if f.Required && e.Value.Get(f.Name) == nil && fault.Nearest(f.Name, e.Value.Keys()) == "" {
				t.bad(m.pos, "E-REQUIRED", "read", m.describe(), fmt.Sprintf("config.%s is missing: %s", f.Name, f.Doc), fmt.Sprintf("add `%s:` below config", f.Name))
			}
		}
	}
	return e.Value
}

// shapes checks names and shapes of fields.
func (t *tree) shapes(v *Value, op, what string, fields []transform.Field) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	t.fields(v, op, what, names, func(e Entry) {
		for _, f := range fields {
			if f.Name != e.Key {
				continue
			}
			if f.NotYet != "" {
				t.bad(e.Pos, "E-NOTYET", op, what, fmt.Sprintf("%s is not supported yet: %s", f.Name, f.NotYet), "leave "+f.Name+" out")
				continue
			}
			if wrong := shape(f.Type, e.Value); wrong != "" {
				t.bad(e.Value.Pos, "E-TYPE", op, what, fmt.Sprintf("%s: %s", f.Name, wrong), f.Name+" is "+f.Doc)
			}
		}
	})
}

// shape says what is wrong with a value of a declared type, or nothing.
func shape(typ transform.Type, v *Value) string {
	ok := true
	switch typ {
	case transform.String:
		ok = v.Kind == String
	case transform.Integer:
		ok = v.Kind == Int
		if ok && v.Int < 0 {
			return fmt.Sprintf("%d is negative", v.Int)
		}
	case transform.Number:
		ok = v.Kind == Int || v.Kind == Float
		if ok && (v.Int < 0 || v.Float < 0) {
			return v.Text + " is negative"
		}
	case transform.Boolean:
		ok = v.Kind == Bool
	case transform.Duration:
		if _, err := ParseDuration(v); err != nil {
			return err.Error()
		}
	case transform.Expression:
		ok = v.Kind != List && v.Kind != Null
	case transform.Mapping, transform.Schema:
		ok = v.Kind == Map
	case transform.List:
		ok = v.Kind == List
	case transform.Names:
		_, ok = Names(v)
	case transform.NameMap:
		_, isNames := Names(v)
		ok = isNames || v.Kind == Map
	case transform.Window:
		ok = v.Kind == Map
	case transform.Language:
		if v.Text != "generic" && v.Text != "python" {
			return fmt.Sprintf("the language %q is not supported (supported: generic, python)", v.Text)
		}
	case transform.Equalities:
		ok = v.Kind == String || v.Kind == List
	case transform.JoinType:
		ok = v.Kind == String || v.Kind == Map
	case transform.Bytes:
		ok = v.Kind == String && len(v.Text) == 1
	}
	if !ok {
		return fmt.Sprintf("a %s is expected, this is %s", typ, A(v.Kind))
	}
	return ""
}

// weirBlock gives each transform its entry of the weir: block, keyed by path, or by name or type where that is unique.
func (t *tree) weirBlock(v *Value) {
	if v == nil {
		return
	}
	t.fields(v, "read", "weir block", nil, func(e Entry) {
		found := t.named(e.Key)
		switch {
		case len(found) == 0:
			names := make([]string, len(t.leaves))
			for i, l := range t.leaves {
				names[i] = l.Path
			}
			t.bad(e.Pos, "E-REF", "read", "weir block", fmt.Sprintf("there is no transform %q in the stage (transforms: %s)", e.Key, strings.Join(names, ", ")), fault.DidYouMean(e.Key, names, "key it by a transform's name"))
			return
		case len(found) > 1:
			t.bad(e.Pos, "E-REF", "read", "weir block", fmt.Sprintf("%q is ambiguous: it means %s and %s", e.Key, found[0].Path, found[1].Path), "key it by the path of one of them")
			return
		case found[0].Weir != nil:
			t.bad(e.Pos, "E-DUPLICATE", "read", "weir block", fmt.Sprintf("%s has an entry already", found[0].Path), "keep one of them")
			return
		}
		x := found[0]
		d, _ := transform.Lookup(x.Type) // it was looked up when the leaf was made
		if len(d.Weir) == 0 {
			t.bad(e.Pos, "E-FIELD", "read", "weir block", x.Type+" has nothing to set here", "remove the entry")
			return
		}
		t.shapes(e.Value, "read", fmt.Sprintf("weir block of %s", x.Path), d.Weir)
		x.Weir = e.Value
	})
}

func (t *tree) named(key string) []*Transform {
	var byPath, byName []*Transform
	for _, l := range t.leaves {
		if l.Path == key {
			byPath = append(byPath, l)
		}
		if m := t.owners[l]; m != nil && (m.name == key || m.typ == key) {
			byName = append(byName, l)
		}
	}
	if len(byPath) > 0 {
		return byPath
	}
	return byName
}
