package daemon

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

// run is what is stored of a pipeline (C9): its identity, and what ended. Positions are not here: the slots' progress is the only truth about them.
type run struct {
	UID     string               `json:"uid"`
	Run     uint64               `json:"run"`
	Graph   physical.Graph       `json:"graph"`
	Started time.Time            `json:"started,omitzero"`
	Ended   time.Time            `json:"ended,omitzero"`
	Stages  map[string]*stageRun `json:"stages"`
	CPU     map[string]float64   `json:"cpu_seconds,omitempty"`
}

// stageRun is one stage of a run.
type stageRun struct {
	Splits map[string][]physical.SplitOf `json:"splits,omitempty"` // of bounded sources by node, listed once (C8)
	Listed bool                          `json:"listed,omitempty"`
	Ended  time.Time                     `json:"ended,omitzero"`
	Slots  map[int]checkpoint.Counters   `json:"slots,omitempty"` // of slots that ended
}

// pipeline is a run with what is only seen.
type pipeline struct {
	run
	stack   string
	hash    string // of the graph
	name    string
	latest  map[checkpoint.Slot]physical.SlotReport
	waiting string
	meter   meter
	dirty   bool

	listing  map[string]bool // stages whose splits are being listed
	again    time.Time       // not before this are splits that could not be listed asked for again
	unlisted string          // why they could not be, until they are
}

func newPipeline(stack string, g physical.Graph) *pipeline {
	p := &pipeline{stack: stack, name: g.Pipeline, latest: map[checkpoint.Slot]physical.SlotReport{}, listing: map[string]bool{}}
	p.run = run{UID: "p" + rand.Text()[:12], Graph: g}
	p.begin(1)
	return p
}

// begin makes the pipeline's next run: nothing of it has ended.
func (p *pipeline) begin(n uint64) {
	p.Run, p.Started, p.Ended = n, time.Time{}, time.Time{}
	p.Stages, p.CPU = map[string]*stageRun{}, map[string]float64{}
	for _, s := range p.Graph.Stages {
		p.Stages[s.Name] = &stageRun{Slots: map[int]checkpoint.Counters{}, Splits: map[string][]physical.SplitOf{}}
	}
	p.latest, p.listing, p.unlisted = map[checkpoint.Slot]physical.SlotReport{}, map[string]bool{}, ""
	p.dirty = true
}

func loadPipeline(stack, name string, data []byte) (*pipeline, error) {
	p := &pipeline{stack: stack, name: name, latest: map[checkpoint.Slot]physical.SlotReport{}, listing: map[string]bool{}}
	if err := json.Unmarshal(data, &p.run); err != nil {
		return nil, fmt.Errorf("read the stored run of pipeline %s: %w", name, err)
	}
	// Empty maps are not stored.
	if p.CPU == nil {
		p.CPU = map[string]float64{}
	}
	for _, st := range p.Stages {
		if st.Slots == nil {
			st.Slots = map[int]checkpoint.Counters{}
		}
		if st.Splits == nil {
			st.Splits = map[string][]physical.SplitOf{}
		}
	}
	return p, nil
}

// stage finds one of the graph's stages.
func (p *pipeline) stage(name string) *physical.Stage {
	for i := range p.Graph.Stages {
		if p.Graph.Stages[i].Name == name {
			return &p.Graph.Stages[i]
		}
	}
	return nil
}

// slots lists a stage's slots.
func (p *pipeline) slots(s *physical.Stage) []checkpoint.Slot {
	var out []checkpoint.Slot
	for _, f := range s.Fragments {
		for i := range f.Slots {
			out = append(out, checkpoint.Slot{Pipeline: p.name, UID: p.UID, Stage: s.Name, Fragment: f.Name, Index: i})
		}
	}
	return out
}

// due says whether a stage's slots may run, and what it waits for.
func (p *pipeline) due(s *physical.Stage) (bool, string) {
	if st := p.Stages[s.Name]; !st.Ended.IsZero() {
		return false, ""
	}
	for _, after := range s.After {
		if p.Stages[after].Ended.IsZero() {
			return false, "waits for the end of stage " + after
		}
	}
	return true, ""
}

// report takes the word of a slot's owner.
func (p *pipeline) report(r physical.SlotReport, now time.Time) {
	st := p.Stages[r.Slot.Stage]
	if st == nil || r.Slot.UID != p.UID {
		return
	}
	p.latest[r.Slot] = r
	if p.Started.IsZero() && r.Counters.In > 0 {
		p.Started, p.dirty = now, true
	}
	if r.State != "ended" || !st.Ended.IsZero() {
		return
	}
	if _, known := st.Slots[r.Slot.Index]; known {
		return
	}
	st.Slots[r.Slot.Index] = r.Counters
	p.dirty = true
	if s := p.stage(r.Slot.Stage); len(st.Slots) == len(p.slots(s)) {
		st.Ended = now
		p.finish(now)
	}
}

