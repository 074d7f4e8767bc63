package graph

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
)

// kinds are the types of a JSON schema that a column can hold; timestamp is Weir's own word.
var kinds = map[string]column.Kind{"boolean": column.Bool, "integer": column.Int64, "number": column.Float64,
	"string": column.String, "bytes": column.Bytes, "timestamp": column.Timestamp}

var kindList = []string{"boolean", "integer", "number", "string", "bytes", "timestamp"}

// schema reads config.output_schema: {type: object, properties: {name: {type: …}}, required: […]}. A property that is not
// required may be null, as in Beam.
func (i *infer) schema() (column.Schema, bool) { return i.schemaOf("output_schema", "file") }

func (i *infer) schemaOf(key, of string) (column.Schema, bool) {
	var out column.Schema
	v := i.t.Config.Get(key)
	if v == nil {
		i.fail(i.t.Pos, "E-REQUIRED", fmt.Sprintf("config.%s is missing: the types of a %s's columns are not guessed from its rows", key, of), "add `"+key+": {type: object, properties: {id: {type: integer}}}`")
		return out, false
	}
	for _, e := range v.Entries {
		switch e.Key {
		case "type":
			if e.Value.Text != "object" {
				i.fail(e.Value.Pos, "E-SCHEMA", fmt.Sprintf("the rows of a schema are an object, this says %q", e.Value.Text), "write `type: object`")
				return out, false
			}
		case "properties", "required", "title", "description", "$schema", "additionalProperties":
		default:
			known := []string{"type", "properties", "required", "additionalProperties", "title", "description"}
			i.fail(e.Pos, "E-FIELD", fmt.Sprintf("unknown field %q of a JSON schema (fields: type, properties, required, additionalProperties)", e.Key), fault.DidYouMean(e.Key, known, "remove it"))
			return out, false
		}
	}
	properties := v.Get("properties")
	if properties == nil || properties.Kind != dsl.Map || len(properties.Entries) == 0 {
		i.fail(v.Pos, "E-SCHEMA", "it has no properties", "add `properties: {id: {type: integer}}`")
		return out, false
	}
	required, ok := dsl.Names(v.Get("required"))
	if !ok {
		i.fail(v.Get("required").Pos, "E-TYPE", "required lists names of properties", "write `required: [id]`")
		return out, false
	}
	for _, e := range properties.Entries {
		k, ok := i.property(e)
		if !ok {
			return out, false
		}
		needed := slices.ContainsFunc(required, func(n dsl.Name) bool { return n.Name == e.Key })
		out.Fields = append(out.Fields, column.Field{Name: e.Key, Kind: k, Nullable: !needed})
	}
	for _, n := range required {
		if _, ok := i.column(n.Name, n.Pos, out); !ok {
			return out, false
		}
	}
	return out, true
}

func (i *infer) property(e dsl.Entry) (column.Kind, bool) {
	typ := e.Value.Get("type")
	if typ == nil || !typ.Scalar() {
		i.fail(e.Value.Pos, "E-SCHEMA", fmt.Sprintf("the property %q has no type", e.Key), fmt.Sprintf("write `%s: {type: string}`", e.Key))
		return column.Invalid, false
	}
	if typ.Text == "array" || typ.Text == "object" {
		i.fail(typ.Pos, "E-NOTYET", fmt.Sprintf("the property %q is an %s: nested values come in a later version", e.Key, typ.Text), "leave it out; a field that is not in the schema is not read")
		return column.Invalid, false
	}
	k, ok := kinds[typ.Text]
	if !ok {
		i.fail(typ.Pos, "E-SCHEMA", fmt.Sprintf("the property %q has the unknown type %q", e.Key, typ.Text), fault.DidYouMean(typ.Text, kindList, "the types are boolean, integer, number, string, bytes, timestamp"))
	}
	return k, ok
}

