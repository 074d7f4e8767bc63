package security

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/weir-project/weir/internal/fault"
)

// OpenStateDir opens the state directory, made with 0700 where it is missing. It is refused (fault.Denied) when it belongs to
// another user or when group or others can write it: whoever can write it can become the authority.
func OpenStateDir(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	// Checked through the open handle, so that what was checked is what is used.
	if err := checkOwned(root, dir); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

func checkOwned(root *os.Root, dir string) error {
	info, err := root.Stat(".")
	if err != nil {
		return fmt.Errorf("examine state directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fault.Denied("E-STATE-DIR", "open state directory", dir,
			fault.Causef("its mode is %#o: others can write it", mode), fault.Hintf("chmod 0700 %s", dir))
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(stat.Uid) != os.Geteuid() {
		return fault.Denied("E-STATE-DIR", "open state directory", dir,
			fault.Causef("it belongs to user %d, and this is user %d", stat.Uid, os.Geteuid()),
			fault.Hint("choose another directory with --state"))
	}
	return nil
}

// WriteFile replaces file name under root at once: whatever happens, a reader finds the old content or the new, and after it
// returned the new one survives a power cut. The directory must exist.
func WriteFile(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	return place(root, name, data, mode, root.Rename)
}

// createFile is WriteFile for a file that must not exist yet: of two callers exactly one succeeds, the other gets os.ErrExist.
func createFile(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	return place(root, name, data, mode, root.Link)
}

func place(root *os.Root, name string, data []byte, mode fs.FileMode, install func(from, to string) error) error {
	temp, err := writeTemp(root, name, data, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	err = install(temp, name)
	// After a rename the temporary name is gone; after a link, or a failure, it is left over.
	if rerr := root.Remove(temp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	if err == nil {
		err = syncDir(root, path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// writeTemp writes and syncs a new file next to name.
func writeTemp(root *os.Root, name string, data []byte, mode fs.FileMode) (string, error) {
	var suffix [8]byte
	rand.Read(suffix[:]) // never fails: the program ends when the system has no randomness
	temp := path.Join(path.Dir(name), "."+path.Base(name)+"."+hex.EncodeToString(suffix[:]))
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // the umask may have taken bits away
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, root.Remove(temp))
	}
	return temp, nil
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// maxPrivateFile bounds the files that readPrivate takes: keys and certificates of a few kilobytes.
const maxPrivateFile = 1 << 20

// readPrivate reads a small file that only its owner may read; anything wider is fault.Denied, because its secret is out.
func readPrivate(root *os.Root, name string) (data []byte, err error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fault.Denied("E-KEY-FILE", "read", name,
			fault.Causef("its mode is %v: others can read it, or it is no plain file", mode),
			fault.Hintf("chmod 0600 %s, or delete it to have new keys made", path.Join(root.Name(), name)))
	}
	data, err = io.ReadAll(io.LimitReader(f, maxPrivateFile+1))
	if err == nil && len(data) > maxPrivateFile {
		err = fmt.Errorf("read %s: it has more than %d bytes", name, maxPrivateFile)
	}
	return data, err
}
