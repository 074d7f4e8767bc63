package kubernetes

import (
	"context"
	"fmt"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/resources"
)

// session is one link to the server, from registering to its end.
type session struct {
	ctx  context.Context //nolint:containedctx // ends with the link that it belongs to
	conn *link.Conn
	end  context.CancelCauseFunc
}

type sessionEnded struct{ session *session }

type command struct {
	session *session
	command resources.AgentCommand
}

// send drops a report that a broken link cannot carry: registering on the next one says it again.
func (s *session) send(r resources.AgentReport) {
	if err := s.conn.SendBody(s.ctx, resources.AgentFrameReport, resources.AgentFrameVersion, r); err != nil {
		s.end(err)
	}
}

// serve hands one link's commands to the loop, until the link ends or the loop refuses the server.
func (l *life) serve(ctx context.Context, conn *link.Conn) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &session{ctx: ctx, conn: conn, end: end}
	if !l.post(ctx, s) {
		return context.Cause(ctx)
	}
	defer l.post(context.WithoutCancel(ctx), sessionEnded{s})
	for {
		var f link.Frame
		if err := conn.Recv(ctx, &f); err != nil {
			return err
		}
		if f.Type != resources.AgentFrameCommand || f.Version != resources.AgentFrameVersion {
			return fmt.Errorf("the server sent frame %s version %d; %s version %d is known", f.Type, f.Version, resources.AgentFrameCommand, resources.AgentFrameVersion)
		}
		c := command{session: s}
		if err := f.Decode(&c.command); err != nil {
			return err
		}
		if !l.post(ctx, c) {
			return context.Cause(ctx)
		}
	}
}

// post hands something to the loop; false when the loop has ended, or ctx.
func (l *life) post(ctx context.Context, m any) bool {
	select {
	case l.inbox <- m:
		return true
	case <-l.done:
	case <-ctx.Done():
	}
	return false
}
