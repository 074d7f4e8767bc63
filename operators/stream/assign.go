package stream

import (
	"maps"
	"slices"
	"strings"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/physical"
)

// Run is one execution of a pipeline and what is known of its end.
type Run struct {
	physical.PipelineRun
	Ended  map[string]bool               // stages of which all slots said "ended" in this run; stored by the server (C5)
	Splits map[string][]physical.SplitOf // by "stage/fragment": of bounded sources, in the order in which they were listed for this run (C8)
	Held   map[string]bool               // stages that may not run yet: their splits have not been listed
	Hash   string                        // of the graph: a slot that was assigned with another one gets a new term, under which it runs with this one
	Paused bool
}

// Owned says who runs a slot. Task is empty where nobody does; the term is kept, since terms only grow.
type Owned struct {
	Slot checkpoint.Slot `json:"slot"`
	Run  uint64          `json:"run"`
	Task string          `json:"task,omitempty"`
	Term uint64          `json:"term"`
	Hash string          `json:"hash,omitempty"` // of the graph that it runs
}

// State is the whole assignment, stored by the server before it is sent. Slots are sorted.
type State struct {
	Revision uint64  `json:"revision"`
	Slots    []Owned `json:"slots"`
}

// Request is what an assignment is decided on.
type Request struct {
	Runs     []Run
	Workers  []string // tasks that are registered and stay: not those that a scale-in is about to end
	Previous State
}

// Assign gives each slot that may run to one worker. A slot may run when the stages that its own comes after have ended in this run and its
// own has not. A slot stays where it is unless its worker is gone or has more than its share; one that moves gets the next term, which
// fences whoever still runs it. Where nothing changes the same state comes back, revision included.
func Assign(r Request) State {
	a := &assignment{load: map[string]int{}, previous: map[checkpoint.Slot]Owned{}, next: map[checkpoint.Slot]Owned{}}
	for _, o := range r.Previous.Slots {
		a.previous[o.Slot] = o
	}
	workers := slices.Compact(slices.Sorted(slices.Values(r.Workers)))
	for _, run := range r.Runs {
		for _, stage := range run.Graph.Stages {
			a.stage(run, stage, workers)
		}
	}
	// What no run names keeps its term: a pipeline that comes back must get a higher one, or its own log would fence it for ever.
	for slot, o := range a.previous {
		if _, ok := a.next[slot]; !ok {
			o.Task = ""
			a.next[slot] = o
		}
	}
	next := State{Revision: r.Previous.Revision, Slots: slices.SortedFunc(maps.Values(a.next), compareOwned)}
	if !slices.Equal(next.Slots, r.Previous.Slots) {
		next.Revision++
	}
	return next
}

func compareOwned(a, b Owned) int {
	if c := strings.Compare(a.Slot.Pipeline+"\x00"+a.Slot.UID+"\x00"+a.Slot.Stage+"\x00"+a.Slot.Fragment, b.Slot.Pipeline+"\x00"+b.Slot.UID+"\x00"+b.Slot.Stage+"\x00"+b.Slot.Fragment); c != 0 {
		return c
	}
	return a.Slot.Index - b.Slot.Index
}

type assignment struct {
	load     map[string]int // slots given out so far, by task
	previous map[checkpoint.Slot]Owned
	next     map[checkpoint.Slot]Owned
}

// runs reports whether a stage's slots are to run.
func (r Run) runs(s physical.Stage) bool {
	if r.Paused || r.Held[s.Name] || r.Ended[s.Name] {
		return false
	}
	for _, before := range s.After {
		if !r.Ended[before] {
			return false
		}
	}
	return true
}

func (a *assignment) stage(run Run, s physical.Stage, workers []string) {
	hosts := workers
	if s.MaxWorkers > 0 && len(workers) > s.MaxWorkers {
		hosts = a.hosts(run, s, workers)
	}
	if !run.runs(s) {
		hosts = nil
	}
	for _, f := range s.Fragments {
		slots := make([]checkpoint.Slot, f.Slots)
		for i := range slots {
			slots[i] = checkpoint.Slot{Pipeline: run.Graph.Pipeline, UID: run.UID, Stage: s.Name, Fragment: f.Name, Index: i}
		}
		a.fragment(run, slots, hosts)
	}
}

