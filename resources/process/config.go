package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/resources"
)

// Config of a process agent.
type Config struct {
	Dir        string              // absolute; made 0700 where it is missing
	ID         resources.AgentID   // the common name of its certificate
	Hostname   string              // shown to people
	Attributes map[string]string   //
	Resources  resources.Resources // what it offers; Detect says what the host has
	Shim       string              // absolute path of weir-shim
	Dial       func(context.Context) (*link.Conn, error)
	Log        *slog.Logger     // nil drops
	Now        func() time.Time // time.Now when nil
	NewID      func() string    // of status reports; random when nil
	NoCgroups  bool             // do not try to limit memory
}

func (c Config) check() error {
	if err := resources.CheckID(string(c.ID)); err != nil {
		return err
	}
	if !filepath.IsAbs(c.Dir) || !filepath.IsAbs(c.Shim) {
		return fmt.Errorf("directory %q and shim %q must be absolute paths", c.Dir, c.Shim)
	}
	if c.Dial == nil {
		return errors.New("no way to dial the server")
	}
	if c.Resources.Empty() {
		return errors.New("it has no resources to offer; use Detect")
	}
	return nil
}

// The subfolders.
const (
	tasksDir   = "tasks"
	volumesDir = "volumes"
	shimDir    = ".shim"
	stateFile  = "agent.json"
	lockFile   = "agent.lock"
	stdoutFile = "stdout"
	stderrFile = "stderr"
)

// Sandbox is the absolute path of a task's sandbox in an agent's folder; stdout and stderr are files in it. The id must have
// passed resources.CheckID.
func Sandbox(dir string, id resources.TaskID) string { return filepath.Join(dir, tasksDir, string(id)) }

// VolumePath is the absolute path of a persistent volume.
func VolumePath(dir, id string) string { return filepath.Join(dir, volumesDir, id) }
