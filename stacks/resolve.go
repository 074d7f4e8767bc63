package stacks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/compile"
	"github.com/weir-project/weir/pipelines/physical"
)

// Bundle is a stack document with the files that it names.
type Bundle struct {
	File   string            // as the user wrote it: diagnostics name it
	Dir    string            // absolute directory of the stack file: paths in pipelines resolve against it (C11)
	Source []byte            // the stack document
	Files  map[string][]byte // by the path written in the document
}

// Resolved is a stack with its pipelines compiled.
type Resolved struct {
	Stack  *Stack
	Graphs []*physical.Graph
}

// Resolve loads the stack and compiles its pipelines against its services. Every mistake in any of the files is reported.
func Resolve(b Bundle) (*Resolved, error) {
	s, err := Load(b.File, b.Source)
	if err != nil {
		return nil, err
	}
	r := &Resolved{Stack: s}
	var errs fault.List
	seen := map[string]Ref{}
	for _, ref := range s.Pipelines {
		g, err := r.compile(b, ref, false)
		if err != nil {
			errs.Add(err)
			continue
		}
		if other, ok := seen[g.Pipeline]; ok {
			errs.Add(fault.Invalid("E-DUPLICATE", "read stack", s.Name, fault.AtPos(ref.Pos),
				fault.Causef("pipeline %q stands in %s and in %s", g.Pipeline, other.Path, ref.Path), fault.Hint("give one of them another metadata.name")))
			continue
		}
		seen[g.Pipeline] = ref
		r.Graphs = append(r.Graphs, g)
	}
	if len(errs) == 0 {
		for _, ref := range s.Show {
			if _, err := r.compile(b, ref, true); err != nil {
				errs.Add(err)
			}
		}
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Resolved) compile(b Bundle, ref Ref, local bool) (*physical.Graph, error) {
	src, ok := b.Files[ref.Path]
	if !ok {
		return nil, fault.Invalid("E-FILE", "read stack", r.Stack.Name, fault.AtPos(ref.Pos), fault.Causef("the file %s was not sent with it", ref.Path))
	}
	shown := filepath.Join(filepath.Dir(b.File), ref.Path)
	return compile.Pipeline(compile.Input{
		File: shown, Source: src, Dir: filepath.Join(b.Dir, filepath.Dir(ref.Path)),
		Services: r.Stack.Operators(), Channels: r.Channel, Local: local,
	})
}

// Channel finds "pipeline/channel" among the compiled pipelines.
func (r *Resolved) Channel(name string) (physical.Channel, bool) {
	pipeline, channel, ok := strings.Cut(name, "/")
	for _, g := range r.Graphs {
		if ok && g.Pipeline == pipeline {
			c, found := g.Channels[channel]
			return c, found
		}
	}
	return physical.Channel{}, false
}

// Hash identifies what was asked for: equal hashes need nothing done.
func (r *Resolved) Hash() (string, error) {
	data, err := json.Marshal(struct {
		Stack  *Stack
		Graphs []*physical.Graph
	}{r.Stack, r.Graphs})
	if err != nil {
		return "", fmt.Errorf("hash stack %s: %w", r.Stack.Name, err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), nil
}
