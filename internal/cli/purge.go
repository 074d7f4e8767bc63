package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-project/weir/internal/cli/daemon"
	"github.com/weir-project/weir/internal/fault"
)

// held are the names in a state directory. What is not among them is somebody else's: `weir --state .` puts these beside a person's own
// files, and a purge that took the whole directory would take those too.
var held = []string{adminBundle, addressFile, "ca.pem", "seal.key", "server.log", "store", daemon.AgentDir, supervisorDir}

// ours also knows the temporary files of security.WriteFile that a kill left: ".admin.pem.1f2e…".
func (l *local) ours(name string) bool {
	if slices.Contains(held, name) || l.benches(name) {
		return true
	}
	return slices.ContainsFunc(held, func(h string) bool { return strings.HasPrefix(name, "."+h+".") })
}

// benches tells the folder that `weir bench` made from a folder of somebody's own benchmarks.
func (l *local) benches(name string) bool {
	_, err := os.Stat(filepath.Join(l.dir, name, benchMark))
	return name == benchFolder && err == nil
}

// recognise refuses to purge a directory that holds anything that is not Weir's, or nothing by which a state directory is known.
func (l *local) recognise() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("look into %s: %w", l.dir, err)
	}
	known, foreign := len(entries) == 0, []string(nil)
	for _, e := range entries {
		known = known || slices.Contains([]string{adminBundle, addressFile, "ca.pem"}, e.Name()) || l.benches(e.Name())
		if !l.ours(e.Name()) {
			foreign = append(foreign, e.Name())
		}
	}
	refuse := func(hint, cause string, args ...any) error {
		return fault.Invalid("E-PURGE", "delete", l.dir, fault.Causef(cause, args...), fault.Hint(hint))
	}
	switch {
	case !known:
		return refuse("name the right one with --state", "it is no state directory of Weir: it has no %s", adminBundle)
	case len(foreign) > 0:
		const most = 5
		if more := len(foreign) - most; more > 0 {
			foreign = append(foreign[:most], fmt.Sprintf("and %d more", more))
		}
		return refuse("move that out of it first", "beside Weir's state it holds %s", strings.Join(foreign, ", "))
	}
	return nil
}

// purge deletes the state, and the directory where it is one itself: a link to another disk stays for the next `weir up`.
func (l *local) purge() error {
	if err := l.recognise(); err != nil {
		return err // something came while the tasks were stopped
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("delete %s: %w", l.dir, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(l.dir, e.Name())); err != nil {
			return fmt.Errorf("delete %s: %w", l.dir, err)
		}
	}
	info, err := os.Lstat(l.dir)
	if err == nil && info.Mode()&fs.ModeSymlink == 0 {
		err = os.Remove(l.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", l.dir, err)
	}
	return nil
}
