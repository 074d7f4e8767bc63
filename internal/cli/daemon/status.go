package daemon

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/kafka"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/stacks"
)

func (d *Daemon) listStacks() ([]api.Stack, error) {
	out := []api.Stack{}
	for _, name := range slices.Sorted(maps.Keys(d.stacks)) {
		out = append(out, d.stacks[name].status())
	}
	return out, nil
}

func (d *Daemon) getStack(name string) (api.Stack, error) {
	s := d.stacks[name]
	if s == nil {
		known := slices.Sorted(maps.Keys(d.stacks))
		return api.Stack{}, fault.NotFound("E-NOT-FOUND", "find stack", name, fault.Causef("there is none of that name (stacks: %s)", strings.Join(known, ", ")),
			fault.Hint(fault.DidYouMean(name, known, "weir up STACK.yaml")))
	}
	return s.status(), nil
}

// status is what people see of a stack.
func (s *stack) status() api.Stack {
	out := api.Stack{Name: s.name, State: "running"}
	for _, v := range s.services {
		if f := v.fetched.Load(); f != nil {
			if step, ok := f.step(); ok {
				out.Steps = append(out.Steps, step)
			}
		}
		sv := s.serviceStatus(v)
		out.Services = append(out.Services, sv)
		if sv.State != "ready" {
			out.State = "starting"
		}
		out.Tasks = append(out.Tasks, v.tasks()...)
	}
	trouble := s.trouble(time.Now())
	for _, p := range s.pipelines {
		out.Pipelines = append(out.Pipelines, suffering(p.status(), trouble))
	}
	for _, ref := range s.resolved.Stack.Show {
		out.Show = append(out.Show, api.Shown{Path: ref.Path, Source: s.record.Bundle.Files[ref.Path]})
	}
	switch {
	case s.failure != nil:
		f := fault.From(s.failure).Flat()
		out.State, out.Reason, out.Hint, out.Exit = "failed", s.failure.Error(), f.Hint, fault.ExitCode(s.failure)
	case s.record.Down && s.origin() != nil && s.d.stopping == nil:
		out.State, out.Reason = "stopping", "its Stack object is being deleted"
		if s.origin().Ended {
			out.State, out.Reason = "stopped", "its Stack object was deleted; one of the same name starts it again with its data"
		}
	case s.record.Down:
		out.State, out.Reason = "stopped", "weir up starts it again"
	case out.State == "running" && s.complete():
		out.State = "complete"
	}
	return out
}

// trouble says which worker fails and why; empty where none does. One that failed again and again is named for a while although it runs now:
// what its slots report in between looks like work.
func (s *stack) trouble(now time.Time) string {
	v := s.fleet()
	if v == nil || v.rec == nil || s.record.Down {
		return ""
	}
	o := v.rec.Status().Observed
	for i := range v.spec.Size {
		pod := v.spec.PodName(i)
		a := o.Attempts[plan.LaunchID(pod)]
		if a.Failures == 0 || o.Tasks[pod].Live() && (a.Failures == 1 || now.Sub(a.At) >= operators.Forget) {
			continue
		}
		return fmt.Sprintf("worker %s ended by itself, %s in a row: %s; weir logs %s", pod, fault.Count(a.Failures, "time"), a.LastError, pod)
	}
	return ""
}

// suffering is a pipeline's status with what its workers suffer from.
func suffering(p api.Pipeline, trouble string) api.Pipeline {
	if trouble == "" || p.State == "complete" {
		return p
	}
	p.Reason = trouble
	for i := range p.Stages {
		if p.Stages[i].State != "ended" {
			p.Stages[i].Reason = trouble
		}
	}
	return p
}

func (s *stack) complete() bool {
	for _, p := range s.pipelines {
		if p.Ended.IsZero() {
			return false
		}
	}
	return len(s.pipelines) > 0
}

func (v *service) tasks() []api.Task {
	if v.rec == nil {
		return nil
	}
	st := v.rec.Status()
	var out []api.Task
	for _, pod := range slices.Sorted(maps.Keys(st.Observed.Tasks)) {
		t := st.Observed.Tasks[pod]
		if i, ok := stream.Index(v.spec.Name, pod); ok && i >= v.spec.Size && !t.Live() {
			continue // scaled in
		}
		out = append(out, api.Task{ID: string(t.ID), Name: pod, Service: v.spec.Name, State: string(t.State), Reason: t.Message, PID: t.PID, Since: t.Since, Holds: st.Holds[pod]})
	}
	return out
}

