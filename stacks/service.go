package stacks

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weir-project/weir/internal/fault"
)

func (r *reader) service(name string, k, n *yaml.Node) Service {
	s := Service{Name: name, Size: 1, Pos: r.pos(k)}
	what := fmt.Sprintf("service %q", name)
	op, ok := r.operator(&s, n, what)
	if !ok {
		return s
	}
	r.entries(n, what, names(op.all()), func(key string, _, v *yaml.Node) {
		f, _ := find(op.all(), key)
		r.field(&s, op, f, v, what)
	})
	if f, ok := find(op.Fields, "version"); ok && s.Version == "" {
		s.Version = f.Words[len(f.Words)-1]
	}
	// Two nodes are written down for the operators issue: a plan for them is refused, not half made.
	if op.Name == "cassandra" && s.Size > 1 {
		r.bad(n, "E-SIZE", "read", what, fmt.Sprintf("%s of %d is asked for, this version runs 1", op.Name, s.Size), "write 1 for now")
	}
	return s
}

func (r *reader) operator(s *Service, n *yaml.Node, what string) (Operator, bool) {
	if n.Kind != yaml.MappingNode {
		r.bad(n, "E-TYPE", "read", what, "a mapping is expected", "write `{operator: kafka, version: \"4.3\", brokers: 1}`")
		return Operator{}, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != "operator" {
			continue
		}
		v := n.Content[i+1]
		s.Operator = v.Value
		op, ok := findOperator(v.Value)
		if !ok {
			names := operatorNames()
			r.bad(v, "E-OPERATOR", "read", what, fmt.Sprintf("unknown operator %q (operators: %s)", v.Value, strings.Join(names, ", ")), fault.DidYouMean(v.Value, names, "use one of these"))
		}
		return op, ok
	}
	r.bad(n, "E-OPERATOR", "read", what, "it names no operator (operators: "+strings.Join(operatorNames(), ", ")+")", "add `operator: kafka`")
	return Operator{}, false
}

func (r *reader) field(s *Service, op Operator, f Field, v *yaml.Node, what string) {
	subject := what + " field " + f.Name
	switch f.Name {
	case "version":
		r.version(s, op, f, v, subject)
	case "brokers", "nodes":
		s.Size = r.whole(v, f, subject)
	case "workers":
		r.workers(s, f, v, subject)
	case "cores":
		s.Cores = r.whole(v, f, subject)
	case "port":
		s.Port = r.whole(v, f, subject)
	case "memory":
		s.MemoryMiB = r.size(v, f, subject)
	case "storage":
		s.StorageMiB = r.size(v, f, subject)
	}
}

func (r *reader) version(s *Service, op Operator, f Field, v *yaml.Node, subject string) {
	s.Version = v.Value
	if v.Tag != "!!str" {
		r.bad(v, "E-VERSION", "read", subject, fmt.Sprintf("versions are strings, and %s is a number (4.10 would become 4.1)", v.Value), fmt.Sprintf("write \"%s\"", v.Value))
		return
	}
	if !f.allows(v.Value) {
		r.bad(v, "E-VERSION", "read", subject, fmt.Sprintf("%s %q is not one that Weir runs (versions: %s)", op.Name, v.Value, strings.Join(f.Words, ", ")), "use one of these")
	}
}

func (r *reader) whole(v *yaml.Node, f Field, subject string) int {
	n, err := strconv.Atoi(v.Value)
	if err != nil || v.Tag != "!!int" || n < f.Least || n > f.Most {
		r.bad(v, "E-NUMBER", "read", subject, fmt.Sprintf("%q is not a whole number from %d to %d", v.Value, f.Least, f.Most), "write such a number")
		return f.Least
	}
	return n
}

func (r *reader) workers(s *Service, f Field, v *yaml.Node, subject string) {
	if v.Kind == yaml.ScalarNode {
		s.Size = r.whole(v, f, subject)
		s.Max = s.Size
		return
	}
	r.entries(v, subject, []string{"min", "max"}, func(key string, _, v *yaml.Node) {
		if key == "min" {
			s.Size = r.whole(v, f, subject+".min")
		} else {
			s.Max = r.whole(v, f, subject+".max")
		}
	})
	if s.Max < s.Size {
		r.bad(v, "E-NUMBER", "read", subject, fmt.Sprintf("max %d is below min %d", s.Max, s.Size), "raise max")
	}
}

// size reads 512Mi, 20Gi, 1Ti as MiB.
func (r *reader) size(v *yaml.Node, f Field, subject string) int64 {
	if !f.allows(v.Value) {
		r.bad(v, "E-QUANTITY", "read", subject, fmt.Sprintf("%q is not a size", v.Value), "write it with a unit: 512Mi, 20Gi, 1Ti")
		return 0
	}
	digits, unit := v.Value[:len(v.Value)-2], v.Value[len(v.Value)-2:]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		r.bad(v, "E-QUANTITY", "read", subject, err.Error(), "write it with a unit: 512Mi, 20Gi, 1Ti")
		return 0
	}
	return n * map[string]int64{"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}[unit]
}
