package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"

	"github.com/weir-project/weir/pipelines/checkpoint"
)

// Append appends records from … to-1 of r as one batch. codec is asked only where p.Compression is not None.
func Append(dst []byte, r *checkpoint.Records, from, to int, p Producer, codec Codec) ([]byte, error) {
	if from >= to || to > r.Len() {
		return dst, fmt.Errorf("encode a record batch: records %d to %d of %d", from, to, r.Len())
	}
	start := len(dst)
	dst = slices.Grow(dst, bound(r, from, to))[:start+headerSize]
	first, last := r.Times[from], r.Times[from]
	for i := from; i < to; i++ {
		last = max(last, r.Times[i])
		dst = appendRecord(dst, r, i, i-from, r.Times[i]-first, p.EmptyIsNull)
	}
	if p.Compression != None {
		packed, err := codec.Compress(nil, dst[start+headerSize:], p.Compression)
		if err != nil {
			return dst[:start], fmt.Errorf("compress a record batch of %d bytes: %w", len(dst)-start-headerSize, err)
		}
		dst = append(dst[:start+headerSize], packed...)
	}
	putHeader(dst[start:], p, to-from, first, last)
	return dst, nil
}

func appendRecord(dst []byte, r *checkpoint.Records, i, delta int, millis int64, emptyIsNull bool) []byte {
	key, value := r.Keys[i], r.Values[i]
	keyLen, valueLen := int64(key.Len), int64(value.Len)
	if keyLen == 0 {
		keyLen = -1
	}
	if valueLen == 0 && emptyIsNull {
		valueLen = -1
	}
	size := 1 + varintLen(millis) + varintLen(int64(delta)) + varintLen(keyLen) + int(key.Len) + varintLen(valueLen) + int(value.Len) + 1
	dst = binary.AppendVarint(dst, int64(size))
	dst = append(dst, 0)
	dst = binary.AppendVarint(dst, millis)
	dst = binary.AppendVarint(dst, int64(delta))
	dst = binary.AppendVarint(dst, keyLen)
	dst = append(dst, r.Buf[key.Off:key.Off+key.Len]...)
	dst = binary.AppendVarint(dst, valueLen)
	dst = append(dst, r.Buf[value.Off:value.Off+value.Len]...)
	return append(dst, 0) // no headers
}

// varintLen is the length of v as a zigzag varint.
func varintLen(v int64) int {
	return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7
}

// bound is at least the size of a batch that is not compressed.
func bound(r *checkpoint.Records, from, to int) int {
	size := headerSize
	for i := from; i < to; i++ {
		size += maxOverhead + int(r.Keys[i].Len) + int(r.Values[i].Len)
	}
	return size
}

// maxOverhead is more than the varints of a record take.
const maxOverhead = 32

func putHeader(b []byte, p Producer, count int, first, last int64) {
	attributes := uint16(p.Compression)
	if p.Transactional {
		attributes |= transactionalBit
	}
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-atLength-4))
	binary.BigEndian.PutUint32(b[atLength+4:], ^uint32(0)) // leader epoch: the broker fills it in
	b[atMagic] = 2
	binary.BigEndian.PutUint16(b[atAttributes:], attributes)
	binary.BigEndian.PutUint32(b[atLastDelta:], uint32(count-1))
	binary.BigEndian.PutUint64(b[atFirstTime:], uint64(first))
	binary.BigEndian.PutUint64(b[atMaxTime:], uint64(last))
	binary.BigEndian.PutUint64(b[atProducer:], uint64(p.ID))
	binary.BigEndian.PutUint16(b[atEpoch:], uint16(p.Epoch))
	binary.BigEndian.PutUint32(b[atSequence:], uint32(p.Sequence))
	binary.BigEndian.PutUint32(b[atCount:], uint32(count))
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], castagnoli))
}

// Cut says how many records from … on fit into a batch whose encoding, uncompressed, stays below limit bytes. It is at least one.
func Cut(r *checkpoint.Records, from, limit int) (to int) {
	size := headerSize
	for to = from; to < r.Len(); to++ {
		size += maxOverhead + int(r.Keys[to].Len) + int(r.Values[to].Len)
		if size > limit && to > from {
			return to
		}
	}
	return to
}
