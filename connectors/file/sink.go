package file

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// MaxRows is how many rows a sink gathers in memory before it refuses more.
const MaxRows = 1_000_000

const entryVersion = 1

// entry is an outbox record (docs/formats/file-outbox.md): a finished temporary file and the name that it shall have.
type entry struct {
	Version int    `json:"version"`
	Temp    string `json:"temp"`
	Final   string `json:"final"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
}

// Sink gathers the rows of a bounded input and makes one file of them.
type Sink struct {
	root      *os.Root
	path      string
	slot      string
	format    string
	delimiter byte
	rows      *column.Batch
	order     []sortKey
	finished  bool
}

// NewSink makes the sink of one slot. The file is exactly cfg.Config's path, as it is the only shard; sort orders its rows, a leading "-" downwards,
// nulls last, equal rows by their other fields, so that the same rows make the same file. It does not close root.
func NewSink(cfg physical.WriteConfig, schema column.Schema, root *os.Root, sort []string, slot string) (connectors.Outbox, error) {
	c, delimiter, err := parseConfig(cfg.Config, cfg.Format, root)
	if err != nil {
		return nil, fmt.Errorf("open file sink: %w", err)
	}
	if f := schema.Fields; cfg.Format == "text" && (len(f) != 1 || f[0].Kind != column.String) {
		return nil, fmt.Errorf("open file sink %s: a line of text is one string field, and the rows have %v", c.Path, schema.Names())
	}
	order, err := sortKeys(schema, sort)
	if err != nil {
		return nil, fmt.Errorf("open file sink %s: %w", c.Path, err)
	}
	return &Sink{root: root, path: c.Path, slot: slot, format: cfg.Format, delimiter: delimiter, rows: column.NewBatch(&schema, 1024), order: order}, nil
}

// Stage copies the rows; nothing is to be applied before Finish.
func (s *Sink) Stage(b *column.Batch, _ func() int64) ([][]byte, error) {
	if n := s.rows.N + b.Len(); n > MaxRows {
		return nil, fmt.Errorf("stage rows for file %s: %d rows are more than the %d that a file sink gathers; write to a Kafka channel or a table instead", s.path, n, MaxRows)
	}
	for i := range s.rows.Cols {
		dst, src := &s.rows.Cols[i], &b.Cols[i]
		b.Rows(func(row int) { dst.AppendValue(src, row) })
	}
	s.rows.N += b.Len()
	return nil, nil
}

// Finish writes the temporary file, makes it durable, and returns the entry that names it.
func (s *Sink) Finish(ctx context.Context) ([][]byte, error) {
	if s.finished {
		return nil, fmt.Errorf("finish file %s: it was finished before", s.path)
	}
	e, err := s.write(ctx)
	if err != nil {
		return nil, fmt.Errorf("finish file %s: %w", s.path, err)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("finish file %s: %w", s.path, err)
	}
	s.finished = true
	return [][]byte{raw}, nil
}

func (s *Sink) write(ctx context.Context) (entry, error) {
	dir, base := path.Split(s.path)
	if dir != "" {
		if err := s.root.MkdirAll(path.Clean(dir), 0o755); err != nil {
			return entry{}, err
		}
	}
	draft := fmt.Sprintf("%s.%s.%s.%s.draft", dir, base, strings.ReplaceAll(s.slot, "/", "_"), rand.Text())
	f, err := s.root.OpenFile(draft, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return entry{}, err
	}
	size, sum, err := s.fill(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return entry{}, errors.Join(err, s.root.Remove(draft))
	}
	// The name holds the content's hash: an owner that was fenced cannot change the file that a committed entry names.
	e := entry{Version: entryVersion, Temp: fmt.Sprintf("%s.%s.%s.temp", dir, base, sum[:16]), Final: s.path, Size: size, SHA256: sum}
	if err := s.root.Rename(draft, e.Temp); err != nil {
		return entry{}, errors.Join(err, s.root.Remove(draft))
	}
	return e, syncDir(s.root, dir)
}

// fill writes all rows, and returns the size and the hash of what is in the file.
func (s *Sink) fill(ctx context.Context, f io.Writer) (int64, string, error) {
	hash := sha256.New()
	count := &counter{w: io.MultiWriter(f, hash)}
	if !strings.HasSuffix(s.path, ".gz") {
		if err := s.encode(ctx, count); err != nil {
			return 0, "", err
		}
		return count.n, hex.EncodeToString(hash.Sum(nil)), nil
	}
	z := gzip.NewWriter(count)
	if err := errors.Join(s.encode(ctx, z), z.Close()); err != nil {
		return 0, "", err
	}
	return count.n, hex.EncodeToString(hash.Sum(nil)), nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (s *Sink) encode(ctx context.Context, w io.Writer) error {
	head, row := s.encoder()
	buf := head
	for _, i := range s.sorted() {
		if buf = row(buf, int(i)); len(buf) < 64<<10 {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		buf = buf[:0]
	}
	_, err := w.Write(buf)
	return err
}

// encoder is what stands before the rows, and how one is appended.
func (s *Sink) encoder() ([]byte, func(dst []byte, row int) []byte) {
	switch s.format {
	case "csv":
		e := codec.NewCSVEncoder(*s.rows.Schema, s.delimiter)
		return e.AppendHeader(nil), func(dst []byte, row int) []byte { return e.AppendRow(dst, s.rows, row) }
	case "json":
		e := codec.NewJSONEncoder(*s.rows.Schema)
		return nil, func(dst []byte, row int) []byte { return append(e.AppendRow(dst, s.rows, row), '\n') }
	}
	return nil, func(dst []byte, row int) []byte { return append(append(dst, s.rows.Cols[0].At(row)...), '\n') }
}

// Apply gives each finished file its name. Where the file already is what the entry says, there is nothing to do.
func (s *Sink) Apply(ctx context.Context, entries [][]byte) error {
	for _, raw := range entries {
		var e entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("apply outbox entry of file %s: %w", s.path, err)
		}
		if e.Version != entryVersion {
			return fmt.Errorf("apply outbox entry of file %s: version %d, and this program knows %d; use the program that wrote it", s.path, e.Version, entryVersion)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.apply(e); err != nil {
			return fmt.Errorf("apply file %s: %w", e.Final, err)
		}
	}
	return nil
}

func (s *Sink) apply(e entry) error {
	dir := path.Dir(e.Final)
	done, err := s.is(e.Final, e)
	if err != nil {
		return err
	}
	if done {
		// A rename whose directory entry did not reach the disk before a crash is made durable here.
		if err := s.root.Remove(e.Temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(s.root, dir)
	}
	whole, err := s.is(e.Temp, e)
	if err != nil {
		return err
	}
	if whole {
		err = s.root.Rename(e.Temp, e.Final)
	}
	if !whole || errors.Is(err, fs.ErrNotExist) {
		if done, again := s.is(e.Final, e); done || again != nil { // another owner of the slot renamed it meanwhile
			return errors.Join(again, syncDir(s.root, dir))
		}
	}
	if !whole {
		return fmt.Errorf("neither it nor %s is the file of %d bytes with SHA-256 %s that was committed; run the pipeline again with: weir rerun", e.Temp, e.Size, e.SHA256)
	}
	if err != nil {
		return err
	}
	return syncDir(s.root, dir)
}

// is reports whether the file exists and has the entry's content.
func (s *Sink) is(name string, e entry) (bool, error) {
	f, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close() // read only: nothing can be lost
	info, err := f.Stat()
	if err != nil || info.Size() != e.Size || info.IsDir() {
		return false, err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return false, err
	}
	return hex.EncodeToString(hash.Sum(nil)) == e.SHA256, nil
}

func syncDir(root *os.Root, dir string) error {
	if dir = path.Clean(dir); dir == "" {
		dir = "."
	}
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close forgets the rows.
func (s *Sink) Close() error {
	s.rows = nil
	return nil
}
