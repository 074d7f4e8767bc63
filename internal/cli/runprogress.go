package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weir-project/weir/internal/console"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

// runProgress shows where the fragments of a local run stand, and how fast they go.
type runProgress struct {
	mu    sync.Mutex // guards all below: fragments print rows while others report
	out   *console.Progress
	order []string // fragments, as they were first heard of
	lines map[string]console.Line
	seen  map[string]sample
	now   func() time.Time
}

// sample is what a fragment had read at a time.
type sample struct {
	at   time.Time
	rows int64
}

func newRunProgress(out *console.Progress) *runProgress {
	return &runProgress{out: out, lines: map[string]console.Line{}, seen: map[string]sample{}, now: time.Now}
}

func (p *runProgress) show(lp engine.LocalProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := lp.Stage + "/" + lp.Fragment
	if _, known := p.lines[id]; !known {
		p.order = append(p.order, id)
	}
	p.lines[id] = p.line(id, lp)
	lines := make([]console.Line, len(p.order))
	for i, id := range p.order {
		lines[i] = p.lines[id]
	}
	p.out.Show(lines)
}

func (p *runProgress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Close()
}

// beside is w for what the run itself prints: on a terminal the picture makes room for it.
func (p *runProgress) beside(w io.Writer) io.Writer { return besideProgress{p, w} }

type besideProgress struct {
	p *runProgress
	w io.Writer
}

func (b besideProgress) Write(data []byte) (int, error) {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	b.p.out.Clear()
	return b.w.Write(data)
}

func (p *runProgress) line(id string, lp engine.LocalProgress) console.Line {
	r := lp.Report
	l := console.Line{Key: lp.Stage, ID: id, Text: r.State, Ended: r.State == engine.StateEnded}
	if r.Reason != "" {
		l.Text += ": " + r.Reason
	}
	if l.Note = group(r.Counters.In) + " rows in"; l.Ended {
		return l
	}
	if rate, ok := p.rate(id, r); ok {
		l.Note += fmt.Sprintf(", %s rows/s", group(rate))
	}
	if r.Counters.Written > 0 {
		l.Note += fmt.Sprintf(", %s out", group(r.Counters.Written))
	}
	if r.Watermark > column.MinTime && r.Watermark < column.MaxTime {
		l.Note += fmt.Sprintf(", watermark %s", codec.AppendTime(nil, r.Watermark))
	}
	return l
}

// rate is that since the last report, over at least a tenth of a second.
func (p *runProgress) rate(id string, r physical.SlotReport) (rows int64, ok bool) {
	now, last := p.now(), p.seen[id]
	took := now.Sub(last.at)
	if !last.at.IsZero() && took < time.Second/10 {
		return 0, false
	}
	p.seen[id] = sample{now, r.Counters.In}
	if last.at.IsZero() {
		return 0, false
	}
	return int64(float64(r.Counters.In-last.rows) / took.Seconds()), true
}

// summary is the last line of a run. What was not passed on is named where there is any (I2).
func summary(res engine.Result) string {
	n := res.Counters()
	seconds := res.Took.Seconds()
	text := fmt.Sprintf("%s rows in, %s out in %.2fs (%s rows/s)", group(n.In), group(n.Written), seconds, group(int64(float64(n.In)/max(seconds, 1e-9))))
	return text + rest(n)
}

func rest(n checkpoint.Counters) string {
	var parts []string
	for _, c := range []struct {
		n    int64
		what string
	}{{n.Filtered, "filtered"}, {n.Late, "late"}, {n.DeadLettered, "dead-lettered"}} {
		if c.n > 0 {
			parts = append(parts, group(c.n)+" "+c.what)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, ", ")
}

// written are the files that a graph writes, as a person would name them from here.
func written(g *physical.Graph) []string {
	here, err := os.Getwd()
	if err != nil {
		here = "" // no path is below it then
	}
	var out []string
	for _, st := range g.Stages {
		for _, f := range st.Fragments {
			for _, n := range f.Nodes {
				var cfg struct {
					Connector string
					Config    struct{ Path string }
				}
				if n.Op != physical.OpWrite || json.Unmarshal(n.Config, &cfg) != nil || cfg.Connector != "file" {
					continue
				}
				path := cfg.Config.Path
				if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
					path = rel
				}
				out = append(out, path)
			}
		}
	}
	return out
}
