// Package isolate runs a program in a network namespace of its own, where it may listen as it likes and nobody hears it: it is for programs that open
// ports without authentication and cannot be told not to (I9). What the program may reach outside is a list of addresses; connections to them are made by
// its parent and handed over.
//
//	child, err := isolate.Start(ctx, func() *exec.Cmd { return exec.Command(path) }, []string{"127.0.0.1:9042"})  // the parent
//	err = child.Wait()
//
//	inside, err := isolate.Enter(lost)            // the child: refuses where it is not isolated; lost is called when the parent is gone
//	conn, err := inside.DialContext(ctx, "tcp", "127.0.0.1:9042")
//
// Files are not isolated, and nothing is limited: that is the work of the task's own sandbox. Linux only; elsewhere Start is an error.
package isolate

import "errors"

// ErrNotIsolated says that Enter was called by a program that Start did not start.
var ErrNotIsolated = errors.New("it is not in a network namespace of its own")