// hosts are the workers of a stage that may use fewer than there are: those that host most of it already, then those with the least to do.
func (a *assignment) hosts(run Run, s physical.Stage, workers []string) []string {
	holds := map[string]int{}
	for slot, o := range a.previous {
		if slot.UID == run.UID && slot.Stage == s.Name {
			holds[o.Task]++
		}
	}
	order := slices.Clone(workers)
	slices.SortStableFunc(order, func(x, y string) int {
		if holds[x] != holds[y] {
			return holds[y] - holds[x]
		}
		return a.load[x] - a.load[y]
	})
	order = order[:s.MaxWorkers]
	slices.Sort(order)
	return order
}

// fragment shares one fragment's slots out: each host gets the same number, or one more.
func (a *assignment) fragment(run Run, slots []checkpoint.Slot, hosts []string) {
	if len(hosts) == 0 {
		for _, s := range slots {
			if o, ok := a.previous[s]; ok {
				o.Task = ""
				a.next[s] = o
			}
		}
		return
	}
	quota := a.quotas(slots, hosts)
	var loose []checkpoint.Slot
	for _, s := range slots {
		o := a.previous[s]
		if quota[o.Task] > 0 {
			quota[o.Task]--
			a.give(run, s, o.Task)
			continue
		}
		loose = append(loose, s)
	}
	for _, s := range loose {
		a.give(run, s, a.idlest(hosts, quota))
	}
}

// quotas: the hosts that get one more are those that have more already, then those with the least to do.
func (a *assignment) quotas(slots []checkpoint.Slot, hosts []string) map[string]int {
	base, extra := len(slots)/len(hosts), len(slots)%len(hosts)
	held := map[string]int{}
	for _, s := range slots {
		held[a.previous[s].Task]++
	}
	order := slices.Clone(hosts)
	slices.SortStableFunc(order, func(x, y string) int {
		if more := min(held[y], base+1) - min(held[x], base+1); more != 0 {
			return more
		}
		return a.load[x] - a.load[y]
	})
	quota := map[string]int{}
	for i, h := range order {
		quota[h] = base
		if i < extra {
			quota[h]++
		}
	}
	return quota
}

func (a *assignment) idlest(hosts []string, quota map[string]int) string {
	best := ""
	for _, h := range hosts {
		if quota[h] > 0 && (best == "" || a.load[h] < a.load[best]) {
			best = h
		}
	}
	quota[best]--
	return best
}

func (a *assignment) give(run Run, s checkpoint.Slot, task string) {
	o := a.previous[s]
	if o.Task != task || o.Run != run.Run || o.Hash != run.Hash || o.Term == 0 {
		o = Owned{Slot: s, Run: run.Run, Task: task, Term: o.Term + 1, Hash: run.Hash}
	}
	a.next[s] = o
	a.load[task]++
}

// Count is how many slots each task is given.
func (s State) Count() map[string]int {
	out := map[string]int{}
	for _, o := range s.Slots {
		if o.Task != "" {
			out[o.Task]++
		}
	}
	return out
}

// Messages are what each of the workers shall run, the whole of it: one for every worker, also for one with no slot left.
func (s State) Messages(runs []Run, workers []string, connections map[string]physical.Connection, install string) map[string]physical.Assign {
	byUID := map[string]Run{}
	for _, r := range runs {
		byUID[r.UID] = r
	}
	out := map[string]physical.Assign{}
	for _, w := range workers {
		out[w] = physical.Assign{Revision: s.Revision, Connections: connections, Install: install}
	}
	for _, o := range s.Slots {
		m, ok := out[o.Task]
		run, known := byUID[o.Slot.UID]
		if !ok || !known {
			continue
		}
		if !slices.ContainsFunc(m.Pipelines, func(p physical.PipelineRun) bool { return p.UID == o.Slot.UID }) {
			m.Pipelines = append(m.Pipelines, run.PipelineRun)
		}
		m.Slots = append(m.Slots, physical.SlotTask{Slot: o.Slot, Term: o.Term, Splits: run.splits(o.Slot)})
		out[o.Task] = m
	}
	return out
}

// splits are the slot's: a split's index among its node's, modulo the fragment's slots, for ever (C8).
func (r Run) splits(slot checkpoint.Slot) []physical.SplitOf {
	slots := 0
	for _, s := range r.Graph.Stages {
		for _, f := range s.Fragments {
			if s.Name == slot.Stage && f.Name == slot.Fragment {
				slots = f.Slots
			}
		}
	}
	var out []physical.SplitOf
	index := map[string]int{}
	for _, split := range r.Splits[slot.Stage+"/"+slot.Fragment] {
		if slots > 0 && index[split.Node]%slots == slot.Index {
			out = append(out, split)
		}
		index[split.Node]++
	}
	return out
}
