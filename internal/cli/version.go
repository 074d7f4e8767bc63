package cli

import (
	"fmt"
	"runtime/debug"
)

// Build names the program: the version of its module where it was installed by one, else the commit that it was built from.
var Build = buildName()

func buildName() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				changed = "+changes"
			}
		}
	}
	if len(commit) < 12 {
		return "dev"
	}
	return fmt.Sprintf("dev-%s%s", commit[:12], changed)
}
