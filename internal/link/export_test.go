package link

import (
	"io"

	"github.com/weir-project/weir/internal/security"
)

// ReadFrame is read, for the fuzz test.
var ReadFrame = read

// Pair is a link without a network, its two ends joined by pipes that hold nothing: a write waits for its read.
func Pair(a, b Options) (*Conn, *Conn) {
	readB, writeA := io.Pipe()
	readA, writeB := io.Pipe()
	return over(readA, writeA, a.withDefaults()), over(readB, writeB, b.withDefaults())
}

func over(in *io.PipeReader, out *io.PipeWriter, opts Options) *Conn {
	abort := func() {
		_ = in.CloseWithError(io.ErrClosedPipe)  // always nil
		_ = out.CloseWithError(io.ErrClosedPipe) // always nil
	}
	return newConn(transport{in: in, out: out, flush: func() error { return nil }, closeOut: out.Close, abort: abort}, security.Identity{}, opts)
}
