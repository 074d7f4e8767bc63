package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/expr"
	"github.com/weir-project/weir/pipelines/physical"
)

// infer types one transform.
type infer struct {
	*builder
	stage *Stage
	t     *dsl.Transform
	in    []*Node
}

var global = physical.WindowConfig{Type: "global"}

func (i *infer) what() string {
	if i.t.Path == i.t.Type {
		return i.t.Type
	}
	return fmt.Sprintf("%s %q", i.t.Type, i.t.Path)
}

func (i *infer) fail(p fault.Pos, code, cause, hint string) *Node {
	i.bad(p, code, "build", i.what(), cause, hint)
	return nil
}

// input is the schema of the only input.
func (i *infer) input() column.Schema { return i.in[0].Out }

// node makes the typed transform, or tells why not and returns nil.
func (i *infer) node() *Node {
	n := i.typed()
	if n == nil {
		return nil
	}
	n.Path, n.Pos, n.Inputs, n.Syntax, n.Weir = i.t.Path, i.t.Pos, i.in, i.t, i.t.Weir
	return n
}

func (i *infer) typed() *Node {
	window, ok := i.window()
	if !ok {
		return nil
	}
	var n *Node
	switch i.t.Type {
	case "ReadFromCsv", "ReadFromJson", "ReadFromText":
		n = i.readFile()
	case "GenerateSequence":
		n = i.sequence()
	case "ReadFromKafka":
		n = i.readKafka()
	case "ReadFromNats":
		n = i.readNats()
	case "ReadFromChannel":
		n = i.readChannel()
	case "Create":
		n = i.create()
	case "MapToFields":
		n = i.mapToFields()
	case "Filter":
		n = i.filter()
	case "AssignTimestamps":
		n = i.timestamps()
	case "WindowInto":
		return i.windowInto()
	case "ExtractWindowingInfo":
		n = i.windowInfo(window)
	case "Combine":
		n = i.combine(window)
	case "Flatten":
		n = i.flatten()
	case "Join":
		return i.join()
	case "LogForTesting":
		n = i.log()
	case "AssertEqual":
		n = i.assert()
	case "WriteToCsv", "WriteToJson", "WriteToText":
		n = i.writeFile()
	case "WriteToKafka":
		n = i.writeKafka()
	case "WriteToNats":
		n = i.writeNats()
	case "WriteToChannel":
		n = i.writeChannel()
	default:
		return i.fail(i.t.Pos, "E-TRANSFORM", "it is declared, but has no meaning yet", "remove it")
	}
	if n != nil {
		n.Window = window
	}
	return n
}

// compile types an expression; a mistake is told at its place inside the document.
func (i *infer) compile(v *dsl.Value, src, language string) *expr.Program {
	p, err := expr.Compile(src, language, i.input())
	if err == nil {
		return p
	}
	var e *expr.Error
	if !errors.As(err, &e) {
		i.fail(v.Pos, "E-EXPR", err.Error(), "simplify the expression")
		return nil
	}
	hint := e.Hint
	if hint == "" {
		hint = "the fields are " + strings.Join(i.input().Names(), ", ")
	}
	code, cause := "E-EXPR", e.Msg
	if strings.HasPrefix(e.Msg, "unknown field") {
		code, cause = "E-COLUMN", fmt.Sprintf("%s (fields: %s)", e.Msg, strings.Join(i.input().Names(), ", "))
		hint = fault.DidYouMean(unknownName(e.Msg), i.input().Names(), "name a field of its input")
	}
	i.fail(i.text.At(v, e.Offset), code, cause, hint)
	return nil
}

// unknownName is the quoted word of a message.
func unknownName(msg string) string {
	if parts := strings.Split(msg, `"`); len(parts) > 2 {
		return parts[1]
	}
	return ""
}

