package graph

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
)

// FileConfig is the config of the file connector in ReadConfig and WriteConfig.
type FileConfig struct {
	Path      string `json:"path"`                // absolute (C11)
	Delimiter string `json:"delimiter,omitempty"` // csv
}

// CreateConfig is the config of the create connector: the rows as JSON objects, times as RFC 3339.
type CreateConfig struct {
	Elements []json.RawMessage `json:"elements"`
}

// encode writes a connector's config.
func (i *infer) encode(v any) (json.RawMessage, bool) {
	raw, err := json.Marshal(v)
	if err != nil {
		i.fail(i.t.Config.Pos, "E-TYPE", err.Error(), "write finite numbers")
		return nil, false
	}
	return raw, true
}

func (i *infer) file() (json.RawMessage, string, bool) {
	p := i.t.Config.Get("path")
	format := strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(i.t.Type, "ReadFrom"), "WriteTo"))
	switch {
	case strings.Contains(p.Text, "://"):
		i.fail(p.Pos, "E-NOTYET", fmt.Sprintf("%q is an object store: files of this machine are read and written for now", p.Text), "copy it beside the pipeline")
		return nil, "", false
	case p.Text == "" || strings.HasSuffix(p.Text, "/") || strings.ContainsRune(p.Text, 0):
		i.fail(p.Pos, "E-PATH", fmt.Sprintf("%q names no file", p.Text), "write the path of a file, relative to this one")
		return nil, "", false
	case strings.ContainsAny(p.Text, "*?["):
		i.fail(p.Pos, "E-NOTYET", "patterns of several files come in a later version", "name one file, or flatten several sources")
		return nil, "", false
	}
	cfg := FileConfig{Path: p.Text}
	if !filepath.IsAbs(cfg.Path) {
		cfg.Path = filepath.Join(i.env.Dir, cfg.Path)
	}
	if d := i.t.Config.Get("delimiter"); d != nil {
		cfg.Delimiter = d.Text
	}
	raw, ok := i.encode(cfg)
	return raw, format, ok
}

func (i *infer) readFile() *Node {
	raw, format, ok := i.file()
	if !ok {
		return nil
	}
	cfg := physical.ReadConfig{Connector: "file", Format: format, Config: raw, Bounded: true}
	if format == "text" {
		cfg.Schema = column.Schema{Fields: []column.Field{{Name: "line", Kind: column.String}}}
	} else if cfg.Schema, ok = i.schema(); !ok {
		return nil
	}
	return i.read(cfg)
}

// read adds what the weir: block says of a source.
func (i *infer) read(cfg physical.ReadConfig) *Node {
	if v := i.t.Weir.Get("pace"); v != nil {
		cfg.Pace = v.Float + float64(v.Int) // the other is zero
	}
	for key, into := range map[string]*time.Duration{"disorder": &cfg.Disorder, "idle": &cfg.Idle} {
		v := i.t.Weir.Get(key)
		if v == nil {
			continue
		}
		d, err := dsl.ParseDuration(v)
		if err != nil {
			return i.fail(v.Pos, "E-TYPE", err.Error(), "write `"+key+": 10m`")
		}
		*into = d
	}
	return &Node{Op: physical.OpRead, Config: cfg, Out: cfg.Schema}
}

// readChannel takes the schema that the channel's writers gave it: they come before this stage.
func (i *infer) readChannel() *Node {
	name := i.t.Config.Get("channel").Text
	ch := i.channels[name]
	if !ch.written {
		return nil // its writer has a mistake, which is told already
	}
	return i.read(physical.ReadConfig{Channel: name, Schema: ch.Schema, Bounded: ch.Bounded || ch.Cassandra != nil})
}

func (i *infer) writeChannel() *Node {
	name := i.t.Config.Get("channel").Text
	return &Node{Op: physical.OpWrite, Config: physical.WriteConfig{Channel: name}, Out: i.input()}
}

func (i *infer) writeFile() *Node {
	raw, format, ok := i.file()
	if !ok {
		return nil
	}
	in := i.input()
	if format == "text" && len(in.Fields) != 1 {
		return i.fail(i.t.Pos, "E-SCHEMA", fmt.Sprintf("it writes the only field of a row, these have %d (fields: %s)", len(in.Fields), strings.Join(in.Names(), ", ")), "make one field with MapToFields first")
	}
	sort, ok := i.sort()
	if !ok {
		return nil
	}
	return &Node{Op: physical.OpWrite, Config: physical.WriteConfig{Connector: "file", Format: format, Config: raw, Sort: sort}, Out: in}
}

func (i *infer) log() *Node {
	sort, ok := i.sort()
	if !ok {
		return nil
	}
	cfg := physical.LogConfig{Sort: sort}
	if v := i.t.Weir.Get("limit"); v != nil {
		cfg.Limit = int(v.Int)
	}
	if v := i.t.Weir.Get("table"); v != nil {
		cfg.Table = v.Bool
	}
	if v := i.t.Weir.Get("title"); v != nil {
		cfg.Title = v.Text
	}
	if v := i.t.Config.Get("prefix"); v != nil {
		cfg.Prefix = v.Text
	}
	return &Node{Op: physical.OpLog, Config: cfg, Out: i.input()}
}

// sort reads the fields to sort by; a leading - is descending.
func (i *infer) sort() ([]string, bool) {
	names, _ := dsl.Names(i.t.Weir.Get("sort")) // its shape was checked
	var out []string
	for _, n := range names {
		if _, ok := i.column(strings.TrimPrefix(n.Name, "-"), n.Pos, i.input()); !ok {
			return nil, false
		}
		out = append(out, n.Name)
	}
	return out, true
}
