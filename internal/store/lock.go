package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/weir-project/weir/internal/fault"
)

const lockFile = "lock"

// takeLock holds an advisory lock for as long as the file is open; the kernel gives it back when the process dies, however it
// dies. The file says who holds it.
func takeLock(root *os.Root) (*os.File, error) {
	f, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = inUse(f)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func inUse(f *os.File) error {
	owner, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return fmt.Errorf("read lock: %w", err)
	}
	return fault.Denied("E-STORE-LOCK", "lock store", "",
		fault.Causef("process %s has it open", strings.TrimSpace(string(owner))),
		fault.Hint("stop that server first (weir down), or choose another directory with --state"))
}
