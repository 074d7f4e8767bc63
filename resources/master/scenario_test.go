package master_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/master"
)

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// TestScenarios plays stories: each command is an event, its answer is what the master does.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{t: t}
		s.start(1)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.play(d) })
	})
}

type story struct {
	t      *testing.T
	m      *master.Master
	now    time.Time
	serial int
}

func (s *story) start(term uint64) {
	if s.now.IsZero() {
		s.now = epoch
	}
	s.m = master.New(s.now, master.Options{Term: term, Expect: []resources.AgentID{"a1"}, NewID: func(kind string) string {
		s.serial++
		return fmt.Sprintf("%c%d", kind[0], s.serial)
	}})
}

func (s *story) parse(text string) resources.Resources {
	r, err := resources.Parse(strings.TrimSpace(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func arg(d *datadriven.TestData, i int) string { return d.CmdArgs[i].Key }

// value is a named argument, or "".
func value(d *datadriven.TestData, name string) string {
	for _, a := range d.CmdArgs {
		if a.Key == name && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return ""
}

func values(d *datadriven.TestData, name string) []string {
	for _, a := range d.CmdArgs {
		if a.Key == name {
			return a.Vals
		}
	}
	return nil
}

func (s *story) play(d *datadriven.TestData) string {
	switch d.Cmd {
	case "restart":
		var term uint64
		d.ScanArgs(s.t, "term", &term)
		s.start(term)
		return "ok\n"
	case "after":
		wait, err := time.ParseDuration(arg(d, 0))
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = s.now.Add(wait)
		return s.describe(s.m.Tick(s.now))
	case "next":
		return s.m.Next().Sub(s.now).String() + "\n"
	case "why":
		var b strings.Builder
		for _, r := range s.m.Why(s.now, arg(d, 0)) {
			fmt.Fprintln(&b, r)
		}
		return b.String()
	case "largest":
		return s.m.Largest(arg(d, 0)).String() + "\n"
	case "show":
		return s.show()
	}
	return s.describe(s.m.Step(s.now, s.event(d)))
}

func (s *story) show() string {
	var b strings.Builder
	snap := s.m.Snapshot(s.now)
	for _, a := range snap.Agents {
		fmt.Fprintf(&b, "agent %s connected=%v unreachable=%v\n  has %s\n  used %s\n  offered %s\n", a.Info.ID, a.Connected, a.Unreachable, a.Info.Resources, a.Used, a.Offered)
	}
	for _, t := range snap.Tasks {
		fmt.Fprintf(&b, "task %s of %s on %s: %s\n", t.Task, t.Framework, t.Agent, t.State)
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func (s *story) event(d *datadriven.TestData) master.Event {
	if d.Cmd == "register" || d.Cmd == "status" || d.Cmd == "changed" {
		agent := resources.AgentID(arg(d, 0))
		return master.AgentReported{Agent: agent, Report: s.report(agent, d)}
	}
	switch d.Cmd {
	case "disconnect":
		return master.AgentDisconnected{Agent: resources.AgentID(arg(d, 0))}
	case "subscribe":
		return master.Subscribed{Info: resources.FrameworkInfo{ID: resources.FrameworkID(arg(d, 0)), Name: arg(d, 0), Role: value(d, "role")}}
	case "unsubscribe":
		return master.Unsubscribed{Framework: resources.FrameworkID(arg(d, 0))}
	}
	return master.Called{Call: s.call(d)}
}

func (s *story) report(agent resources.AgentID, d *datadriven.TestData) resources.AgentReport {
	lines := strings.Split(d.Input, "\n")
	info := &resources.AgentInfo{ID: agent, Hostname: "host-" + string(agent)}
	if d.Cmd != "status" {
		info.Resources = s.parse(lines[0])
	}
	switch d.Cmd {
	case "register":
		r := resources.AgentReport{Type: resources.AgentRegister, Info: info}
		for _, line := range lines[1:] { // ID FRAMEWORK STATE UUID RESOURCES
			f := strings.SplitN(line, " ", 5)
			r.Tasks = append(r.Tasks, resources.TaskStatus{Task: resources.TaskID(f[0]), Framework: resources.FrameworkID(f[1]), State: resources.TaskState(f[2]),
				UUID: strings.Trim(f[3], "-"), Resource: s.parse(f[4])})
		}
		return r
	case "status":
		known := resources.TaskStatus{}
		for _, t := range s.m.Snapshot(s.now).Tasks {
			if string(t.Task) == arg(d, 1) {
				known = t
			}
		}
		known.Task, known.State, known.UUID, known.Message = resources.TaskID(arg(d, 1)), resources.TaskState(arg(d, 2)), value(d, "uuid"), d.Input
		if f := value(d, "framework"); f != "" {
			known.Framework = resources.FrameworkID(f)
		}
		return resources.AgentReport{Type: resources.AgentStatus, Status: &known}
	}
	r := resources.AgentReport{Type: resources.AgentChanged, Info: info}
	d.ScanArgs(s.t, "seq", &r.Seq)
	return r
}

func (s *story) call(d *datadriven.TestData) resources.Call {
	c := resources.Call{Framework: resources.FrameworkID(arg(d, 0)), Type: resources.CallType(strings.ToUpper(d.Cmd))}
	for _, o := range values(d, "offers") {
		c.Offers = append(c.Offers, resources.OfferID(o))
	}
	for _, t := range values(d, "tasks") {
		c.Tasks = append(c.Tasks, resources.TaskID(t))
	}
	c.Task, c.UUID = resources.TaskID(value(d, "task")), value(d, "uuid")
	if wait := value(d, "refuse"); wait != "" {
		var err error
		if c.Filter.RefuseFor, err = time.ParseDuration(wait); err != nil {
			s.t.Fatal(err)
		}
	}
	if c.Type != resources.CallAccept {
		return c
	}
	for _, line := range strings.Split(d.Input, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		op := resources.Operation{Type: resources.OperationType(strings.ToUpper(word))}
		switch {
		case line == "":
			continue
		case op.Type == resources.Launch: // launch ID RESOURCES
			id, what, _ := strings.Cut(rest, " ")
			op.Tasks = []resources.TaskInfo{{ID: resources.TaskID(id), Name: id, Resources: s.parse(what), Command: resources.Command{Argv: []string{"true"}}}}
		default:
			op.Resources = s.parse(rest)
		}
		c.Operations = append(c.Operations, op)
	}
	return c
}

func (s *story) describe(effects []master.Effect) string {
	var b strings.Builder
	for _, e := range effects {
		switch e := e.(type) {
		case master.Refuse:
			fmt.Fprintf(&b, "refused: %v\n", e.Err)
		case master.SendAgent:
			fmt.Fprintf(&b, "-> agent %s: %s\n", e.Agent, command(e.Command))
		case master.SendFramework:
			describeEvent(&b, e)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func command(c resources.AgentCommand) string {
	text := fmt.Sprintf("%s (term %d)", c.Type, c.Term)
	if c.Seq != 0 {
		text += fmt.Sprintf(" seq %d", c.Seq)
	}
	if c.Task != "" {
		text += " " + strings.TrimSpace(string(c.Task)+" "+c.UUID)
	}
	for _, op := range c.Operations {
		text += fmt.Sprintf("\n     %s", op.Type)
		if len(op.Resources) > 0 {
			text += " " + op.Resources.String()
		}
		for _, t := range op.Tasks {
			text += fmt.Sprintf(" %s of %s with %s", t.ID, t.Framework, t.Resources)
		}
	}
	return text
}

func describeEvent(b *strings.Builder, e master.SendFramework) {
	fmt.Fprintf(b, "-> %s: %s", e.Framework, e.Event.Type)
	for _, o := range e.Event.Offers {
		fmt.Fprintf(b, "\n     %s of %s: %s", o.ID, o.Agent, o.Resources)
	}
	if e.Event.Offer != "" {
		fmt.Fprintf(b, " %s", e.Event.Offer)
	}
	if s := e.Event.Status; s != nil {
		fmt.Fprintf(b, " %s %s", s.Task, s.State)
		for _, x := range []string{s.UUID, s.Reason, s.Message} {
			if x != "" {
				fmt.Fprintf(b, " | %s", x)
			}
		}
	}
	b.WriteString("\n")
}
