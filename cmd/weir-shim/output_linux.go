package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/weir-project/weir/resources/shim"
)

// outputInterval is how often the size of the output is looked at.
const outputInterval = 5 * time.Second

type output struct{ null, stdout, stderr *os.File }

// openOutput opens the task's files. They are appended to, so that truncating one works while the task writes.
func openOutput(in shim.Intent) (*output, error) {
	var o output
	var errs [3]error
	o.null, errs[0] = os.Open(os.DevNull)
	o.stdout, errs[1] = openAppend(in.Stdout)
	o.stderr, errs[2] = openAppend(in.Stderr)
	if err := errors.Join(errs[:]...); err != nil {
		o.close()
		return nil, err
	}
	return &o, nil
}

func openAppend(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
}

// close gives up this process's handles; nothing was written through them, so there is nothing to lose.
func (o *output) close() {
	for _, f := range []*os.File{o.null, o.stdout, o.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// rotateOutput keeps the last MaxOutput bytes of a file that has outgrown it in NAME.1 and empties it. What is written between
// the copy and the truncation is lost, which a log can bear and a full disk cannot.
func rotateOutput(in shim.Intent) {
	for _, path := range []string{in.Stdout, in.Stderr} {
		if err := rotate(path, in.MaxOutput); err != nil {
			fmt.Fprintf(os.Stderr, "weir-shim: rotate %s: %v\n", path, err)
		}
	}
}

func rotate(path string, limit int64) (err error) {
	info, err := os.Stat(path)
	if err != nil || info.Size() <= limit {
		return err
	}
	from, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if _, err := from.Seek(-limit, io.SeekEnd); err != nil {
		return err
	}
	to, err := os.OpenFile(path+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.LimitReader(from, limit))
	return errors.Join(err, to.Close(), from.Truncate(0))
}