// silent takes note that nobody speaks for a slot. What it counted until then stays.
func (p *pipeline) silent(slot checkpoint.Slot, why string) {
	if r, ok := p.latest[slot]; ok && r.State != engine.StateEnded {
		r.State, r.Reason = engine.StateWaiting, why
		p.latest[slot] = r
	}
}

// finish ends the run when every stage has ended.
func (p *pipeline) finish(now time.Time) {
	for _, st := range p.Stages {
		if st.Ended.IsZero() {
			return
		}
	}
	p.Ended = now
}

// save stores the run. Assignments are sent after it only, so that a term is never given out twice.
func (d *Daemon) savePipeline(ctx context.Context, p *pipeline) error {
	if !p.dirty {
		return nil
	}
	if err := d.put(ctx, pipelineKey(p.stack, p.name), p.run); err != nil {
		return fmt.Errorf("store the run of pipeline %s: %w", p.name, err)
	}
	p.dirty = false
	return nil
}

// status is what people see of the run.
func (p *pipeline) status() api.Pipeline {
	out := api.Pipeline{Name: p.name, UID: p.UID, Run: p.Run, State: "waiting", Reason: p.waiting, Bounded: true, Started: p.Started, Ended: p.Ended, CPUSeconds: maps.Clone(p.CPU)}
	for i := range p.Graph.Stages {
		s := &p.Graph.Stages[i]
		st := p.stageStatus(s)
		out.Stages = append(out.Stages, st)
		out.Bounded = out.Bounded && s.Bounded
		if readsOutside(s) {
			out.Records += st.Counters.In
		}
		if st.State != "waiting" {
			out.State = "running"
		}
	}
	end := p.Ended
	if !end.IsZero() {
		out.State = "complete"
	} else {
		end = time.Now()
	}
	if took := end.Sub(p.Started).Seconds(); !p.Started.IsZero() && took > 0 {
		out.RecordsPerSecond = float64(out.Records) / took
	}
	return out
}

func (p *pipeline) stageStatus(s *physical.Stage) api.Stage {
	st := p.Stages[s.Name]
	out := api.Stage{Name: s.Name, Mode: string(s.Mode), State: "waiting", Watermark: 1<<63 - 1}
	for _, slot := range p.slots(s) {
		out.Slots++
		r, ok := p.latest[slot]
		out.Epochs += r.Epoch
		if c, ended := st.Slots[slot.Index]; ended {
			out.EndedN++
			add(&out.Counters, c)
			continue
		}
		if !ok {
			out.Watermark = -1 << 63
			continue
		}
		add(&out.Counters, r.Counters)
		out.Watermark = min(out.Watermark, r.Watermark)
		if r.State == "running" {
			out.Running++
		}
		if r.Reason != "" {
			out.Reason = fmt.Sprintf("slot %d %s: %s", slot.Index, r.State, r.Reason)
		}
	}
	switch {
	case !st.Ended.IsZero():
		out.State, out.Reason = "ended", ""
	case out.Running+out.EndedN > 0:
		out.State = "running"
	default:
		if ok, why := p.due(s); !ok {
			out.Reason = why
		}
	}
	return out
}

// readsOutside tells the stages whose rows come from outside the pipeline.
func readsOutside(s *physical.Stage) bool {
	for _, f := range s.Fragments {
		for _, n := range f.Nodes {
			var cfg physical.ReadConfig
			if n.Op == physical.OpRead && json.Unmarshal(n.Config, &cfg) == nil && cfg.Channel == "" {
				return true
			}
		}
	}
	return false
}

func add(to *checkpoint.Counters, c checkpoint.Counters) {
	to.In += c.In
	to.Out += c.Out
	to.Filtered += c.Filtered
	to.Late += c.Late
	to.DeadLettered += c.DeadLettered
	to.Absorbed += c.Absorbed
	to.Emitted += c.Emitted
	to.Copied += c.Copied
	to.Written += c.Written
}

// setGraph takes a graph that may differ in what touches neither positions nor state. Its hash stands in the assignment, so that slots which run
// another one are given new terms, also by a server that died in between.
func (p *pipeline) setGraph(g physical.Graph) error {
	for _, s := range g.Stages {
		if p.Stages[s.Name] == nil {
			p.Stages[s.Name] = &stageRun{Slots: map[int]checkpoint.Counters{}, Splits: map[string][]physical.SplitOf{}}
		}
	}
	data, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("hash the graph of pipeline %s: %w", p.name, err)
	}
	sum := sha256.Sum256(data)
	p.Graph, p.hash, p.dirty = g, hex.EncodeToString(sum[:8]), true
	return nil
}

// setHomes says which Kafka holds each fragment's changelog, before anybody else sees the graph.
func setHomes(g *physical.Graph, services map[string]operators.ServiceSpec) {
	for i := range g.Stages {
		for j := range g.Stages[i].Fragments {
			g.Stages[i].Fragments[j].Home = stream.Home(*g, g.Stages[i], services)
		}
	}
}

// pipelineKey is where a pipeline's run is stored.
func pipelineKey(stack, name string) string { return "pipelines/" + stack + "/" + name }
