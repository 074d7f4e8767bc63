package isolate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Inside is the isolated program's side. Its lock is held while a connection is asked for, one at a time.
type Inside struct {
	mu      sync.Mutex
	door    *net.UnixConn
	answers chan answer
}

type answer struct {
	file *os.File
	err  error
}

// Enter makes sure that this program is isolated, and brings its loopback up. lost is called once, from a goroutine, when the parent is gone.
func Enter(lost func()) (*Inside, error) {
	door, err := fileConn(doorFD)
	if err != nil {
		return nil, ErrNotIsolated
	}
	buf := make([]byte, maxMessage)
	n, err := door.Read(buf)
	if err != nil {
		return nil, errors.Join(ErrNotIsolated, door.Close())
	}
	own, err := namespace()
	if err != nil {
		return nil, errors.Join(err, door.Close())
	}
	if parent := string(buf[:n]); !strings.HasPrefix(parent, "net:[") || parent == own {
		return nil, errors.Join(ErrNotIsolated, door.Close())
	}
	if err := loopbackUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("bring the loopback of the network namespace up: %w", err), door.Close())
	}
	in := &Inside{door: door, answers: make(chan answer, 1)}
	go in.listen(lost) // for as long as the process lives
	return in, nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("lo")
	if err == nil {
		ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
	}
	return errors.Join(err, unix.Close(fd))
}

// listen takes the parent's answers.
func (in *Inside) listen(lost func()) {
	buf, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := in.door.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			lost()
			return
		}
		if oobn == 0 {
			in.answers <- answer{err: errors.New(string(buf[:n]))}
			continue
		}
		f, err := received(oob[:oobn])
		in.answers <- answer{f, err}
	}
}

func received(oob []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("take over a connection: %d control messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("take over a connection: %d descriptors, %w", len(fds), err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "connection"), nil
}

// DialContext asks the parent for a connection to an address that it allows.
func (in *Inside) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, err := in.door.Write([]byte(address)); err != nil {
		return nil, fmt.Errorf("ask for a connection to %s: %w", address, err)
	}
	a := <-in.answers // the parent's dial has a limit, and where the parent is gone this process ends
	if a.err != nil {
		return nil, a.err
	}
	conn, err := net.FileConn(a.file)
	return conn, errors.Join(err, a.file.Close())
}
