package column

// Kind is the physical type of a column.
type Kind uint8

// The kinds. Timestamps are microseconds since 1970-01-01 UTC in an int64, as Beam's are.
const (
	Invalid Kind = iota
	Bool
	Int64
	Float64
	String
	Bytes
	Timestamp
)

// Field is a named column. Types are Beam YAML's: boolean, integer, number, string, bytes, timestamp.
type Field struct {
	Name     string `json:"name"`
	Kind     Kind   `json:"kind"`
	Nullable bool   `json:"nullable,omitempty"`
}

// Schema is the order and the types of a batch's columns. Names are unique.
type Schema struct {
	Fields []Field `json:"fields"`
}

// Index returns the position of the named field, or -1.
func (s Schema) Index(name string) int {
	for i, f := range s.Fields {
		if f.Name == name {
			return i
		}
	}
	return -1
}

// Names returns the field names in order.
func (s Schema) Names() []string {
	out := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		out[i] = f.Name
	}
	return out
}

var kindNames = map[Kind]string{Bool: "boolean", Int64: "integer", Float64: "number", String: "string", Bytes: "bytes", Timestamp: "timestamp"}

// String is the type's name in Beam YAML.
func (k Kind) String() string {
	if n, ok := kindNames[k]; ok {
		return n
	}
	return "invalid"
}

// MarshalText writes the type's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a type's name; an unknown one becomes Invalid, which no compiler accepts.
func (k *Kind) UnmarshalText(b []byte) error {
	*k = Invalid
	for kind, n := range kindNames {
		if n == string(b) {
			*k = kind
		}
	}
	return nil
}