// sample adds the CPU time of the stack's processes to the runs that are going on, once a second.
func (s *stack) sample(now time.Time) {
	if now.Sub(s.sampled) < time.Second {
		return
	}
	s.sampled = now
	pids := map[string][]int{"server": {os.Getpid()}}
	for _, v := range s.services {
		for _, t := range v.tasks() {
			if t.State == string(resources.Running) && t.PID > 0 {
				pids[v.spec.Name] = append(pids[v.spec.Name], t.PID)
			}
		}
	}
	for _, p := range s.pipelines {
		if p.Started.IsZero() || !p.Ended.IsZero() {
			p.meter.sample(pids) // keeps the mark from which the next run counts
			continue
		}
		for name, spent := range p.meter.sample(pids) {
			p.CPU[name] += spent
		}
	}
}

// plan prints what applying a stack would change.
func (d *Daemon) plan(r *stacks.Resolved) (api.Plan, error) {
	s := d.stacks[r.Stack.Name]
	if s == nil {
		text, n := stacks.Diff(nil, r)
		return api.Plan{Stack: r.Stack.Name, Text: text, Changes: n}, d.check(nil, r, "")
	}
	hash, err := r.Hash()
	if err != nil {
		return api.Plan{}, err
	}
	next, notes := s.carried(r, hash, time.Now())
	r = next.sized(r)
	for _, g := range r.Graphs {
		setHomes(g, byName(r))
	}
	old := &stacks.Resolved{Stack: s.resolved.Stack}
	for _, p := range s.pipelines {
		g := p.Graph
		old.Graphs = append(old.Graphs, &g)
	}
	text, n := stacks.Diff(old, r)
	for _, note := range notes {
		text += note + "\n"
	}
	if s.record.Down {
		text += "the stack is down: `weir up` starts its services again\n"
		n++
	}
	text += s.preview(r, next)
	return api.Plan{Stack: s.name, Text: text, Changes: n}, d.check(s, r, "")
}

// why prints the reasons of a decision.
func (d *Daemon) why(kind, name string) (api.Plan, error) {
	for _, s := range d.stacks {
		_, bare, _ := strings.Cut(name, s.name+"/") // STACK/SERVICE, or SERVICE where it is of one stack
		v := s.service(cmp.Or(bare, name))
		if v == nil || v.rec == nil {
			continue
		}
		st := v.rec.Status()
		switch kind {
		case "offers":
			text, err := d.whyOffers(v.spec.Role())
			if err != nil {
				return api.Plan{}, err
			}
			if st.NoOffer != "" {
				text += "the last offers that came did not fit:\n" + st.NoOffer
			}
			return api.Plan{Stack: s.name, Text: text}, nil
		case "step":
			return api.Plan{Stack: s.name, Text: st.Plan.String()}, nil
		case "placement":
			var b strings.Builder
			for _, pod := range slices.Sorted(maps.Keys(st.Observed.Reserved)) {
				at := st.Observed.Reserved[pod]
				fmt.Fprintf(&b, "%s is on agent %s, address %s%s, volume %s, because its reservation is there\n", pod, at.Agent, at.Address, portsText(at.Ports), at.Volume)
			}
			if b.Len() == 0 {
				fmt.Fprintf(&b, "service %s reserves nothing: its tasks go to the first agent that offers enough\n", name)
			}
			return api.Plan{Stack: s.name, Text: b.String()}, nil
		}
		return api.Plan{}, fault.Usage("E-USAGE", "why", kind, fault.Causef("kinds: offers, step, placement, scale"), fault.Hint(fault.DidYouMean(kind, []string{"offers", "step", "placement", "scale"}, "weir why step "+name)))
	}
	known := d.roles()
	return api.Plan{}, fault.NotFound("E-NOT-FOUND", "why "+kind, name, fault.Causef("no such service runs (services: %s)", listed(known)), fault.Hint(fault.DidYouMean(name, known, "weir get services")))
}

// roles are the whole names of all services.
func (d *Daemon) roles() []string {
	var out []string
	for _, s := range d.stacks {
		for _, v := range s.services {
			out = append(out, v.spec.Role())
		}
	}
	slices.Sort(out)
	return out
}

// portsText is ", port NAME N" for each port, nothing where there is none.
func portsText(ports map[string]int) string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		text += fmt.Sprintf(", port %s %d", name, ports[name])
	}
	return text
}

