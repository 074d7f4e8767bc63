package stacks

import "github.com/weir-project/weir/internal/fault"

// APIVersion is the only version of the documents so far.
const APIVersion = "weir.dev/v1"

// Profile says how much safety may be traded for a small machine.
type Profile string

const (
	Dev        Profile = "dev"        // replication 1 is allowed
	Production Profile = "production" // exactly_once needs replication 3 and min ISR 2
)

// Stack is a document that holds together.
type Stack struct {
	Name      string    `json:"name"`
	Profile   Profile   `json:"profile"`
	Services  []Service `json:"services"` // in the document's order
	Pipelines []Ref     `json:"pipelines,omitempty"`
	Show      []Ref     `json:"show,omitempty"` // pipelines that read results back; `weir up` prints them at the end
}

// Ref is a path in the document, relative to it.
type Ref struct {
	Path string    `json:"path"`
	Pos  fault.Pos `json:"-"`
}

// Service is one managed installation.
type Service struct {
	Name       string    `json:"name"`
	Operator   string    `json:"operator"`
	Version    string    `json:"version,omitempty"`
	Size       int       `json:"size"`                  // brokers, nodes or workers
	Max        int       `json:"max,omitempty"`         // workers: {min, max}; Size is min
	StorageMiB int64     `json:"storage_mib,omitempty"` // of each pod
	MemoryMiB  int64     `json:"memory_mib,omitempty"`  // 0: the operator's default
	Port       int       `json:"port,omitempty"`        // fixed client port; 0: a free one is chosen
	Pos        fault.Pos `json:"-"`
}

// Service returns the named service.
func (s *Stack) Service(name string) (Service, bool) {
	for _, v := range s.Services {
		if v.Name == name {
			return v, true
		}
	}
	return Service{}, false
}

// Operators maps each service to its operator, as the pipeline compiler wants it.
func (s *Stack) Operators() map[string]string {
	out := make(map[string]string, len(s.Services))
	for _, v := range s.Services {
		out[v.Name] = v.Operator
	}
	return out
}

// field is the declaration of one field of a service (D14): validation and documentation come from it.
type field struct {
	name string
	kind string // version, count, workers, size, port
	doc  string
}

// operator is the declaration of one kind of service.
type operator struct {
	name     string
	versions []string
	fields   []field
}

var common = []field{
	{"operator", "name", "which operator runs it"},
	{"memory", "size", "memory of each task, such as 512Mi"},
}

// declared is the one table of operators and their fields.
var declared = []operator{
	{"kafka", []string{"4.3"}, []field{
		{"version", "version", `"4.3"; versions are strings`},
		{"brokers", "count", "number of brokers"},
		{"storage", "size", "disk of each broker, such as 20Gi"},
		{"port", "port", "fixed client port; a free one is chosen where it is left out"},
	}},
	{"cassandra", []string{"5.0"}, []field{
		{"version", "version", `"5.0"; versions are strings`},
		{"nodes", "count", "number of nodes"},
		{"storage", "size", "disk of each node, such as 20Gi"},
		{"port", "port", "fixed client port; a free one is chosen where it is left out"},
	}},
	{"stream", nil, []field{
		{"workers", "workers", "number of workers, or {min: 1, max: 8}"},
	}},
}

func operatorNames() []string {
	out := make([]string, len(declared))
	for i, o := range declared {
		out[i] = o.name
	}
	return out
}

func findOperator(name string) (operator, bool) {
	for _, o := range declared {
		if o.name == name {
			return o, true
		}
	}
	return operator{}, false
}

func (o operator) field(name string) (field, bool) {
	for _, f := range append(common, o.fields...) {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

func (o operator) fieldNames() []string {
	var out []string
	for _, f := range append(common, o.fields...) {
		out = append(out, f.name)
	}
	return out
}
