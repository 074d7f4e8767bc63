package link

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// MaxFrame is the largest encoded frame by default, in bytes.
const MaxFrame = 4 << 20

const (
	headerSize = 4
	typePing   = "_ping"
	typeBye    = "_bye"
)

// Frame is one message. Version is that of the body's form, so that either side can be upgraded first.
type Frame struct {
	Type    string          `json:"type"`
	Version int             `json:"version,omitempty"`
	Body    json.RawMessage `json:"body,omitempty"`
}

// NewFrame encodes body as JSON.
func NewFrame(kind string, version int, body any) (Frame, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return Frame{}, fmt.Errorf("encode body of frame %s: %w", kind, err)
	}
	return Frame{Type: kind, Version: version, Body: data}, nil
}

// Decode reads the body into v.
func (f Frame) Decode(v any) error {
	if err := json.Unmarshal(f.Body, v); err != nil {
		return fmt.Errorf("decode body of frame %s version %d: %w", f.Type, f.Version, err)
	}
	return nil
}

// TooLargeError refuses a frame beyond the limit.
type TooLargeError struct {
	Size, Limit int64 // bytes
}

// Error tells both numbers.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a frame of %d bytes is larger than the limit of %d", e.Size, e.Limit)
}

// encode returns header and frame in one slice.
func encode(f Frame, limit int) ([]byte, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode frame %s: %w", f.Type, err)
	}
	if len(data) > limit {
		return nil, &TooLargeError{Size: int64(len(data)), Limit: int64(limit)}
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, headerSize+len(data)), uint32(len(data))), data...), nil
}

// read reads one frame. A clean end between frames is io.EOF, one inside a frame io.ErrUnexpectedEOF.
func read(r io.Reader, limit int, f *Frame) error {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(header[:])
	if int64(size) > int64(limit) {
		return &TooLargeError{Size: int64(size), Limit: int64(limit)}
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read frame of %d bytes: %w", size, err)
	}
	*f = Frame{}
	if err := json.Unmarshal(data, f); err != nil {
		return fmt.Errorf("parse frame of %d bytes: %w", size, err)
	}
	if f.Type == "" {
		return fmt.Errorf("parse frame of %d bytes: it has no type", size)
	}
	return nil
}

func reserved(kind string) bool { return kind == "" || strings.HasPrefix(kind, "_") }
