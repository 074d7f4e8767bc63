package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/weir-project/weir/internal/cli/connect"
	"github.com/weir-project/weir/operators/stream"
	"github.com/weir-project/weir/pipelines/physical"
)

// relist is the pause before splits that could not be listed are asked for again.
const relist = 2 * time.Second

// bounded lists the read nodes of a stage whose splits are listed once per run (C8): files, and tables of Cassandra.
func bounded(g *physical.Graph, s *physical.Stage) (map[string]physical.ReadConfig, error) {
	out := map[string]physical.ReadConfig{}
	for _, f := range s.Fragments {
		for _, n := range f.Nodes {
			if n.Op != physical.OpRead {
				continue
			}
			var cfg physical.ReadConfig
			if err := json.Unmarshal(n.Config, &cfg); err != nil {
				return nil, fmt.Errorf("read the config of %s/%s: %w", s.Name, n.Path, err)
			}
			if ch, ok := g.Channels[cfg.Channel]; cfg.Channel != "" && ok && ch.Kafka != nil {
				continue // its splits are its partitions, for ever
			}
			out[n.Path] = cfg
		}
	}
	return out, nil
}

// listSplits asks the sources of a stage for their splits, away from the loop, and stores them.
func (s *stack) listSplits(ctx context.Context, p *pipeline, st *physical.Stage) {
	reads, err := bounded(&p.Graph, st)
	if err != nil {
		p.waiting = err.Error()
		return
	}
	sr := p.Stages[st.Name]
	if len(reads) == 0 {
		sr.Listed, p.dirty = true, true
		return
	}
	p.waiting = p.unlisted
	if p.listing[st.Name] || time.Now().Before(p.again) {
		return
	}
	p.listing[st.Name], p.again = true, time.Now().Add(relist)
	services, err := s.connections(&p.Graph)
	if err != nil {
		p.unlisted, p.listing[st.Name] = err.Error(), false
		p.waiting = p.unlisted
		return
	}
	run, install, log, graph, stage := p.Run, s.d.install, s.d.cfg.Log, p.Graph, st.Name
	s.d.group.Go("list the splits of "+p.name+"/"+stage, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		found, err := splitsOf(ctx, s.d.pool.With(services, install), &graph, reads)
		s.d.post(func() {
			p.listing[stage] = false
			switch {
			case p.Run != run:
			case err != nil:
				p.unlisted = err.Error()
				log.Warn("splits not listed", "pipeline", p.name, "stage", stage, "error", err)
			default:
				sr.Splits, sr.Listed, p.waiting, p.unlisted, p.dirty = found, true, "", "", true
			}
		})
		return nil
	})
}

func splitsOf(ctx context.Context, c *connect.Connections, g *physical.Graph, reads map[string]physical.ReadConfig) (map[string][]physical.SplitOf, error) {
	out := map[string][]physical.SplitOf{}
	for node, cfg := range reads {
		var ch *physical.Channel
		if found, ok := g.Channels[cfg.Channel]; ok {
			ch = &found
		}
		src, err := c.Source(ctx, cfg, ch)
		if err != nil {
			return nil, fmt.Errorf("open the source %s: %w", node, err)
		}
		list, err := src.Splits(ctx)
		if cerr := src.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, fmt.Errorf("list the splits of %s: %w", node, err)
		}
		out[node] = []physical.SplitOf{}
		for _, sp := range list {
			out[node] = append(out[node], physical.SplitOf{Node: node, ID: sp.ID, Data: sp.Data})
		}
	}
	return out, nil
}

// connections of every service that a graph's channels and connectors use.
func (s *stack) connections(g *physical.Graph) (map[string]physical.Connection, error) {
	out := map[string]physical.Connection{}
	for _, service := range stream.Services(g) {
		c, err := s.connection(service)
		if err != nil {
			return nil, fmt.Errorf("connect pipeline %s to service %s: %w", g.Pipeline, service, err)
		}
		out[service] = c
	}
	return out, nil
}

// fragmentSplits are the listed splits of a fragment's sources, in the order of its nodes.
func (sr *stageRun) fragmentSplits(f physical.Fragment) []physical.SplitOf {
	var out []physical.SplitOf
	for _, n := range f.Nodes {
		out = append(out, sr.Splits[n.Path]...)
	}
	return out
}
