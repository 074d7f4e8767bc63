package process

import (
	"context"
	"fmt"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/resources"
)

// session is one link to a server, from registering to its end.
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

// receive reads the next command.
func (s *session) receive() (command, error) {
	var f link.Frame
	if err := s.conn.Recv(s.ctx, &f); err != nil {
		return command{}, err
	}
	if f.Type != resources.AgentFrameCommand || f.Version != resources.AgentFrameVersion {
		return command{}, fmt.Errorf("the server sent frame %s version %d; %s version %d is known", f.Type, f.Version, resources.AgentFrameCommand, resources.AgentFrameVersion)
	}
	c := command{session: s}
	return c, f.Decode(&c.command)
}
