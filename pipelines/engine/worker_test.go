package engine_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/pipetest"
)

// control is the server's side of the workers' links, driven by the test: each link that a worker opens comes out of links.
type control struct {
	t       *testing.T
	address string
	tls     *tls.Config
	links   chan *link.Conn
}

func newControl(t *testing.T) *control {
	ca, err := security.NewCA("weir", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(r security.Request) security.Bundle {
		r.NotBefore, r.NotAfter = time.Now(), time.Now().Add(time.Hour)
		b, err := ca.Issue(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	server, err := security.ServerTLS(issue(security.Request{CN: "server", Role: security.RoleServer, DNS: []string{"weir"}, ServerAuth: true}))
	if err != nil {
		t.Fatal(err)
	}
	client, err := security.ClientTLS(issue(security.Request{CN: "workers-0", Role: security.RoleWorker, ClientAuth: true}), "weir")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{t: t, tls: client, links: make(chan *link.Conn)}
	srv, err := link.NewServer(link.ServerConfig{TLS: server, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := link.Accept(w, r, link.Options{})
		if err != nil {
			return
		}
		select {
		case c.links <- conn:
			<-conn.Done()
		case <-r.Context().Done():
		}
		_ = conn.Close()
	})})
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	c.address = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server ended: %v", err)
		}
	})
	return c
}

// worker starts a worker and returns how to end it.
func (c *control) worker(world *pipetest.World) (end func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- engine.RunWorker(ctx, engine.WorkerConfig{Task: "workers-0", Build: "test", Log: quiet, Interval: 20 * time.Millisecond,
			Dial: func(ctx context.Context) (*link.Conn, error) {
				return link.Dial(ctx, "https://"+c.address+"/v1/worker", c.tls, nil, link.Options{})
			},
			Connect: func(physical.Assign) (engine.Connections, error) { return world, nil }})
	}()
	return func() {
		c.t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			c.t.Errorf("the worker ended with %v", err)
		}
	}
}

func (c *control) accept() (*link.Conn, physical.Register) {
	c.t.Helper()
	var conn *link.Conn
	select {
	case conn = <-c.links:
	case <-time.After(20 * time.Second):
		c.t.Fatal("no worker came")
	}
	var r physical.Register
	c.receive(conn, engine.FrameRegister, &r)
	return conn, r
}

func (c *control) receive(conn *link.Conn, kind string, v any) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	var f link.Frame
	if err := conn.Recv(ctx, &f); err != nil {
		c.t.Fatal(err)
	}
	if f.Type != kind {
		c.t.Fatalf("got a frame %s, want %s", f.Type, kind)
	}
	if err := f.Decode(v); err != nil {
		c.t.Fatal(err)
	}
}

func (c *control) send(conn *link.Conn, as physical.Assign) {
	c.t.Helper()
	if err := conn.SendBody(c.t.Context(), engine.FrameAssign, 1, as); err != nil {
		c.t.Fatal(err)
	}
}

// until reads reports until one satisfies ok.
func (c *control) until(conn *link.Conn, what string, ok func(map[checkpoint.Slot]physical.SlotReport) bool) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		var r physical.Report
		c.receive(conn, engine.FrameReport, &r)
		slots := map[checkpoint.Slot]physical.SlotReport{}
		for _, s := range r.Slots {
			slots[s.Slot] = s
		}
		if ok(slots) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s never came; the last report is %+v", what, r)
		}
	}
}

// paced is the demo with quick commits.
func paced(rate float64) physical.Graph {
	g := demo(2)
	for i := range g.Stages {
		g.Stages[i].CommitInterval = 50 * time.Millisecond
	}
	g.Stages[0].Fragments[0].Nodes[0] = node("Read", physical.OpRead, flightSchema, physical.ReadConfig{Connector: "flights", Schema: flightSchema, Bounded: true, Disorder: disorder, Pace: rate})
	return g
}

