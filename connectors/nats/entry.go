package nats

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/weir-project/weir/pipelines/column"
)

// The format of an outbox entry is docs/formats/nats-outbox.md: a version, who staged it, where the stream ended then, the subject, the first part of the
// messages' ids, then the messages.

const (
	entryVersion = 1
	maxEntry     = 64 << 10 // bytes after which an entry is closed
)

// header of entries that are staged now.
type header struct {
	owner  string // drawn for each sink that is opened
	floor  uint64 // the stream's last sequence that was known: no copy of the messages can be at or before it
	source string // first part of the ids: the slot and the sink
}

func (h header) append(dst []byte) []byte {
	dst = appendText(append(dst, entryVersion), h.owner)
	return appendText(binary.AppendUvarint(dst, h.floor), h.source)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendMessage appends one message: its write timestamp, its event time, its data.
func appendMessage(dst []byte, written int64, at column.Time, data []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(written))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
	return append(binary.AppendUvarint(dst, uint64(len(data))), data...)
}

// message is a decoded one. Its data is a view of its entry.
type message struct {
	id   string
	at   column.Time
	data []byte
	done bool // it is in the stream
}

// decodeEntry reads an entry's header and its messages.
func decodeEntry(entry []byte, to []message) (header, []message, error) {
	var h header
	if len(entry) == 0 || entry[0] != entryVersion {
		return h, nil, fmt.Errorf("its version is not %d; use the program that wrote it", entryVersion)
	}
	in := cursor{rest: entry[1:]}
	h.owner, h.floor, h.source = string(in.bytes()), in.number(), string(in.bytes())
	for !in.cut && len(in.rest) > 0 {
		written := in.fixed()
		m := message{at: column.Time(in.fixed()), data: in.bytes()}
		m.id = h.source + "/" + strconv.FormatUint(written, 10)
		to = append(to, m)
	}
	if in.cut {
		return h, nil, errors.New("it is cut off")
	}
	return h, to, nil
}

// cursor reads an entry; cut says that it ended early.
type cursor struct {
	rest []byte
	cut  bool
}

func (c *cursor) number() uint64 {
	n, used := binary.Uvarint(c.rest)
	if used <= 0 {
		c.cut, c.rest = true, nil
		return 0
	}
	c.rest = c.rest[used:]
	return n
}

func (c *cursor) bytes() []byte {
	n := c.number()
	if c.cut || n > uint64(len(c.rest)) {
		c.cut, c.rest = true, nil
		return nil
	}
	out := c.rest[:n:n]
	c.rest = c.rest[n:]
	return out
}

func (c *cursor) fixed() uint64 {
	if len(c.rest) < 8 {
		c.cut, c.rest = true, nil
		return 0
	}
	out := binary.LittleEndian.Uint64(c.rest)
	c.rest = c.rest[8:]
	return out
}