// channel answers how a deployed pipeline's channel is read.
func (d *Daemon) channel(pipeline, channel string) (api.Channel, error) {
	for _, s := range d.stacks {
		p := s.pipeline(pipeline)
		if p == nil {
			continue
		}
		ch, ok := p.Graph.Channels[channel]
		if !ok {
			known := slices.Sorted(maps.Keys(p.Graph.Channels))
			return api.Channel{}, fault.NotFound("E-CHANNEL", "find channel", pipeline+"/"+channel, fault.Causef("the pipeline's channels are %s", strings.Join(known, ", ")),
				fault.Hint(fault.DidYouMean(channel, known, "weir graph FILE shows them")))
		}
		c, err := s.connection(serviceOf(ch))
		if err != nil {
			return api.Channel{}, fault.New("E-CHANNEL", "connect to channel", pipeline+"/"+channel, fault.Cause(err), fault.Hint("weir get services"))
		}
		return api.Channel{Channel: ch, Connection: c}, nil
	}
	return api.Channel{}, fault.NotFound("E-CHANNEL", "find channel", pipeline+"/"+channel, fault.Causef("no pipeline %q is deployed", pipeline), fault.Hint("weir get pipelines"))
}

// serviceConnection answers how a stack's service is reached, with its login: administrators ask, over mTLS.
func (d *Daemon) serviceConnection(stack, service string) (physical.Connection, error) {
	if _, err := d.getStack(stack); err != nil {
		return physical.Connection{}, err
	}
	s := d.stacks[stack]
	if s.service(service) == nil {
		var known []string
		for _, v := range s.services {
			known = append(known, v.spec.Role())
		}
		return physical.Connection{}, fault.NotFound("E-NOT-FOUND", "connect to service", stack+"/"+service, fault.Causef("stack %s has none of that name (services: %s)", stack, listed(known)),
			fault.Hint(fault.DidYouMean(stack+"/"+service, known, "weir get services")))
	}
	c, err := s.connection(service)
	if err != nil {
		return c, fault.New("E-SERVICE", "connect to service", stack+"/"+service, fault.Cause(err), fault.Hint("weir get services"))
	}
	return c, nil
}

func serviceOf(ch physical.Channel) string {
	if ch.Kafka != nil {
		return ch.Kafka.Service
	}
	return ch.Cassandra.Service
}

// sandboxOf finds the latest task of a pod, a service's first pod, or a task id.
func (d *Daemon) sandboxOf(name string) (string, error) {
	var known []string
	for _, s := range d.stacks {
		for _, v := range s.services {
			for _, t := range v.tasks() {
				known = append(known, t.Name)
				if t.Name == name || t.ID == name || v.spec.Name == name || v.spec.Role() == name {
					return t.ID, nil
				}
			}
		}
	}
	return "", fault.NotFound("E-NOT-FOUND", "find task", name, fault.Causef("the tasks are %s", strings.Join(known, ", ")), fault.Hint(fault.DidYouMean(name, known, "weir get tasks")))
}

// readLog reads the end of a task's output, or what came after an offset.
func (d *Daemon) readLog(name, task, file string, lines int, from int64) (api.Log, error) {
	if file != "stdout" && file != "stderr" {
		return api.Log{}, fault.Usage("E-USAGE", "read logs of", name, fault.Causef("there is no file %q, only stdout and stderr", file), fault.Hint("weir logs "+name+" --file stderr"))
	}
	f, err := d.root.Open(filepath.Join(AgentDir, "tasks", task, file))
	if err != nil {
		return api.Log{}, fault.NotFound("E-LOG", "read logs of", name, fault.Cause(err), fault.Hint("weir get tasks"))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return api.Log{}, fmt.Errorf("read logs of %s: %w", name, err)
	}
	const most = 1 << 20
	start := from
	if from < 0 || from > info.Size() { // from the end, or the file was rotated
		start = max(0, info.Size()-most)
	}
	data := make([]byte, min(info.Size()-start, most))
	n, err := f.ReadAt(data, start)
	if err != nil && err != io.EOF {
		return api.Log{}, fmt.Errorf("read logs of %s: %w", name, err)
	}
	data = data[:n]
	if from < 0 {
		data = tail(data, lines)
	}
	return api.Log{Task: task, File: file, Text: data, Next: start + int64(n)}, nil
}

// tail keeps the last lines; of none, nothing.
func tail(data []byte, lines int) []byte {
	if lines <= 0 {
		return nil
	}
	at := len(data)
	if at > 0 && data[at-1] == '\n' {
		at--
	}
	for i := at - 1; i >= 0; i-- {
		if data[i] != '\n' {
			continue
		}
		if lines--; lines <= 0 {
			return data[i+1:]
		}
	}
	return data
}

func endpoint(spec operators.ServiceSpec, o operators.Observed) string {
	at, ok := o.Reserved[spec.PodName(0)]
	switch {
	case !ok || spec.Operator == operators.Stream:
		return ""
	case spec.Operator == operators.Cassandra:
		return cassandraEndpoint(spec, at)
	}
	return at.Endpoint(kafka.ClientPort)
}
