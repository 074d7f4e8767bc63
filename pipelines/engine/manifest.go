package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/weir-project/weir/pipelines/checkpoint"
)

// manifestVersion is that of docs/formats/local-manifest.md.
const manifestVersion = 2

// manifest is what a local run's slot committed: the whole of it in one file. The file is the line of JSON that this type makes, and behind it the
// values of the outbox's entries as they are: they are most of it, and rows for a topic would grow by a third in JSON.
type manifest struct {
	Version     int                      `json:"version"`
	Fingerprint string                   `json:"fingerprint"`
	Term        uint64                   `json:"term"`
	Progress    *checkpoint.Progress     `json:"progress,omitempty"`
	State       []checkpoint.KV          `json:"state,omitempty"` // sorted by key
	Entries     []manifestEntry          `json:"outbox,omitempty"`
	Next        int64                    `json:"next"` // offset of the next outbox entry
	Outbox      []checkpoint.OutboxEntry `json:"-"`
}

// manifestEntry is an entry of the outbox, whose value stands behind the line.
type manifestEntry struct {
	Offset int64 `json:"offset"`
	Size   int   `json:"size"`
}

// parse reads a file.
func (m *manifest) parse(data []byte) error {
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	if err := json.Unmarshal(line, m); err != nil {
		return err
	}
	if m.Version != manifestVersion {
		return fmt.Errorf("its version is %d and not %d", m.Version, manifestVersion)
	}
	for _, e := range m.Entries {
		if e.Size < 0 || e.Size > len(rest) {
			return fmt.Errorf("entry %d of its outbox has %d bytes, %d are left", e.Offset, e.Size, len(rest))
		}
		m.Outbox = append(m.Outbox, checkpoint.OutboxEntry{Offset: e.Offset, Value: rest[:e.Size:e.Size]})
		rest = rest[e.Size:]
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes are left behind the entries of its outbox", len(rest))
	}
	return nil
}

// writeTo writes a file.
func (m *manifest) writeTo(w io.Writer) error {
	m.Entries = m.Entries[:0:0]
	for _, e := range m.Outbox {
		m.Entries = append(m.Entries, manifestEntry{e.Offset, len(e.Value)})
	}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 64<<10)
	b.Write(append(line, '\n')) //nolint:errcheck // Flush tells it
	for _, e := range m.Outbox {
		b.Write(e.Value) //nolint:errcheck // Flush tells it
	}
	return b.Flush()
}

// manifestLog is the log of a local run (D8, without Kafka): one manifest a slot, replaced at each commit by writing a new file, syncing it, renaming it
// over the old one and syncing the directory. So a power cut leaves the old commit or the new one. It has no topics: Outputs are refused.
type manifestLog struct {
	root *os.Root // the directory of the run's manifests
	name string
	m    manifest
}

// openManifest reads a manifest, or begins an empty one. A manifest of another fingerprint (the fragment was changed) keeps only what it has
// promised to apply.
func openManifest(root *os.Root, name, fingerprint string) (*manifestLog, error) {
	l := &manifestLog{root: root, name: name}
	data, err := root.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read manifest: %w", err)
	default:
		if err := l.m.parse(data); err != nil {
			return nil, fmt.Errorf("read manifest %s: %w; delete it to begin anew", filepath.Join(root.Name(), name), err)
		}
	}
	if l.m.Fingerprint != fingerprint && l.m.Progress != nil {
		l.m.Progress.Ended = true // its run is over
	}
	l.m.Version, l.m.Fingerprint = manifestVersion, fingerprint
	return l, nil
}

// run is the run to go on with: that of the manifest, or the next if that ended.
func (l *manifestLog) run() uint64 {
	switch p := l.m.Progress; {
	case p == nil:
		return 1
	case p.Ended:
		return p.Run + 1
	default:
		return p.Run
	}
}

// Recover implements checkpoint.Log.
func (l *manifestLog) Recover(_ context.Context, _, term uint64) (*checkpoint.Recovered, error) {
	if term < l.m.Term {
		return nil, checkpoint.ErrFenced
	}
	l.m.Term = term
	r := &checkpoint.Recovered{Outbox: l.m.Outbox}
	if l.m.Progress != nil {
		p := *l.m.Progress
		r.Progress = &p
	}
	r.State = l.m.State
	return r, nil
}

// Commit implements checkpoint.Log.
func (l *manifestLog) Commit(_ context.Context, c *checkpoint.Commit) (*checkpoint.Committed, error) {
	if len(c.Outputs) > 0 {
		return nil, errors.New("a local run cannot write a Kafka channel exactly once; apply the pipeline to a stack with a Kafka")
	}
	next := l.m
	p := c.Progress
	next.Progress = &p
	next.State = merged(l.m.State, c.State)
	next.Outbox = nil
	for _, e := range l.m.Outbox {
		if e.Offset >= p.OutboxApplied {
			next.Outbox = append(next.Outbox, e)
		}
	}
	done := &checkpoint.Committed{}
	for _, e := range c.Outbox {
		next.Outbox = append(next.Outbox, checkpoint.OutboxEntry{Offset: next.Next, Value: e})
		done.Offsets = append(done.Offsets, next.Next)
		next.Next++
	}
	if err := l.write(&next); err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	l.m = next
	return done, nil
}

// merged is the state after changes.
func merged(state, changes []checkpoint.KV) []checkpoint.KV {
	if len(changes) == 0 {
		return state
	}
	values := make(map[string][]byte, len(state)+len(changes))
	for _, kv := range state {
		values[string(kv.Key)] = kv.Value
	}
	for _, kv := range changes {
		if kv.Value == nil {
			delete(values, string(kv.Key))
		} else {
			values[string(kv.Key)] = bytes.Clone(kv.Value)
		}
	}
	out := make([]checkpoint.KV, 0, len(values))
	for _, k := range slices.Sorted(maps.Keys(values)) {
		out = append(out, checkpoint.KV{Key: []byte(k), Value: values[k]})
	}
	return out
}

func (l *manifestLog) write(m *manifest) error {
	next := l.name + ".new"
	f, err := l.root.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(m.writeTo(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := l.root.Rename(next, l.name); err != nil {
		return err
	}
	return syncDir(l.root)
}

func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close implements checkpoint.Log.
func (l *manifestLog) Close() error { return nil }
