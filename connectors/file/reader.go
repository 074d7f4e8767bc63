package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
)

// MaxRecord is the longest record, in bytes after decompression: a file without line ends, or a gzip bomb, ends there.
const MaxRecord = 16 << 20

const (
	firstBuffer = 256 << 10
	skipCheck   = 4096 // rows between two looks at the context
)

// reader reads one file through a buffer that grows to the longest record.
type reader struct {
	name  string
	file  *os.File
	in    io.Reader
	buf   []byte // in[…]: bytes start … end are not consumed yet
	start int
	end   int
	eof   bool
	line  int // of the next record
	rows  int64
	next  func(data []byte) (n, lines int, complete bool)
	row   func(b *column.Batch, record []byte) error
	ended bool
	lines bool // an empty line is a row: of text, not of CSV and JSON
}

func newReader(ctx context.Context, s *Source, f *os.File, split connectors.Split, from checkpoint.Position) (*reader, error) {
	r := &reader{name: split.ID, file: f, buf: make([]byte, firstBuffer), line: 1, next: nextLine, ended: from.Ended}
	if from.Offset > 0 && !from.Ended {
		if err := unchanged(f, split.Data); err != nil {
			return nil, err
		}
	}
	if err := r.decompress(); err != nil {
		return nil, err
	}
	if err := r.format(s); err != nil {
		return nil, err
	}
	return r, r.skip(ctx, from.Offset)
}

func unchanged(f *os.File, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	var listed version
	if err := json.Unmarshal(data, &listed); err != nil {
		return fmt.Errorf("read split: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if now := versionOf(info); now != listed {
		return fmt.Errorf("it changed since the run began (%d bytes then, %d now), so a row number says nothing; start a new run with: weir rerun", listed.Size, now.Size)
	}
	return nil
}

// decompress looks at the first two bytes, as no text begins with gzip's.
func (r *reader) decompress() error {
	var magic [2]byte
	n, err := io.ReadFull(r.file, magic[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r.in = r.file
	if n == 2 && magic == [2]byte{0x1f, 0x8b} {
		if r.in, err = gzip.NewReader(r.file); err != nil {
			return fmt.Errorf("read gzip header: %w", err)
		}
	}
	return nil
}

func nextLine(data []byte) (n, lines int, complete bool) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, 1, true
	}
	return len(data), 1, false
}

func (r *reader) format(s *Source) error {
	switch s.format {
	case "csv":
		r.next = codec.CSVRecord
		d := codec.NewCSVDecoder(s.schema, s.delimiter)
		r.row = func(b *column.Batch, record []byte) error { return d.Decode(b, record, r.line) }
		return r.header(d)
	case "json":
		d := codec.NewJSONDecoder(s.schema)
		r.row = func(b *column.Batch, record []byte) error {
			if err := d.Decode(b, record); err != nil {
				return fmt.Errorf("line %d: %w", r.line, err)
			}
			return nil
		}
	default:
		r.lines = true
		r.row = func(b *column.Batch, record []byte) error {
			b.Cols[0].AppendString(trimEnd(record))
			b.N++
			return nil
		}
	}
	return nil
}

func trimEnd(record []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(record, []byte("\n")), []byte("\r"))
}

func (r *reader) header(d *codec.CSVDecoder) error {
	record, lines, err := r.record(true)
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty, and a CSV file begins with a header")
	}
	if err != nil {
		return err
	}
	if err := d.Header(record); err != nil {
		return err
	}
	r.consume(record, lines)
	return nil
}

// record finds the next record without consuming it. With fill it reads on until there is one; without, it returns nil where the buffer
// holds no whole record.
func (r *reader) record(fill bool) ([]byte, int, error) {
	for {
		data := r.buf[r.start:r.end]
		n, lines, complete := r.next(data)
		if complete || r.eof && n > 0 {
			return data[:n], lines, nil
		}
		switch {
		case r.eof:
			return nil, 0, io.EOF
		case !fill:
			return nil, 0, nil
		}
		if err := r.fill(); err != nil {
			return nil, 0, err
		}
	}
}

func (r *reader) consume(record []byte, lines int) {
	r.start += len(record)
	r.line += lines
}

// fill moves what is left to the front, makes room where that is all of the buffer, and reads.
func (r *reader) fill() error {
	r.end = copy(r.buf, r.buf[r.start:r.end])
	r.start = 0
	if r.end == len(r.buf) {
		if r.end >= MaxRecord {
			return fmt.Errorf("line %d: record is longer than %d bytes (a quote that does not end, or no line ends?)", r.line, MaxRecord)
		}
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.in.Read(r.buf[r.end:])
	r.end += n
	if errors.Is(err, io.EOF) {
		r.eof = true
		return nil
	}
	return err
}

// skip passes over rows that were read before, without decoding them.
func (r *reader) skip(ctx context.Context, rows int64) error {
	for r.rows < rows && !r.ended {
		if r.rows%skipCheck == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		record, lines, err := r.record(true)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("it has %d rows, and the position is after %d", r.rows, rows)
		}
		if err != nil {
			return err
		}
		if r.isRow(record) {
			r.rows++
		}
		r.consume(record, lines)
	}
	r.rows = rows
	return nil
}

// isRow reports whether a record counts in a position.
func (r *reader) isRow(record []byte) bool { return r.lines || len(trimEnd(record)) > 0 }

// Read appends rows. All of them are copied, so the batch does not depend on the reader.
func (r *reader) Read(ctx context.Context, b *column.Batch, max int) (checkpoint.Position, error) {
	read := 0
	for read < max && !r.ended {
		if ctx.Err() != nil {
			return r.position(), context.Cause(ctx)
		}
		record, lines, err := r.record(read == 0)
		if errors.Is(err, io.EOF) {
			r.ended = true
			break
		}
		if err != nil {
			return r.position(), fmt.Errorf("read file %s: %w", r.name, err)
		}
		if record == nil {
			break
		}
		if r.isRow(record) {
			if err := r.row(b, record); err != nil {
				if read > 0 {
					break // the rows before it are given out; the next call begins with it
				}
				return r.position(), fmt.Errorf("read file %s: %w", r.name, err)
			}
			read++
			r.rows++
		}
		r.consume(record, lines)
	}
	if read == 0 && r.ended {
		return r.position(), io.EOF
	}
	return r.position(), nil
}

func (r *reader) position() checkpoint.Position {
	return checkpoint.Position{Offset: r.rows, Ended: r.ended}
}

// Close closes the file. Twice is fine.
func (r *reader) Close() error {
	if err := r.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
