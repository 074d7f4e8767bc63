package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// config is the connector's part of ReadConfig and WriteConfig.
type config struct {
	Path      string `json:"path"` // of a file, or a pattern of path.Match
	Delimiter string `json:"delimiter,omitempty"`
}

func parseConfig(raw json.RawMessage, format string, root *os.Root) (c config, delimiter byte, err error) {
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, 0, fmt.Errorf("read config: %w", err)
	}
	if c.Path == "" {
		return c, 0, errors.New("read config: no path")
	}
	switch format {
	case "csv", "json", "text":
	default:
		return c, 0, fmt.Errorf("unknown format %q of %s (formats: csv, json, text)", format, c.Path)
	}
	switch {
	case len(c.Delimiter) > 1 || strings.ContainsAny(c.Delimiter, "\"\r\n"):
		return c, 0, fmt.Errorf("delimiter %q of %s is not one character other than a quote and a line end", c.Delimiter, c.Path)
	case c.Delimiter != "":
		delimiter = c.Delimiter[0]
	}
	c.Path, err = inside(root, c.Path)
	return c, delimiter, err
}

// inside is a path relative to the granted directory.
func inside(root *os.Root, path string) (string, error) {
	if filepath.IsAbs(path) {
		dir, err := filepath.Abs(root.Name())
		if err != nil {
			return "", fmt.Errorf("resolve %s in %s: %w", path, root.Name(), err)
		}
		if path, err = filepath.Rel(dir, path); err != nil {
			return "", fmt.Errorf("resolve path in %s: %w", dir, err)
		}
	}
	path = filepath.Clean(path)
	if !filepath.IsLocal(path) || path == "." {
		return "", fmt.Errorf("path %s leads out of the granted directory %s", path, root.Name())
	}
	return filepath.ToSlash(path), nil
}

// Source is a set of files of one format and schema.
type Source struct {
	path      string
	format    string
	delimiter byte
	schema    column.Schema
	root      *os.Root
}

// Open makes a source of the files at cfg.Config's path, which lies in root. It does not close root. It opens no file yet.
func Open(cfg physical.ReadConfig, root *os.Root) (connectors.Source, error) {
	c, delimiter, err := parseConfig(cfg.Config, cfg.Format, root)
	if err != nil {
		return nil, fmt.Errorf("open file source: %w", err)
	}
	if f := cfg.Schema.Fields; cfg.Format == "text" && (len(f) != 1 || f[0].Kind != column.String) {
		return nil, fmt.Errorf("open file source %s: a line of text is one string field, and the schema has %v", c.Path, cfg.Schema.Names())
	}
	return &Source{path: c.Path, format: cfg.Format, delimiter: delimiter, schema: cfg.Schema, root: root}, nil
}

// version of a file: rows that were counted in one are not looked for in another.
type version struct {
	Size     int64 `json:"size"`
	Modified int64 `json:"modified"` // microseconds since 1970
}

func versionOf(info fs.FileInfo) version {
	return version{Size: info.Size(), Modified: info.ModTime().UnixMicro()}
}

// Splits lists the files by name. Their IDs are their paths in the granted directory.
func (s *Source) Splits(context.Context) ([]connectors.Split, error) {
	names := []string{s.path}
	switch _, err := s.root.Stat(s.path); {
	case err == nil: // a name, whatever characters it has
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("list file: %w", err)
	default:
		if names, err = fs.Glob(s.root.FS(), s.path); err != nil {
			return nil, fmt.Errorf("list files %s in %s: %w", s.path, s.root.Name(), err)
		}
	}
	slices.Sort(names)
	var out []connectors.Split
	for _, name := range names {
		info, err := s.root.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("list file %s: %w", name, err)
		}
		if info.IsDir() {
			continue
		}
		data, err := json.Marshal(versionOf(info))
		if err != nil {
			return nil, fmt.Errorf("list file %s: %w", name, err)
		}
		out = append(out, connectors.Split{ID: name, Data: data})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("list files: no file matches %s in %s", s.path, s.root.Name())
	}
	return out, nil
}

// Open starts after the rows that from counts. A file that changed since it was listed is refused there: its rows may be others.
func (s *Source) Open(ctx context.Context, split connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	f, err := s.root.Open(split.ID)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	r, err := newReader(ctx, s, f, split, from)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open file %s: %w", split.ID, err), f.Close())
	}
	return r, nil
}

// Close releases nothing: readers own their files.
func (s *Source) Close() error { return nil }
