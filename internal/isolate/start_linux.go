package isolate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	doorFD      = 3 // of the child: the socket to its parent
	dialTimeout = 10 * time.Second
	maxMessage  = 4096
)

// Child is a program that runs isolated.
type Child struct {
	cmd  *exec.Cmd
	door *net.UnixConn
	wg   sync.WaitGroup
}

// Start starts the command that build makes, and dials for it the addresses that allowed lists. Where this process may not make a network namespace, it
// is made in a user namespace; build is then called again. The child is killed when ctx ends (exec.Cmd's rules, if build used CommandContext), and ends
// by itself when this process does.
func Start(ctx context.Context, build func() *exec.Cmd, allowed []string) (*Child, error) {
	own, err := namespace()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := pair()
	if err != nil {
		return nil, fmt.Errorf("make the socket to an isolated program: %w", err)
	}
	defer theirs.Close() //nolint:errcheck // the child has its own
	cmd, err := start(build, theirs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s in a network namespace of its own: %w; it opens ports without authentication, so it runs nowhere else: allow this user namespaces (sysctl kernel.unprivileged_userns_clone=1), or run as root", cmd.Path, err), ours.Close())
	}
	c := &Child{cmd: cmd, door: ours}
	if _, err := ours.Write([]byte(own)); err != nil {
		return nil, errors.Join(fmt.Errorf("greet an isolated program: %w", err), ours.Close(), cmd.Process.Kill(), cmd.Wait())
	}
	c.wg.Go(func() { c.serve(ctx, allowed) })
	return c, nil
}

// start tries the namespaces that this process may make.
func start(build func() *exec.Cmd, door *os.File) (*exec.Cmd, error) {
	try := func(attr *syscall.SysProcAttr) (*exec.Cmd, error) {
		cmd := build()
		cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{door}, attr
		return cmd, cmd.Start()
	}
	cmd, err := try(&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET})
	if !errors.Is(err, syscall.EPERM) {
		return cmd, err
	}
	return try(&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}})
}

// Wait waits for the program's end.
func (c *Child) Wait() error {
	err := c.cmd.Wait()
	cerr := c.door.Close()
	c.wg.Wait()
	if err != nil {
		return err
	}
	return cerr
}

// serve dials for the child until it is gone.
func (c *Child) serve(ctx context.Context, allowed []string) {
	buf := make([]byte, maxMessage)
	for {
		n, err := c.door.Read(buf)
		if err != nil || n == 0 {
			return // the child has ended, or Wait has closed the door
		}
		if err := c.answer(ctx, string(buf[:n]), allowed); err != nil {
			return
		}
	}
}

// answer sends an open connection, or a text that says why there is none.
func (c *Child) answer(ctx context.Context, address string, allowed []string) error {
	f, err := dial(ctx, address, allowed)
	if err != nil {
		text := err.Error()
		_, err = c.door.Write([]byte(text[:min(len(text), maxMessage)]))
		return err
	}
	_, _, err = c.door.WriteMsgUnix([]byte{0}, unix.UnixRights(int(f.Fd())), nil)
	return errors.Join(err, f.Close())
}

func dial(ctx context.Context, address string, allowed []string) (*os.File, error) {
	if !slices.Contains(allowed, address) {
		return nil, fmt.Errorf("dial %s: it is not among the addresses that this program may reach (%v)", address, allowed)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	f, err := conn.(*net.TCPConn).File()
	return f, errors.Join(err, conn.Close())
}

func pair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "door")
	ours, err := fileConn(uintptr(fds[0]))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// fileConn makes a connection of a socket's descriptor, which it takes over.
func fileConn(fd uintptr) (*net.UnixConn, error) {
	f := os.NewFile(fd, "door")
	conn, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("descriptor %d is no socket between two processes", fd), conn.Close())
	}
	return u, nil
}

// namespace names the network namespace of this process.
func namespace() (string, error) {
	name, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return "", fmt.Errorf("find the network namespace of this process: %w", err)
	}
	return name, nil
}