func assignment(g physical.Graph, revision, term uint64, slots ...checkpoint.Slot) physical.Assign {
	as := physical.Assign{Revision: revision, Install: "test", Pipelines: []physical.PipelineRun{{UID: "u1", Run: 1, Graph: g}}}
	for _, s := range slots {
		as.Slots = append(as.Slots, physical.SlotTask{Slot: s, Term: term})
	}
	return as
}

func TestAWorkerGoesOnWithoutTheServerAndReportsWhenItIsBack(t *testing.T) {
	rows := flights(3000, 11)
	c, world, g := newControl(t), pipetest.NewWorld(), paced(4000)
	world.Sources["flights"] = pipetest.Rows(flightSchema, 2, rows)
	defer c.worker(world)()
	all := []checkpoint.Slot{slotOf("ingest", 0), slotOf("ingest", 1), slotOf("hourly", 0), slotOf("hourly", 1)}

	conn, r := c.accept()
	if r.Task != "workers-0" || r.Build != "test" || len(r.Running) != 0 {
		t.Errorf("registered as %+v", r)
	}
	c.send(conn, assignment(g, 1, 1, all...))
	c.send(conn, assignment(g, 1, 1, all...)) // the same again changes nothing
	c.until(conn, "a report of rows", func(s map[checkpoint.Slot]physical.SlotReport) bool {
		return s[slotOf("ingest", 0)].Counters.In > 0
	})
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}

	conn, r = c.accept()
	if len(r.Running) != len(all) || r.Running[0].Term != 1 {
		t.Errorf("after a lost link it registers as %+v", r)
	}
	c.until(conn, "the end", func(s map[checkpoint.Slot]physical.SlotReport) bool {
		ended := 0
		for _, x := range s {
			if x.State == engine.StateEnded {
				ended++
			}
		}
		return ended == len(all)
	})
	// A server that has forgotten everything assigns again: what ended is not started again, and its end is told again.
	c.send(conn, assignment(g, 1, 1, all...))
	c.until(conn, "the end once more", func(s map[checkpoint.Slot]physical.SlotReport) bool {
		return s[all[3]].State == engine.StateEnded && s[all[3]].Counters.In > 0
	})
	delays, late, _ := expect(rows)
	same(t, "table of delays", world.Table("delays").Rows(), delays)
	same(t, "channel of late flights", lateRows(t, world.Records("flights.late")), late)
}

func TestASlotIsGivenUpAfterItsCommitAndTakenBackUnderAHigherTerm(t *testing.T) {
	rows := flights(3000, 12)
	c, world, g := newControl(t), pipetest.NewWorld(), paced(4000)
	world.Sources["flights"] = pipetest.Rows(flightSchema, 2, rows)
	defer c.worker(world)()
	slot := slotOf("ingest", 0)
	conn, _ := c.accept()
	c.send(conn, assignment(g, 1, 1, slot))
	c.until(conn, "a commit", func(s map[checkpoint.Slot]physical.SlotReport) bool { return s[slot].Epoch > 0 })
	c.send(conn, assignment(g, 2, 1))
	c.until(conn, "the slot's absence", func(s map[checkpoint.Slot]physical.SlotReport) bool { return len(s) == 0 })
	p := world.Progress(slot)
	if p.Ended || p.Counters.In == 0 || p.Positions["Read|part-0"].Offset != p.Counters.In {
		t.Errorf("it was given up at %+v", p)
	}
	c.send(conn, assignment(g, 3, 2, slot))
	c.until(conn, "the end under term 2", func(s map[checkpoint.Slot]physical.SlotReport) bool {
		return s[slot].State == engine.StateEnded && s[slot].Term == 2
	})
	if p := world.Progress(slot); !p.Ended || p.Term != 2 || p.Counters.In != 1500 {
		t.Errorf("it ended at %+v", p)
	}
	c.send(conn, assignment(g, 4, 3, checkpoint.Slot{Pipeline: "flights", UID: "u1", Stage: "nowhere", Fragment: "f0"}))
	c.until(conn, "a refusal", func(s map[checkpoint.Slot]physical.SlotReport) bool {
		for _, x := range s {
			if x.State == engine.StateFailed && x.Reason != "" {
				return true
			}
		}
		return false
	})
}