// expression reads a scalar or {expression: …} as text. Beam turns a YAML number or boolean into Python's text of it.
func (i *infer) expression(v *dsl.Value) (at *dsl.Value, src string, ok bool) {
	at = v
	if v.Kind == dsl.Map {
		for _, e := range v.Entries {
			switch e.Key {
			case "expression":
				at = e.Value
			case "output_type":
			case "callable", "path", "name":
				i.fail(e.Pos, "E-NOTYET", e.Key+" needs the Python pool of a later version", "write an `expression:`")
				return nil, "", false
			default:
				i.fail(e.Pos, "E-FIELD", fmt.Sprintf("unknown field %q (fields: expression, output_type)", e.Key), fault.DidYouMean(e.Key, []string{"expression", "output_type"}, "remove it"))
				return nil, "", false
			}
		}
		if at == v {
			i.fail(v.Pos, "E-REQUIRED", "the mapping has no expression", "write `{expression: …}` or the expression alone")
			return nil, "", false
		}
	}
	switch at.Kind {
	case dsl.Bool:
		return at, map[bool]string{true: "True", false: "False"}[at.Bool], true
	case dsl.Int:
		return at, fmt.Sprint(at.Int), true
	case dsl.String, dsl.Float:
		return at, at.Text, true
	}
	i.fail(at.Pos, "E-TYPE", fmt.Sprintf("an expression is expected, this is %s", dsl.A(at.Kind)), "put it in quotes")
	return nil, "", false
}

// outputType checks a declared output_type against what was inferred.
func (i *infer) outputType(v *dsl.Value, name string, kind column.Kind) bool {
	declared := v.Get("output_type")
	if v.Kind != dsl.Map || declared == nil {
		return true
	}
	typ := declared
	if declared.Kind == dsl.Map {
		typ = declared.Get("type")
	}
	if typ == nil || typ.Text != kind.String() {
		i.fail(declared.Pos, "E-TYPE", fmt.Sprintf("output_type of %q says otherwise, but the expression is %s", name, dsl.A(kind)), "write `output_type: "+kind.String()+"`, or convert in the expression")
		return false
	}
	return true
}

// column finds a field that the document names.
func (i *infer) column(name string, at fault.Pos, in column.Schema) (column.Field, bool) {
	if k := in.Index(name); k >= 0 {
		return in.Fields[k], true
	}
	i.fail(at, "E-COLUMN", fmt.Sprintf("there is no field %q (fields: %s)", name, strings.Join(in.Names(), ", ")), fault.DidYouMean(name, in.Names(), "name a field of its input"))
	return column.Field{}, false
}

func (i *infer) mapToFields() *Node {
	in, cfg := i.input(), physical.MapConfig{}
	var out column.Schema
	add := func(f physical.Field, nullable bool) {
		cfg.Fields = append(cfg.Fields, f)
		out.Fields = append(out.Fields, column.Field{Name: f.Name, Kind: f.Kind, Nullable: nullable})
	}
	if !i.kept(in, add) {
		return nil
	}
	fields, good := i.t.Config.Get("fields"), true
	for _, e := range fields.Entries {
		if out.Index(e.Key) >= 0 {
			i.fail(e.Pos, "E-DUPLICATE", fmt.Sprintf("append keeps the field %q of the input", e.Key), fmt.Sprintf("add `drop: [%s]`, or give the new one another name", e.Key))
			good = false
			continue
		}
		f, nullable, ok := i.field(e, in)
		if !ok {
			good = false
			continue
		}
		add(f, nullable)
	}
	if !good {
		return nil
	}
	if len(out.Fields) == 0 {
		return i.fail(fields.Pos, "E-REQUIRED", "no field is left", "name at least one under fields")
	}
	return &Node{Op: physical.OpMap, Config: cfg, Out: out}
}

// kept adds the input's fields that append keeps.
func (i *infer) kept(in column.Schema, add func(physical.Field, bool)) bool {
	drop, _ := dsl.Names(i.t.Config.Get("drop")) // its shape was checked
	if v := i.t.Config.Get("append"); v == nil || !v.Bool {
		if len(drop) > 0 {
			i.fail(drop[0].Pos, "E-FIELD", "drop means something with append only", "add `append: true`, or remove drop")
			return false
		}
		return true
	}
	for _, d := range drop {
		if _, ok := i.column(d.Name, d.Pos, in); !ok {
			return false
		}
	}
	for _, f := range in.Fields {
		if !slices.ContainsFunc(drop, func(d dsl.Name) bool { return d.Name == f.Name }) {
			add(physical.Field{Name: f.Name, Expr: f.Name, Kind: f.Kind}, f.Nullable)
		}
	}
	return true
}

