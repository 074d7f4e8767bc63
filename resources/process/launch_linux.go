package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/agent"
	"github.com/weir-project/weir/resources/shim"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// launch makes the sandbox and starts the shim. Nothing has run when it fails.
func (a *Agent) launch(info resources.TaskInfo) (*watcher, error) {
	if err := checkPorts(info); err != nil {
		return nil, err
	}
	sandbox := path.Join(tasksDir, string(info.ID))
	if err := a.root.Mkdir(sandbox, 0o700); err != nil {
		return nil, fmt.Errorf("make sandbox: %w", err)
	}
	if err := a.root.Mkdir(path.Join(sandbox, shimDir), 0o700); err != nil {
		return nil, fmt.Errorf("make sandbox: %w", err)
	}
	if err := a.root.Mkdir(path.Join(sandbox, "tmp"), 0o700); err != nil {
		return nil, fmt.Errorf("make sandbox: %w", err)
	}
	places, err := a.places(info)
	if err != nil {
		return nil, err
	}
	if err := a.writeFiles(info, places); err != nil {
		return nil, err
	}
	intent, note, err := a.intent(info, places)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(intent)
	if err != nil {
		return nil, err
	}
	root, err := a.root.OpenRoot(path.Join(sandbox, shimDir))
	if err != nil {
		return nil, fmt.Errorf("open shim's folder: %w", err)
	}
	// A plain write: the record that counts is the agent's own, and a torn intent is refused by the shim.
	if err := root.WriteFile(shim.IntentFile, data, 0o600); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	id, err := a.startShim(root)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &watcher{task: info.ID, root: root, boot: a.boot, child: id.PID, shim: id, note: note}, nil
}

// places replaces the names of directories by their paths.
func (a *Agent) places(info resources.TaskInfo) (*strings.Replacer, error) {
	pairs := []string{"{sandbox}", Sandbox(a.config.Dir, info.ID)}
	for _, v := range info.Resources.Volumes() {
		id := v.Volume.ID
		if _, err := a.root.Stat(path.Join(volumesDir, id)); err != nil {
			return nil, fmt.Errorf("volume %s: %w", id, err)
		}
		pairs = append(pairs, "{volume:"+id+"}", VolumePath(a.config.Dir, id))
	}
	return strings.NewReplacer(pairs...), nil
}

// writeFiles writes the task's files, each new and 0600 from its first moment: a secret is never readable by others in between.
func (a *Agent) writeFiles(info resources.TaskInfo, places *strings.Replacer) error {
	for _, f := range info.Files {
		if err := a.writeFile(info, f, places); err != nil {
			return fmt.Errorf("write file %s: %w", f.Path, err)
		}
	}
	return nil
}

func (a *Agent) writeFile(info resources.TaskInfo, f resources.File, places *strings.Replacer) error {
	dir, inside := path.Join(tasksDir, string(info.ID)), f.Path
	if id, rest, ok := strings.Cut(strings.TrimPrefix(f.Path, "{volume:"), "}/"); ok && strings.HasPrefix(f.Path, "{volume:") {
		dir, inside = path.Join(volumesDir, id), rest
	}
	root, err := a.root.OpenRoot(dir)
	if err != nil {
		return err
	}
	mode := os.FileMode(f.Mode)
	if mode == 0 {
		mode = 0o600
	}
	err = root.MkdirAll(path.Dir(path.Clean(inside)), 0o700)
	if err == nil {
		err = security.WriteFile(root, path.Clean(inside), []byte(places.Replace(string(f.Content))), mode)
	}
	return errors.Join(err, root.Close())
}

