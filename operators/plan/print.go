package plan

import (
	"fmt"
	"strings"
)

// String is what `weir rollout` prints.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan %s of %s (revision %s): %s\n", p.Name, p.Service, p.Revision, p.Summary())
	width := 0
	for _, ph := range p.Phases {
		for _, s := range ph.Steps {
			width = max(width, len(s.ID))
		}
	}
	for _, ph := range p.Phases {
		how := string(ph.Strategy)
		if ph.Beside {
			how += ", beside"
		}
		fmt.Fprintf(&b, "  phase %s (%s): %s\n", ph.Name, how, ph.Summary())
		for _, s := range ph.Steps {
			line := fmt.Sprintf("    %-*s  %-8s", width, s.ID, s.Status)
			if s.Reason != "" {
				line += "  " + s.Reason
			}
			fmt.Fprintln(&b, strings.TrimRight(line, " "))
		}
	}
	return b.String()
}

// Preview is what `weir plan` prints: the phases and steps that are left to do, in order, with what each does and why; empty where
// nothing is.
func (p Plan) Preview() string {
	var b strings.Builder
	width := 0
	for _, ph := range p.Phases {
		for _, s := range ph.Steps {
			width = max(width, len(s.ID))
		}
	}
	for _, ph := range p.Phases {
		if ph.Summary() == Done {
			continue
		}
		fmt.Fprintf(&b, "  phase %s (%s)\n", ph.Name, ph.Strategy)
		for _, s := range ph.Steps {
			if s.Done {
				continue
			}
			line := fmt.Sprintf("    %-*s  %s", width, s.ID, s.Action)
			if s.Reason != "" && !strings.Contains(line, s.Reason) {
				line += " (" + s.Reason + ")"
			}
			fmt.Fprintln(&b, line)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("plan %s of %s\n%s", p.Name, p.Service, b.String())
}