// create types rows that stand in the document.
func (i *infer) create() *Node {
	v := i.t.Config.Get("elements")
	rows, schema, ok := i.rows(v)
	if !ok {
		return nil
	}
	if i.t.Config.Get("output_schema") != nil {
		declared, ok := i.schema()
		if !ok {
			return nil
		}
		for _, f := range schema.Fields {
			d, ok := i.column(f.Name, v.Pos, declared)
			if !ok {
				return nil
			}
			if d.Kind != f.Kind && !(d.Kind == column.Float64 && f.Kind == column.Int64) {
				return i.fail(v.Pos, "E-TYPE", fmt.Sprintf("the elements have %s as %s, output_schema says %s", f.Name, dsl.A(f.Kind), d.Kind), "change one of them")
			}
		}
		schema = declared
	}
	if len(schema.Fields) == 0 {
		return i.fail(v.Pos, "E-SCHEMA", "without rows it has no fields", "add an element, or an output_schema")
	}
	cfg := CreateConfig{Elements: make([]json.RawMessage, 0, len(rows))}
	for _, r := range rows {
		raw, ok := i.encode(r)
		if !ok {
			return nil
		}
		cfg.Elements = append(cfg.Elements, raw)
	}
	raw, ok := i.encode(cfg)
	if !ok {
		return nil
	}
	return i.read(physical.ReadConfig{Connector: "create", Format: "json", Config: raw, Schema: schema, Bounded: true})
}

// rows reads elements: mappings are rows, scalars {element: scalar}. A field that a row lacks is null in it.
func (i *infer) rows(v *dsl.Value) ([]map[string]any, column.Schema, bool) {
	var out column.Schema
	rows := make([]map[string]any, 0, len(v.Items))
	present := map[string]int{}
	for _, item := range v.Items {
		entries := item.Entries
		if item.Kind != dsl.Map {
			entries = []dsl.Entry{{Key: "element", Pos: item.Pos, Value: item}}
		}
		row := map[string]any{}
		for _, e := range entries {
			value, kind, ok := i.element(e)
			if !ok {
				return nil, out, false
			}
			if row[e.Key] = value; value == nil {
				if out.Index(e.Key) < 0 {
					out.Fields = append(out.Fields, column.Field{Name: e.Key})
				}
				continue
			}
			present[e.Key]++
			if !i.unify(&out, e, kind) {
				return nil, out, false
			}
		}
		rows = append(rows, row)
	}
	for k, f := range out.Fields {
		if f.Kind == column.Invalid {
			out.Fields[k].Kind = column.String // null in every row: any type will do
		}
		out.Fields[k].Nullable = present[f.Name] < len(rows)
	}
	return rows, out, true
}

func (i *infer) unify(s *column.Schema, e dsl.Entry, k column.Kind) bool {
	at := s.Index(e.Key)
	if at < 0 {
		s.Fields = append(s.Fields, column.Field{Name: e.Key, Kind: k})
		return true
	}
	f := &s.Fields[at]
	numbers := (f.Kind == column.Int64 || f.Kind == column.Float64) && (k == column.Int64 || k == column.Float64)
	switch {
	case f.Kind == k:
	case f.Kind == column.Invalid:
		f.Kind = k
	case numbers:
		f.Kind = column.Float64
	default:
		i.fail(e.Value.Pos, "E-TYPE", fmt.Sprintf("%s is %s here and %s in an earlier element", e.Key, dsl.A(k), dsl.A(f.Kind)), "give a field one type in all elements")
		return false
	}
	return true
}

func (i *infer) element(e dsl.Entry) (any, column.Kind, bool) {
	v := e.Value
	switch v.Kind {
	case dsl.Null:
		return nil, column.Invalid, true
	case dsl.Bool:
		return v.Bool, column.Bool, true
	case dsl.Int:
		return v.Int, column.Int64, true
	case dsl.Float:
		return v.Float, column.Float64, true
	case dsl.String:
		return v.Text, column.String, true
	case dsl.Time:
		return v.Time.Format(time.RFC3339Nano), column.Timestamp, true
	}
	hint := "write one field for each value"
	if v.Kind == dsl.Date {
		hint = "write a timestamp such as 2001-01-01T00:00:00Z, or put the date in quotes"
	}
	i.fail(v.Pos, "E-NOTYET", fmt.Sprintf("%s is %s, which a column cannot hold yet", e.Key, dsl.A(v.Kind)), hint)
	return nil, column.Invalid, false
}
