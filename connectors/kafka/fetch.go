package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"
)

// The terms of a fetch: the broker answers as soon as it has a byte, or after the wait.
const (
	fetchWaitMillis = 500
	fetchMinBytes   = 1
	fetchMaxBytes   = 4 << 20
)

// want is a place to fetch from.
type want struct {
	topic     string
	partition int32
	offset    int64
}

// aborted is a transaction of producer that was aborted, with the first offset that it wrote.
type aborted struct {
	producer int64
	first    int64
}

// fetched is what one partition answered. Records refer to the answer's buffer.
type fetched struct {
	topic     string
	partition int32
	err       error
	stable    int64 // last stable offset
	aborted   []aborted
	records   []byte
}

// fetch is a Fetch request, version 11, for partitions of one leader, read_committed. Its answer lies in one buffer (D9): kafka-go's own fetch
// copies each record, shows aborted ones and stops before a trailing control batch.
type fetch struct {
	broker   int32
	clientID string
	wants    []want
	buf      []byte // the answer's memory, taken over by the answer
}

// fetchAnswer implements protocol.Message.
type fetchAnswer struct {
	parts []fetched
	buf   []byte
}

func (*fetch) ApiKey() protocol.ApiKey       { return protocol.Fetch }
func (*fetchAnswer) ApiKey() protocol.ApiKey { return protocol.Fetch }

func (f *fetch) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: f.broker}, nil
}

func (f *fetch) Required(map[protocol.ApiKey]int16) bool { return true }

func (f *fetch) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	id := correlation.Add(1)
	if _, err := rw.Write(f.encode(id)); err != nil {
		return nil, err
	}
	buf, err := readAnswer(rw, f.buf, id)
	if err != nil {
		return nil, err
	}
	return parseFetch(buf)
}

func (f *fetch) encode(id int32) []byte {
	b := header(make([]byte, 0, 256), int16(protocol.Fetch), fetchVersion, id, f.clientID)
	b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // replica -1: a consumer
	b = binary.BigEndian.AppendUint32(b, fetchWaitMillis)
	b = binary.BigEndian.AppendUint32(b, fetchMinBytes)
	b = binary.BigEndian.AppendUint32(b, fetchMaxBytes)
	b = append(b, byte(readCommitted))
	b = binary.BigEndian.AppendUint32(b, 0)          // no session
	b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // epoch -1: none is wanted
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.wants)))
	for _, w := range f.wants {
		b = appendString(b, w.topic)
		b = binary.BigEndian.AppendUint32(b, 1)
		b = binary.BigEndian.AppendUint32(b, uint32(w.partition))
		b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // leader epoch not known
		b = binary.BigEndian.AppendUint64(b, uint64(w.offset))
		b = binary.BigEndian.AppendUint64(b, ^uint64(0)) // log start: for followers
		b = binary.BigEndian.AppendUint32(b, fetchMaxBytes)
	}
	b = binary.BigEndian.AppendUint32(b, 0) // nothing to forget
	return finish(appendString(b, ""))      // no rack
}

var errShortFetch = malformed{errors.New("the answer to a fetch ends too early")}

func parseFetch(buf []byte) (*fetchAnswer, error) {
	r := &reader{b: buf}
	r.int32() // throttle
	if err := codeError(r.int16()); err != nil {
		return nil, err
	}
	r.int32() // session
	out := &fetchAnswer{buf: buf}
	for t := r.count(6); t > 0; t-- {
		topic := r.string()
		for p := r.count(38); p > 0; p-- {
			out.parts = append(out.parts, parsePartition(r, topic))
		}
	}
	if r.bad {
		return nil, errShortFetch
	}
	return out, nil
}

func parsePartition(r *reader, topic string) fetched {
	f := fetched{topic: topic, partition: r.int32(), err: codeError(r.int16())}
	r.int64() // high watermark: stale after a failover, used for nothing
	f.stable = r.int64()
	r.int64() // first offset kept
	if n := r.count(16); n > 0 {
		f.aborted = make([]aborted, n)
		for i := range f.aborted {
			f.aborted[i] = aborted{r.int64(), r.int64()}
		}
	}
	r.int32() // preferred replica
	if n := r.int32(); n > 0 {
		f.records = r.take(int(n))
	}
	return f
}

// goneError says that a place is outside of what the partition keeps.
type goneError struct {
	offset, start, end int64
	err                error
}

func (g *goneError) Error() string {
	return fmt.Sprintf("offset %d is outside of the kept %d to %d: %v", g.offset, g.start, g.end, g.err)
}

func (g *goneError) Unwrap() error { return g.err }
