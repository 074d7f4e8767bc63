package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/agent"
)

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// TestScenarios plays stories of one agent: each command is something that happens, its answer is what the agent does.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{t: t, now: epoch}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.play(d) })
	})
}

type story struct {
	t      *testing.T
	a      *agent.Agent
	now    time.Time
	serial int
}

func (s *story) parse(text string) resources.Resources {
	r, err := resources.Parse(strings.TrimSpace(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *story) play(d *datadriven.TestData) string {
	arg := func(i int) string { return d.CmdArgs[i].Key }
	switch d.Cmd {
	case "edges":
		var b strings.Builder
		for _, e := range agent.Edges {
			fmt.Fprintf(&b, "%-8s %-15s -> %s\n", e.From, e.On, e.To)
		}
		return b.String()
	case "start": // on a host with resources; what was saved is found again
		var saved *agent.Saved
		if s.a != nil {
			x := s.a.Saved()
			saved = &x
		}
		s.a = agent.New(agent.Config{Info: resources.AgentInfo{ID: "a1", Resources: s.parse(d.Input)}, Keep: 1, NewID: func() string { s.serial++; return fmt.Sprintf("u%d", s.serial) }}, saved)
		var b strings.Builder
		fmt.Fprintf(&b, "has %s\n", s.a.Info().Resources)
		if short := s.a.Shortage(); !short.Empty() {
			fmt.Fprintf(&b, "lacks %s\n", short)
		}
		for _, t := range s.a.Tasks() {
			fmt.Fprintf(&b, "looks after %s\n", t.ID)
		}
		return b.String()
	case "resize":
		return describe(s.a.Resize(s.parse(d.Input)))
	case "host-gone":
		return describe(s.a.HostGone(s.now, d.Input))
	case "resume":
		return describe(s.a.Resume(s.now))
	case "adopt":
		id, what, _ := strings.Cut(d.Input, " ")
		return fmt.Sprintf("%v\n", s.a.Adopt(resources.TaskInfo{ID: resources.TaskID(id), Name: "found", Framework: "f", Resources: s.parse(what)}))
	case "register":
		var b strings.Builder
		r := s.a.Register(s.now)
		fmt.Fprintf(&b, "has %s\n", r.Info.Resources)
		for _, t := range r.Tasks {
			fmt.Fprintln(&b, status(t))
		}
		return b.String()
	case "after":
		wait, err := time.ParseDuration(arg(0))
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = s.now.Add(wait)
		return describe(s.a.Tick(s.now))
	case "next":
		if s.a.Next().IsZero() {
			return "never\n"
		}
		return s.a.Next().Sub(s.now).String() + "\n"
	case "command":
		return describe(s.a.Command(s.now, s.command(d)))
	case "seen":
		o := agent.Observation{Event: agent.TaskEvent(d.Input)}
		if d.HasArg("pid") {
			d.ScanArgs(s.t, "pid", &o.PID)
		}
		if d.HasArg("code") {
			d.ScanArgs(s.t, "code", &o.ExitCode)
		}
		return describe(s.a.Observe(s.now, resources.TaskID(arg(0)), o))
	case "shim-died":
		return describe(s.a.ShimDied(s.now, resources.TaskID(arg(0))))
	}
	s.t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

func (s *story) command(d *datadriven.TestData) resources.AgentCommand {
	c := resources.AgentCommand{Type: resources.AgentCommandType(d.CmdArgs[0].Key), Term: 1}
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "term":
			a.Scan(s.t, 0, &c.Term)
		case "seq":
			a.Scan(s.t, 0, &c.Seq)
		case "task":
			c.Task = resources.TaskID(a.Vals[0])
		case "uuid":
			c.UUID = a.Vals[0]
		}
	}
	for _, line := range strings.Split(d.Input, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		op := resources.Operation{Type: resources.OperationType(strings.ToUpper(word))}
		switch {
		case line == "":
			continue
		case op.Type == resources.Launch:
			id, what, _ := strings.Cut(rest, " ")
			name, _, _ := strings.Cut(id, ".")
			op.Tasks = []resources.TaskInfo{{ID: resources.TaskID(id), Name: name, Framework: "f", Resources: s.parse(what),
				Command: resources.Command{Argv: []string{"true"}}, Files: []resources.File{{Path: "secret", Content: []byte("s")}}}}
		default:
			op.Resources = s.parse(rest)
		}
		c.Operations = append(c.Operations, op)
	}
	return c
}

func describe(effects []agent.Effect) string {
	var b strings.Builder
	for _, e := range effects {
		switch e := e.(type) {
		case agent.Save:
			b.WriteString("save\n")
		case agent.MakeVolume:
			fmt.Fprintf(&b, "make volume %s\n", e.ID)
		case agent.RemoveVolume:
			fmt.Fprintf(&b, "remove volume %s\n", e.ID)
		case agent.RemoveSandbox:
			fmt.Fprintf(&b, "remove sandbox %s\n", e.Task)
		case agent.Start:
			fmt.Fprintf(&b, "start %s with %d file(s)\n", e.Info.ID, len(e.Info.Files))
		case agent.Stop:
			fmt.Fprintf(&b, "stop %s hard=%v\n", e.Task, e.Hard)
		case agent.Reject:
			fmt.Fprintf(&b, "reject: %v\n", e.Err)
		case agent.Report:
			if e.Report.Status != nil {
				fmt.Fprintf(&b, "report %s\n", status(*e.Report.Status))
				continue
			}
			fmt.Fprintf(&b, "report has %s (seq %d)\n", e.Report.Info.Resources, e.Report.Seq)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func status(s resources.TaskStatus) string {
	text := fmt.Sprintf("%s %s", s.Task, s.State)
	if s.UUID != "" {
		text += " " + s.UUID
	}
	if s.PID != 0 {
		text += fmt.Sprintf(" pid %d", s.PID)
	}
	if s.ExitCode != 0 {
		text += fmt.Sprintf(" code %d", s.ExitCode)
	}
	for _, x := range []string{s.Reason, s.Message} {
		if x != "" {
			text += " | " + x
		}
	}
	return text
}

func TestEveryStateCanEndAndNoEndIsLeft(t *testing.T) {
	reach := map[resources.TaskState]bool{resources.Staging: true}
	for range agent.Edges {
		for _, e := range agent.Edges {
			if e.From.Terminal() {
				t.Errorf("%s is an end, and %q leads on to %s", e.From, e.On, e.To)
			}
			if reach[e.From] {
				reach[e.To] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, e := range agent.Edges {
		if !reach[e.From] {
			t.Errorf("nothing leads to %s", e.From)
		}
		key := string(e.From) + string(e.On)
		if seen[key] {
			t.Errorf("%s has two edges on %q", e.From, e.On)
		}
		seen[key] = true
	}
	for state := range reach {
		if state.Terminal() {
			continue
		}
		for _, on := range []agent.TaskEvent{agent.ExitedZero, agent.ExitedBad, agent.ExitUnknown} {
			if to, ok := agent.Next(state, on); !ok || !to.Terminal() {
				t.Errorf("in %s a task that %s is not at its end but in %s", state, on, to)
			}
		}
	}
}
