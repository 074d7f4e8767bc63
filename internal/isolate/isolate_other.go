//go:build !linux

package isolate

import (
	"context"
	"errors"
	"net"
	"os/exec"
)

// Child is a program that runs isolated.
type Child struct{}

// Start is Linux's.
func Start(context.Context, func() *exec.Cmd, []string) (*Child, error) {
	return nil, errors.New("start a program in a network namespace of its own: only Linux has them")
}

// Wait waits for the program's end.
func (*Child) Wait() error { return nil }

// Inside is the isolated program's side.
type Inside struct{}

// Enter is Linux's.
func Enter(func()) (*Inside, error) { return nil, ErrNotIsolated }

// DialContext asks the parent for a connection.
func (*Inside) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, ErrNotIsolated
}
