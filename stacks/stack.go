package stacks

import (
	"fmt"
	"strconv"

	"github.com/weir-project/weir/internal/fault"
)

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
	Min        int       `json:"min,omitempty"`         // the document's own least, once Size is the size that stands; 0: Size is it
	StorageMiB int64     `json:"storage_mib,omitempty"` // of each pod
	MemoryMiB  int64     `json:"memory_mib,omitempty"`  // 0: the operator's default
	Cores      int       `json:"cores,omitempty"`       // that each worker may use at once; 0: all of its machine
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

// Ranges reports whether the document gives bounds and not a number: {min, max}.
func (v Service) Ranges() bool { return v.Max > v.least() }

func (v Service) least() int {
	if v.Min > 0 {
		return v.Min
	}
	return v.Size
}

// Of is the service with the size that stands, which may be another than the document's.
func (v Service) Of(size int) Service {
	v.Min, v.Size = v.least(), size
	return v
}

// Sizes is the number or the bounds as the document has them.
func (v Service) Sizes() string {
	if v.Ranges() {
		return fmt.Sprintf("%d to %d", v.least(), v.Max)
	}
	return strconv.Itoa(v.Size)
}
