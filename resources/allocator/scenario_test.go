package allocator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/allocator"
)

// TestScenarios plays a cluster in which every framework answers at once.
//
//	agent ID RESOURCES             an agent appears
//	framework ID role=R [weight=W] [suppressed]
//	filter FRAMEWORK AGENT until=SECONDS RESOURCES
//	at SECONDS                     the clock
//	allocate                       the offers and reasons of one allocation; nobody answers
//	fill                           every framework launches tasks of its demand until none fits
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		c := &cluster{state: allocator.State{Now: epoch, Weights: map[string]float64{}}, demand: map[resources.FrameworkID]resources.Resources{}, tasks: map[resources.FrameworkID]int{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return c.command(t, d) })
	})
}

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

type cluster struct {
	state  allocator.State
	demand map[resources.FrameworkID]resources.Resources
	tasks  map[resources.FrameworkID]int
}

func parse(t *testing.T, text string) resources.Resources {
	t.Helper()
	r, err := resources.Parse(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (c *cluster) command(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "agent":
		r := parse(t, d.Input)
		c.state.Agents = append(c.state.Agents, allocator.Agent{ID: resources.AgentID(d.CmdArgs[0].Key), Total: r, Available: r})
	case "framework":
		f := allocator.Framework{ID: resources.FrameworkID(d.CmdArgs[0].Key)}
		d.ScanArgs(t, "role", &f.Role)
		f.Suppressed = d.HasArg("suppressed")
		if d.HasArg("weight") {
			var w int
			d.ScanArgs(t, "weight", &w)
			c.state.Weights[f.Role] = float64(w)
		}
		c.demand[f.ID] = parse(t, d.Input)
		c.state.Frameworks = append(c.state.Frameworks, f)
	case "filter":
		var until int
		d.ScanArgs(t, "until", &until)
		c.state.Filters = append(c.state.Filters, allocator.Filter{Framework: resources.FrameworkID(d.CmdArgs[0].Key), Agent: resources.AgentID(d.CmdArgs[1].Key),
			Resources: parse(t, d.Input), Until: epoch.Add(time.Duration(until) * time.Second)})
	case "at":
		var seconds int
		if _, err := fmt.Sscan(d.CmdArgs[0].Key, &seconds); err != nil {
			t.Fatal(err)
		}
		c.state.Now = epoch.Add(time.Duration(seconds) * time.Second)
	case "allocate":
		return describe(allocator.Allocate(c.state))
	case "fill":
		return c.fill()
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	return "ok\n"
}

func describe(r allocator.Result) string {
	var b strings.Builder
	for _, g := range r.Grants {
		fmt.Fprintf(&b, "offer %s to %s (role %s, share %.3f): %s\n", g.Agent, g.Framework, g.Role, g.Share, g.Resources)
	}
	for _, x := range r.Reasons {
		fmt.Fprintf(&b, "no offer: %s\n", x)
	}
	return b.String()
}

// fill has every offered framework launch one task and give the rest back; one whose task does not fit stops asking.
func (c *cluster) fill() string {
	var b strings.Builder
	var order []string
	for range 1000 {
		grants := allocator.Allocate(c.state).Grants
		if len(grants) == 0 {
			break
		}
		g := grants[0]
		f := &c.state.Frameworks[slices.IndexFunc(c.state.Frameworks, func(f allocator.Framework) bool { return f.ID == g.Framework })]
		task := c.demand[f.ID]
		if !g.Resources.Contains(task) {
			f.Suppressed = true
			continue
		}
		a := &c.state.Agents[slices.IndexFunc(c.state.Agents, func(a allocator.Agent) bool { return a.ID == g.Agent })]
		a.Available = a.Available.Sub(task)
		f.Allocated = f.Allocated.Add(task)
		c.tasks[f.ID]++
		order = append(order, string(f.ID))
	}
	fmt.Fprintf(&b, "launched: %s\n", strings.Join(order, " "))
	for _, f := range c.state.Frameworks {
		fmt.Fprintf(&b, "%s: %d tasks, share %s\n", f.ID, c.tasks[f.ID], fraction(f, c.state.Agents))
	}
	return b.String()
}

// fraction is the dominant share of a framework, as a fraction that can be compared with the paper's.
func fraction(f allocator.Framework, agents []allocator.Agent) string {
	best := "0"
	var share float64
	for _, name := range f.Allocated.Names() {
		var total resources.Milli
		for _, a := range agents {
			total += a.Total.Amount(name)
		}
		if s := f.Allocated.Amount(name).Float() / total.Float(); s > share {
			share, best = s, fmt.Sprintf("%s/%s of %s", f.Allocated.Amount(name), total, name)
		}
	}
	return fmt.Sprintf("%.3f (%s)", share, best)
}
