package stacks

import (
	"fmt"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/physical"
)

// Diff prints what going from old (nil: nothing is there) to new changes, and counts the changes. It is the head of `weir plan`.
func Diff(old, new *Resolved) (string, int) {
	d := &differ{}
	fmt.Fprintf(&d.b, "stack %s (profile %s)\n", new.Stack.Name, new.Stack.Profile)
	if old == nil {
		old = &Resolved{Stack: &Stack{}}
	}
	d.services(old.Stack, new.Stack)
	d.pipelines(old, new)
	if d.n == 0 {
		d.b.WriteString("nothing to change\n")
	}
	return d.b.String(), d.n
}

type differ struct {
	b strings.Builder
	n int
}

func (d *differ) change(mark, format string, args ...any) {
	d.n++
	fmt.Fprintf(&d.b, "%s %s\n", mark, fmt.Sprintf(format, args...))
}

func (d *differ) services(old, new *Stack) {
	for _, s := range new.Services {
		was, ok := old.Service(s.Name)
		if !ok {
			d.change("+", "service %s: %s", s.Name, s.describe())
			continue
		}
		for _, c := range was.changes(s) {
			d.change("~", "service %s: %s", s.Name, c)
		}
	}
	for _, s := range old.Services {
		if _, ok := new.Service(s.Name); !ok {
			d.change("-", "service %s: %s", s.Name, s.describe())
		}
	}
}

func (s Service) describe() string {
	text := s.Operator
	if s.Version != "" {
		text += " " + s.Version
	}
	text = fmt.Sprintf("%s, size %s", text, s.Sizes())
	if s.Ranges() {
		text += " as the load asks"
	}
	if s.Cores > 0 {
		text += fmt.Sprintf(", %s each", fault.Count(s.Cores, "core"))
	}
	return text
}

// changes says what becomes of each field, with its consequence.
func (s Service) changes(to Service) []string {
	var out []string
	if s.Operator != to.Operator {
		out = append(out, fmt.Sprintf("operator %s -> %s: a service cannot change its operator; remove it first", s.Operator, to.Operator))
	}
	if s.Size != to.Size {
		how := "tasks are added"
		if to.Size < s.Size {
			how = "the highest indexes are stopped after their slots moved"
		}
		out = append(out, fmt.Sprintf("size %d -> %d: %s", s.Size, to.Size, how))
	}
	if s.Ranges() != to.Ranges() || s.Ranges() && s.Sizes() != to.Sizes() {
		how := "the load decides between them"
		if !to.Ranges() {
			how = "the load no longer decides"
		}
		out = append(out, fmt.Sprintf("bounds %s -> %s: %s", s.Sizes(), to.Sizes(), how))
	}
	if s.Cores != to.Cores {
		out = append(out, fmt.Sprintf("cores %s -> %s: restarts each task", cores(s.Cores), cores(to.Cores)))
	}
	if s.Version != to.Version {
		out = append(out, fmt.Sprintf("version %s -> %s: restarts each task", s.Version, to.Version))
	}
	if s.MemoryMiB != to.MemoryMiB {
		out = append(out, fmt.Sprintf("memory %s -> %s: restarts each task", mebibytes(s.MemoryMiB), mebibytes(to.MemoryMiB)))
	}
	if s.Port != to.Port {
		out = append(out, fmt.Sprintf("port %s -> %s: restarts each task", fixed(s.Port), fixed(to.Port)))
	}
	if s.StorageMiB != to.StorageMiB {
		out = append(out, fmt.Sprintf("storage %s -> %s: a volume that holds data keeps its size", mebibytes(s.StorageMiB), mebibytes(to.StorageMiB)))
	}
	return out
}

// mebibytes and fixed print a field that may have been left out.
func mebibytes(n int64) string {
	if n == 0 {
		return "the operator's default"
	}
	return fmt.Sprintf("%d MiB", n)
}

func cores(n int) string {
	if n == 0 {
		return "all of its machine"
	}
	return fmt.Sprint(n)
}

func fixed(port int) string {
	if port == 0 {
		return "a free one"
	}
	return fmt.Sprint(port)
}

func (d *differ) pipelines(old, new *Resolved) {
	for _, g := range new.Graphs {
		was := old.graph(g.Pipeline)
		if was == nil {
			d.change("+", "pipeline %s", g.Pipeline)
			_, picture, _ := strings.Cut(compile.Explain(g), "\n") // its first line is the name again
			for _, line := range strings.Split(strings.Trim(picture, "\n"), "\n") {
				d.b.WriteString(strings.TrimRight("    "+line, " ") + "\n")
			}
			continue
		}
		change, err := compile.Compatible(was, g)
		switch {
		case err != nil:
			d.change("!", "pipeline %s cannot go on: %v", g.Pipeline, err)
		case change.Kind == compile.GoesOn:
			d.change("~", "pipeline %s goes on with its positions and state", g.Pipeline)
			for _, note := range change.Notes {
				fmt.Fprintf(&d.b, "    %s\n", note)
			}
		}
	}
	for _, g := range old.Graphs {
		if new.graph(g.Pipeline) == nil {
			d.change("-", "pipeline %s", g.Pipeline)
		}
	}
}

func (r *Resolved) graph(name string) *physical.Graph {
	for _, g := range r.Graphs {
		if g.Pipeline == name {
			return g
		}
	}
	return nil
}
