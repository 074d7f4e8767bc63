package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// header appends a request's header, version 1, with a length that is filled in at the end.
func header(b []byte, key, version int16, correlation int32, clientID string) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	return appendString(b, clientID)
}

// finish writes the length of a request that begins at b's start.
func finish(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// maxAnswer bounds an answer: a fetch is asked for at most 4 MiB, and one batch may be larger than that.
const maxAnswer = 128 << 20

// readAnswer reads one answer into buf, which grows if it must, and returns what follows the correlation id.
func readAnswer(rw io.Reader, buf []byte, correlation int32) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, unexpected(err)
	}
	size := int64(binary.BigEndian.Uint32(head[:])) - 4
	if size < 0 || size > maxAnswer {
		return nil, malformed{fmt.Errorf("an answer of %d bytes, and at most %d are taken", size, maxAnswer)}
	}
	if got := int32(binary.BigEndian.Uint32(head[4:])); got != correlation {
		return nil, fmt.Errorf("the answer is to request %d, and %d was asked", got, correlation)
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	_, err := io.ReadFull(rw, buf)
	return buf, unexpected(err)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// reader walks over an answer; after a read beyond the end bad is set and all that follows is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// string reads a string that may be null.
func (r *reader) string() string {
	n := r.int16()
	if n < 0 {
		return ""
	}
	return string(r.take(int(n)))
}

// count reads the length of an array of elements that take at least size bytes each; a null array is empty.
func (r *reader) count(size int) int {
	n := int(r.int32())
	if n > len(r.b)/size {
		r.bad, r.b = true, nil
		return 0
	}
	return max(n, 0)
}
