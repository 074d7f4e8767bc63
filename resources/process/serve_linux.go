package process

import (
	"context"

	"github.com/weir-project/weir/internal/link"
)

// serve hands one link's commands to the loop, until the link ends or the loop refuses the server.
func (a *Agent) serve(ctx context.Context, conn *link.Conn) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &session{ctx: ctx, conn: conn, end: end}
	a.inbox <- s
	defer func() { a.inbox <- sessionEnded{s} }()
	for {
		c, err := s.receive()
		if err != nil {
			return err
		}
		a.inbox <- c
	}
}