// intent is what the shim is told, and a remark for the task's status.
func (a *Agent) intent(info resources.TaskInfo, places *strings.Replacer) (shim.Intent, string, error) {
	sandbox := Sandbox(a.config.Dir, info.ID)
	in := shim.Intent{
		Version: 1, Cwd: sandbox, KillGrace: info.KillGrace, DropIPC: info.Command.DropIPC,
		Stdout: filepath.Join(sandbox, stdoutFile), Stderr: filepath.Join(sandbox, stderrFile),
		Env: map[string]string{"PATH": os.Getenv("PATH"), "HOME": sandbox, "TMPDIR": filepath.Join(sandbox, "tmp")},
	}
	if in.Env["PATH"] == "" {
		in.Env["PATH"] = defaultPath
	}
	texts := func(in []string) (out []string) {
		for _, s := range in {
			out = append(out, places.Replace(s))
		}
		return out
	}
	in.Argv = texts(info.Command.Argv)
	for k, v := range info.Command.Env {
		in.Env[k] = places.Replace(v)
	}
	for _, p := range info.Command.Prepare {
		in.Prepare = append(in.Prepare, shim.Prepare{Argv: texts(p.Argv), Creates: a.inside(sandbox, places.Replace(p.Creates)), Quiet: p.Quiet})
	}
	if info.Command.User != "" {
		u, err := a.runAs(info, info.Command.User)
		if err != nil {
			return in, "", err
		}
		in.User = u
	}
	note := a.limitMemory(info, &in)
	return in, note, unresolved(in)
}

func (a *Agent) inside(sandbox, creates string) string {
	if creates == "" || filepath.IsAbs(creates) {
		return creates
	}
	return filepath.Join(sandbox, creates)
}

// unresolved refuses a name of a volume that the task does not hold, which would otherwise become a strange path.
func unresolved(in shim.Intent) error {
	words := append([]string{}, in.Argv...)
	for _, p := range in.Prepare {
		words = append(append(words, p.Argv...), p.Creates)
	}
	for _, v := range in.Env {
		words = append(words, v)
	}
	for _, w := range words {
		if i := strings.Index(w, "{volume:"); i >= 0 {
			return fmt.Errorf("%.80q names a volume that the task does not hold", w[i:])
		}
	}
	return nil
}

// limitMemory puts the task under its memory limit where this host lets us; elsewhere it says so, once in the log and in every
// status.
func (a *Agent) limitMemory(info resources.TaskInfo, in *shim.Intent) (note string) {
	mem := info.Resources.Amount(resources.Mem)
	if a.config.NoCgroups || mem == 0 {
		return ""
	}
	_, procs, err := a.memoryGroup(info.ID, mem)
	if err != nil {
		a.warnCgroups.Do(func() { a.log.Warn("memory of tasks is not limited on this host", "err", err) })
		return "memory is not limited: " + err.Error()
	}
	in.Cgroups = []string{procs}
	return ""
}

// runAs looks a user up and gives the sandbox and the volumes to it.
func (a *Agent) runAs(info resources.TaskInfo, name string) (*shim.User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("run as %s: %w", name, err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("run as %s: %w", name, err)
	}
	sandbox := path.Join(tasksDir, string(info.ID))
	give := []string{sandbox, path.Join(sandbox, "tmp")}
	for _, f := range info.Files {
		if !strings.HasPrefix(f.Path, "{volume:") {
			give = append(give, path.Join(sandbox, path.Clean(f.Path)))
		}
	}
	for _, v := range info.Resources.Volumes() {
		give = append(give, path.Join(volumesDir, v.Volume.ID))
	}
	for _, p := range give {
		if err := a.root.Lchown(p, int(uid), int(gid)); err != nil {
			return nil, fmt.Errorf("run as %s: %w", name, err)
		}
	}
	return &shim.User{UID: uint32(uid), GID: uint32(gid)}, nil
}

// startShim starts weir-shim in a session of its own, so that nothing that ends this process ends it too.
func (a *Agent) startShim(root *os.Root) (id shim.Identity, err error) {
	log, err := root.OpenFile("shim.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return id, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return id, err
	}
	defer func() { err = errors.Join(err, null.Close()) }()
	p, err := os.StartProcess(a.config.Shim, []string{"weir-shim", "run", root.Name()}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return id, fmt.Errorf("start %s: %w", a.config.Shim, err)
	}
	// Its number stays its own until the watcher has reaped it.
	id, err = identify(p.Pid, a.boot)
	return id, errors.Join(err, p.Release())
}

// launchFailure says what a failed launch means for the task.
func launchFailure(err error) agent.Observation {
	var port *portError
	if errors.As(err, &port) {
		return agent.Observation{Event: agent.Refused, Reason: agent.ReasonPortInUse, Message: err.Error()}
	}
	return agent.Observation{Event: agent.StartFailed, Reason: agent.ReasonLaunch, Message: err.Error()}
}