// field types one new field. An expression that is a field's name is a copy in every language.
func (i *infer) field(e dsl.Entry, in column.Schema) (physical.Field, bool, bool) {
	at, src, ok := i.expression(e.Value)
	if !ok {
		return physical.Field{}, false, false
	}
	if k := in.Index(src); k >= 0 && at.Kind == dsl.String {
		f := in.Fields[k]
		return physical.Field{Name: e.Key, Expr: src, Kind: f.Kind}, f.Nullable, i.outputType(e.Value, e.Key, f.Kind)
	}
	p := i.compile(at, src, i.t.Language)
	if p == nil || !i.outputType(e.Value, e.Key, p.Kind()) {
		return physical.Field{}, false, false
	}
	return physical.Field{Name: e.Key, Expr: src, Language: i.t.Language, Kind: p.Kind()}, p.Nullable(), true
}

func (i *infer) filter() *Node {
	at, src, kind, ok := i.computed("keep")
	if !ok {
		return nil
	}
	if kind != column.Bool {
		return i.fail(at.Pos, "E-TYPE", fmt.Sprintf("keep is a condition, this expression is %s", dsl.A(kind)), "compare it, such as `"+src+" != 0` (language: python)")
	}
	return &Node{Op: physical.OpFilter, Config: physical.FilterConfig{Keep: src, Language: i.t.Language}, Out: i.input()}
}

func (i *infer) timestamps() *Node {
	at, src, kind, ok := i.computed("timestamp")
	if !ok {
		return nil
	}
	if kind != column.Int64 && kind != column.Float64 && kind != column.Timestamp {
		return i.fail(at.Pos, "E-TYPE", fmt.Sprintf("an event time is seconds since 1970 or a timestamp, this expression is %s", dsl.A(kind)), "name a field of seconds, or convert it in the expression")
	}
	return &Node{Op: physical.OpTime, Config: physical.TimeConfig{Timestamp: src, Language: i.t.Language}, Out: i.input()}
}

// computed compiles the expression that a field of the configuration holds; ok is false where a mistake in it was reported.
func (i *infer) computed(field string) (at *dsl.Value, src string, kind column.Kind, ok bool) {
	if at, src, ok = i.expression(i.t.Config.Get(field)); !ok {
		return nil, "", 0, false
	}
	p := i.compile(at, src, i.t.Language)
	if p == nil {
		return nil, "", 0, false
	}
	return at, src, p.Kind(), true
}

// flatten wants the same fields of all inputs; their order is that of the first.
func (i *infer) flatten() *Node {
	out := i.in[0].Out
	for k, n := range i.in[1:] {
		at := i.t.Inputs[k+1].Pos
		if diff := difference(out, n.Out); diff != "" {
			return i.fail(at, "E-SCHEMA", fmt.Sprintf("its inputs %s and %s have different schemas: %s", i.in[0].Path, n.Path, diff), "give them the same fields with MapToFields first")
		}
		if !slices.Equal(out.Names(), n.Out.Names()) {
			return i.fail(at, "E-SCHEMA", fmt.Sprintf("its inputs %s and %s have the same fields in another order", i.in[0].Path, n.Path), "order them with MapToFields: "+strings.Join(out.Names(), ", "))
		}
		if i.in[0].Window != n.Window {
			return i.fail(at, "E-WINDOW", fmt.Sprintf("its inputs %s and %s have different windows", i.in[0].Path, n.Path), "window them in the same way, or after the Flatten")
		}
		out = eitherNull(out, n.Out)
	}
	return &Node{Op: physical.OpFlatten, Out: out}
}

func (i *infer) assert() *Node {
	rows, _, ok := i.rows(i.t.Config.Get("elements"))
	if !ok {
		return nil
	}
	cfg := physical.AssertConfig{Elements: make([]json.RawMessage, 0, len(rows))}
	for _, r := range rows {
		raw, err := json.Marshal(r)
		if err != nil {
			return i.fail(i.t.Config.Get("elements").Pos, "E-TYPE", err.Error(), "write finite numbers")
		}
		cfg.Elements = append(cfg.Elements, raw)
	}
	return &Node{Op: physical.OpAssert, Config: cfg, Out: i.input()}
}
