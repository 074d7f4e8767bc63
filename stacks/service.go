package stacks

import (
	"fmt"
	"regexp"
	"slices"
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
	r.entries(n, what, op.fieldNames(), func(key string, _, v *yaml.Node) {
		f, _ := op.field(key)
		r.field(&s, op, f, v, what)
	})
	if s.Version == "" && len(op.versions) > 0 {
		s.Version = op.versions[len(op.versions)-1]
	}
	// Two brokers and two nodes are written down for the operators issue: a plan for them is refused, not half made.
	if (op.name == "kafka" || op.name == "cassandra") && s.Size > 1 {
		r.bad(n, "E-SIZE", "read", what, fmt.Sprintf("%s of %d is asked for, this version runs 1", op.name, s.Size), "write 1 for now")
	}
	return s
}

func (r *reader) operator(s *Service, n *yaml.Node, what string) (operator, bool) {
	if n.Kind != yaml.MappingNode {
		r.bad(n, "E-TYPE", "read", what, "a mapping is expected", "write `{operator: kafka, version: \"4.3\", brokers: 1}`")
		return operator{}, false
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
	return operator{}, false
}

func (r *reader) field(s *Service, op operator, f field, v *yaml.Node, what string) {
	subject := what + " field " + f.name
	switch f.kind {
	case "version":
		r.version(s, op, v, subject)
	case "count":
		s.Size = r.count(v, subject, 1, 1000)
	case "workers":
		r.workers(s, v, subject)
	case "port":
		s.Port = r.count(v, subject, 1, 65535)
	case "size":
		mib := r.size(v, subject)
		if f.name == "memory" {
			s.MemoryMiB = mib
		} else {
			s.StorageMiB = mib
		}
	}
}

func (r *reader) version(s *Service, op operator, v *yaml.Node, subject string) {
	s.Version = v.Value
	if v.Tag != "!!str" {
		r.bad(v, "E-VERSION", "read", subject, fmt.Sprintf("versions are strings, and %s is a number (4.10 would become 4.1)", v.Value), fmt.Sprintf("write \"%s\"", v.Value))
		return
	}
	if !slices.Contains(op.versions, v.Value) {
		r.bad(v, "E-VERSION", "read", subject, fmt.Sprintf("%s %q is not one that Weir runs (versions: %s)", op.name, v.Value, strings.Join(op.versions, ", ")), "use one of these")
	}
}

func (r *reader) count(v *yaml.Node, subject string, least, most int) int {
	n, err := strconv.Atoi(v.Value)
	if err != nil || v.Tag != "!!int" || n < least || n > most {
		r.bad(v, "E-NUMBER", "read", subject, fmt.Sprintf("%q is not a whole number from %d to %d", v.Value, least, most), "write such a number")
		return least
	}
	return n
}

func (r *reader) workers(s *Service, v *yaml.Node, subject string) {
	if v.Kind == yaml.ScalarNode {
		s.Size = r.count(v, subject, 1, 1000)
		s.Max = s.Size
		return
	}
	r.entries(v, subject, []string{"min", "max"}, func(key string, _, v *yaml.Node) {
		if key == "min" {
			s.Size = r.count(v, subject+".min", 1, 1000)
		} else {
			s.Max = r.count(v, subject+".max", 1, 1000)
		}
	})
	if s.Max < s.Size {
		r.bad(v, "E-NUMBER", "read", subject, fmt.Sprintf("max %d is below min %d", s.Max, s.Size), "raise max")
	}
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,9})(Mi|Gi|Ti)$`)

// size reads 512Mi, 20Gi, 1Ti as MiB.
func (r *reader) size(v *yaml.Node, subject string) int64 {
	m := sizePattern.FindStringSubmatch(v.Value)
	if m == nil {
		r.bad(v, "E-QUANTITY", "read", subject, fmt.Sprintf("%q is not a size", v.Value), "write it with a unit: 512Mi, 20Gi, 1Ti")
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n == 0 {
		r.bad(v, "E-QUANTITY", "read", subject, fmt.Sprintf("%q is not a size above 0", v.Value), "write it with a unit: 512Mi, 20Gi, 1Ti")
		return 0
	}
	return n * map[string]int64{"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}[m[2]]
}
