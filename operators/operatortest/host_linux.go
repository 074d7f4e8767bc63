package operatortest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// Host carries tasks out in one directory: sandboxes and volumes side by side.
type Host struct{ Dir string }

// Process is a task that was started.
type Process struct {
	cmd     *exec.Cmd
	done    chan struct{}
	err     error
	Sandbox string
}

// Start writes the files, runs the preparations that are due, and starts the command. Output goes to a file of the sandbox.
func (h Host) Start(name string, t operators.TaskSpec) (*Process, error) {
	sandbox := filepath.Join(h.Dir, "sandbox", name)
	expand := func(s string) string { return h.expand(sandbox, s) }
	for _, f := range t.Files {
		path := filepath.Join(sandbox, f.Path)
		if strings.HasPrefix(f.Path, "{volume:") {
			path = expand(f.Path)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(expand(string(f.Content))), os.FileMode(f.Mode)); err != nil {
			return nil, err
		}
	}
	for _, p := range t.Command.Prepare {
		if err := prepare(p, expand); err != nil {
			return nil, err
		}
	}
	return launch(sandbox, t.Command, expand)
}

var volumePattern = regexp.MustCompile(`\{volume:([^}]*)\}`)

// expand makes a volume's directory where it is named.
func (h Host) expand(sandbox, s string) string {
	s = strings.ReplaceAll(s, "{sandbox}", sandbox)
	return volumePattern.ReplaceAllStringFunc(s, func(m string) string {
		dir := filepath.Join(h.Dir, "volumes", volumePattern.FindStringSubmatch(m)[1])
		if err := os.MkdirAll(dir, 0o700); err != nil {
			panic(err)
		}
		return dir
	})
}

func prepare(p resources.Prepare, expand func(string) string) error {
	if p.Creates != "" {
		if _, err := os.Stat(expand(p.Creates)); err == nil {
			return nil
		}
	}
	argv := make([]string, len(p.Argv))
	for i, a := range p.Argv {
		argv[i] = expand(a)
	}
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil && p.Quiet {
		out = nil
	}
	if err != nil {
		return fmt.Errorf("prepare with %s: %w\n%s", argv[0], err, out)
	}
	return nil
}

func launch(sandbox string, c resources.Command, expand func(string) string) (*Process, error) {
	argv := make([]string, len(c.Argv))
	for i, a := range c.Argv {
		argv[i] = expand(a)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = sandbox
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + sandbox}
	for k, v := range c.Env {
		cmd.Env = append(cmd.Env, k+"="+expand(v))
	}
	log, err := os.OpenFile(filepath.Join(sandbox, "output"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	p := &Process{cmd: cmd, done: make(chan struct{}), Sandbox: sandbox}
	go func() {
		p.err = errors.Join(cmd.Wait(), log.Close())
		close(p.done)
	}()
	return p, nil
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited reports whether it has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to this process alone: SIGSTOP and SIGCONT make it stand still and go on.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// End sends a signal to this process alone and waits for its end, at most for the grace.
func (p *Process) End(sig syscall.Signal, grace time.Duration) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		return fmt.Errorf("process %d did not end within %s of signal %s", p.PID(), grace, sig)
	}
}

// Output is the end of what it printed.
func (p *Process) Output() string {
	data, err := os.ReadFile(filepath.Join(p.Sandbox, "output"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4000):])
}
