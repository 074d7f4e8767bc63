package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/master"
)

// session is one agent's link.
type session struct {
	agent resources.AgentID
	out   chan resources.AgentCommand
	end   context.CancelCauseFunc
}

// send never waits: an agent that does not take its commands is cut off, and registers anew.
func (s *session) send(c resources.AgentCommand) {
	select {
	case s.out <- c:
	default:
		s.end(fmt.Errorf("agent %s has not taken %d commands", s.agent, cap(s.out)))
	}
}

// AgentHandler serves the agents' links. Who comes must have the role of an agent, and is the agent that its certificate names.
func (m *Master) AgentHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := m.serveAgent(w, r); err != nil && r.Context().Err() == nil {
			m.log.Warn("an agent's link ended", "err", err)
		}
	})
}

func (m *Master) serveAgent(w http.ResponseWriter, r *http.Request) (err error) {
	peer, err := security.PeerIdentity(r.TLS)
	if err == nil && !peer.Is(security.RoleAgent) {
		err = fault.Denied("E-LINK", "link", peer.String(), fault.Causef("only the role %s may register as an agent", security.RoleAgent))
	}
	if err != nil {
		return errors.Join(err, link.Refuse(w, err))
	}
	conn, err := link.Accept(w, r, m.config.Link)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, end := context.WithCancelCause(r.Context())
	s := &session{agent: resources.AgentID(peer.Name), out: make(chan resources.AgentCommand, agentQueue), end: end}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		s.write(ctx, conn)
	}()
	err = m.receive(ctx, s, conn)
	end(err)
	<-wrote
	leave := m.ask(context.WithoutCancel(ctx), func(now time.Time) error { return m.sessionEnded(now, s) })
	if !errors.Is(leave, ErrStopped) {
		err = errors.Join(err, leave)
	}
	return err
}

func (s *session) write(ctx context.Context, conn *link.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-s.out:
			if err := conn.SendBody(ctx, resources.AgentFrameCommand, resources.AgentFrameVersion, c); err != nil {
				s.end(err)
				return
			}
		}
	}
}

// receive hands the agent's reports to the loop until the link ends or a report is refused.
func (m *Master) receive(ctx context.Context, s *session, conn *link.Conn) error {
	for {
		var f link.Frame
		if err := conn.Recv(ctx, &f); err != nil {
			return err
		}
		if f.Type != resources.AgentFrameReport || f.Version != resources.AgentFrameVersion {
			return fmt.Errorf("agent %s sent frame %s version %d; %s version %d is known", s.agent, f.Type, f.Version, resources.AgentFrameReport, resources.AgentFrameVersion)
		}
		var report resources.AgentReport
		if err := f.Decode(&report); err != nil {
			return err
		}
		if err := m.ask(ctx, func(now time.Time) error { return m.reported(now, s, report) }); err != nil {
			return err
		}
	}
}

func (m *Master) reported(now time.Time, s *session, report resources.AgentReport) error {
	if report.Type == resources.AgentRegister {
		if old := m.sessions[s.agent]; old != nil && old != s {
			old.end(fmt.Errorf("agent %s opened a newer link", s.agent))
			if err := m.step(now, master.AgentDisconnected{Agent: s.agent}); err != nil {
				return err
			}
		}
		m.sessions[s.agent] = s
	}
	if m.sessions[s.agent] != s {
		return fmt.Errorf("agent %s sent %s on a link that is not its current one", s.agent, report.Type)
	}
	if err := m.step(now, master.AgentReported{Agent: s.agent, Report: report}); err != nil {
		return err
	}
	if report.Type == resources.AgentRegister {
		have := report.Info.Resources
		m.log.Info("an agent registered", "agent", s.agent, resources.CPUs, have.Amount(resources.CPUs), resources.Mem, have.Amount(resources.Mem), resources.Disk, have.Amount(resources.Disk), "tasks", len(report.Tasks))
	}
	return nil
}

func (m *Master) sessionEnded(now time.Time, s *session) error {
	if m.sessions[s.agent] != s {
		return nil
	}
	delete(m.sessions, s.agent)
	m.log.Info("an agent's link broke", "agent", s.agent)
	return m.step(now, master.AgentDisconnected{Agent: s.agent})
}
