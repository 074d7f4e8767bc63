package transform

import "slices"

// Type is the shape of a field's value in the document.
type Type string

// The shapes. Expression may stand as a scalar or as {expression: …}; Names is one name or a list of them.
const (
	String     Type = "string"
	Integer    Type = "integer"
	Number     Type = "number"
	Boolean    Type = "boolean"
	Duration   Type = "duration" // a number with ms, s, m, h or d; seconds where no unit is given
	Expression Type = "expression"
	Mapping    Type = "mapping"
	List       Type = "list"
	Names      Type = "names"
	NameMap    Type = "names or mapping"
	Window     Type = "windowing"
	Schema     Type = "JSON schema"
	Language   Type = "language"
	Bytes      Type = "one character"
	Equalities Type = "field or list of mappings"
	JoinType   Type = "word or mapping"
)

// Field declares one key.
type Field struct {
	Name     string `json:"name"`
	Type     Type   `json:"type"`
	Required bool   `json:"required,omitempty"`
	Default  string `json:"default,omitempty"`
	Doc      string `json:"doc"`
	NotYet   string `json:"not_yet,omitempty"` // why this field of Beam's is refused for now
}

// Many is the number of inputs of a transform that takes any number.
const Many = -1

// Decl declares one transform.
type Decl struct {
	Type     string  `json:"type"`
	Doc      string  `json:"doc"`
	Fields   []Field `json:"fields"`
	Weir     []Field `json:"weir,omitempty"`  // keys of the weir: block
	Inputs   int     `json:"inputs"`          // 0, 1 or Many
	Named    bool    `json:"named,omitempty"` // its inputs have names: `input: {left: A, right: B}`
	Outputs  int     `json:"outputs"`
	Portable bool    `json:"portable"` // Beam YAML has it too
	Sink     bool    `json:"sink,omitempty"`
}

// All lists the declarations in alphabetical order.
func All() []Decl { return slices.Clone(declared) }

// Types lists the names of all transforms in alphabetical order.
func Types() []string {
	out := make([]string, len(declared))
	for i, d := range declared {
		out[i] = d.Type
	}
	return out
}

// Lookup finds a declaration by the transform's type.
func Lookup(typ string) (Decl, bool) {
	for _, d := range declared {
		if d.Type == typ {
			return d, true
		}
	}
	return Decl{}, false
}

// Field finds a config field.
func (d Decl) Field(name string) (Field, bool) { return find(d.Fields, name) }

// WeirField finds a key of the weir: block.
func (d Decl) WeirField(name string) (Field, bool) { return find(d.Weir, name) }

// FieldNames lists the config fields.
func (d Decl) FieldNames() []string { return fieldNames(d.Fields) }

// WeirNames lists the keys of the weir: block.
func (d Decl) WeirNames() []string { return fieldNames(d.Weir) }

// Source reports whether the transform has no input.
func (d Decl) Source() bool { return d.Inputs == 0 }

// fieldNames lists the names in their order.
func fieldNames(fields []Field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.Name
	}
	return out
}

func find(fields []Field, name string) (Field, bool) {
	for _, f := range fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}
