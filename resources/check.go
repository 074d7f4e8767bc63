package resources

import (
	"fmt"
	"path"
	"strings"
)

// The limits on one task's description, so that what is accepted always fits into one frame to the agent.
const (
	MaxArguments    = 2000
	MaxTaskFiles    = 200
	MaxTaskText     = 256 << 10 // bytes of arguments, environment and labels
	MaxTaskContents = 1 << 20   // bytes of all files
)

// CheckTask refuses a task's description that no agent could carry out, or that is larger than the limits.
func CheckTask(t TaskInfo) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("task %.60q: %w", t.ID, fmt.Errorf(format, args...))
	}
	if err := CheckID(string(t.ID)); err != nil {
		return fail("%w", err)
	}
	if t.Name == "" || len(t.Name) > MaxID {
		return fail("its name has %d bytes, not 1 to %d", len(t.Name), MaxID)
	}
	if t.Resources.Empty() {
		return fail("it asks for no resources; give it at least cpus and mem")
	}
	if t.KillGrace < 0 {
		return fail("its kill grace is %s", t.KillGrace)
	}
	if len(t.Command.Argv) == 0 || t.Command.Argv[0] == "" {
		return fail("it has no command")
	}
	arguments, text := len(t.Command.Argv), 0
	for _, s := range t.Command.Argv {
		text += len(s)
	}
	for _, p := range t.Command.Prepare {
		if len(p.Argv) == 0 || p.Argv[0] == "" {
			return fail("a prepare command is empty")
		}
		for _, s := range p.Argv {
			text += len(s)
		}
		arguments += len(p.Argv)
	}
	for _, m := range []map[string]string{t.Command.Env, t.Labels} {
		for k, v := range m {
			if k == "" || strings.ContainsAny(k, "=\x00") {
				return fail("environment or label name %.40q is empty or has '='", k)
			}
			text += len(k) + len(v)
		}
		arguments += len(m)
	}
	if arguments > MaxArguments || text > MaxTaskText {
		return fail("%d arguments and variables of %d bytes, more than %d of %d", arguments, text, MaxArguments, MaxTaskText)
	}
	return checkFiles(t, fail)
}

func checkFiles(t TaskInfo, fail func(string, ...any) error) error {
	if len(t.Files) > MaxTaskFiles {
		return fail("it has %d files, more than %d", len(t.Files), MaxTaskFiles)
	}
	size := 0
	for _, f := range t.Files {
		size += len(f.Content)
		inside := f.Path
		if strings.HasPrefix(inside, "{volume:") {
			id, rest, ok := strings.Cut(strings.TrimPrefix(inside, "{volume:"), "}/")
			if _, held := t.Resources.Volume(id); !ok || !held {
				return fail("file %.80q is in a volume that the task does not hold", f.Path)
			}
			inside = rest
		}
		clean := path.Clean(inside)
		first, _, _ := strings.Cut(clean, "/")
		if inside == "" || clean == "." || path.IsAbs(clean) || first == ".." || first == ".shim" {
			return fail("file %.80q is not inside its sandbox", f.Path)
		}
		if f.Mode&^0o777 != 0 {
			return fail("file %.80q has mode %#o", f.Path, f.Mode)
		}
	}
	if size > MaxTaskContents {
		return fail("its files have %d bytes, more than %d", size, MaxTaskContents)
	}
	return nil
}
