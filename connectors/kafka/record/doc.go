// Package record is the codec of Kafka's record batches, version 2: encoding from and decoding into columns of offsets and lengths, with
// the producer's identity and the CRC, at nanoseconds a record.
//
// It does no I/O, keeps nothing between calls, knows no compressor (a Codec is an argument) and writes no headers. It trusts no length:
// every count is compared with the bytes that are there before anything is allocated for it.
//
//	buf, err := record.Append(nil, records, 0, records.Len(), record.Producer{ID: 7, Sequence: 12, Transactional: true}, nil)
//	…
//	batch, next, err := record.Next(fetched, 0) // ErrPartial: the answer was cut here
//	err = batch.Decode(&columns, codec)         // columns.Values[i] is a span of columns.Buf
package record

import (
	"errors"
	"hash/crc32"
)

// Compression of a batch, as in the low bits of its attributes.
type Compression uint8

// The codecs that Kafka knows.
const (
	None   Compression = 0
	Gzip   Compression = 1
	Snappy Compression = 2
	LZ4    Compression = 3
	Zstd   Compression = 4
)

// Codec compresses and decompresses the records of a batch. Decompress appends to dst and fails when more than limit bytes come out.
type Codec interface {
	Compress(dst, src []byte, c Compression) ([]byte, error)
	Decompress(dst, src []byte, c Compression, limit int) ([]byte, error)
}

// Producer identifies the writer of a batch. Without an identity ID, Epoch and Sequence are -1.
type Producer struct {
	ID            int64
	Epoch         int16
	Sequence      int32 // of the batch's first record
	Transactional bool
	Compression   Compression
	EmptyIsNull   bool // an empty value is written as null: a tombstone in a compacted topic
}

// MaxDecompressed bounds the bytes that one compressed batch may become.
const MaxDecompressed = 64 << 20

// ErrPartial says that the bytes end inside a batch, as the last one of a fetch may.
var ErrPartial = errors.New("the bytes end inside a record batch")

// The layout of a batch's header: offset of each field from its start.
const (
	atLength     = 8
	atMagic      = 16
	atCRC        = 17
	atAttributes = 21
	atLastDelta  = 23
	atFirstTime  = 27
	atMaxTime    = 35
	atProducer   = 43
	atEpoch      = 51
	atSequence   = 53
	atCount      = 57
	headerSize   = 61

	compressionMask  = 0x07
	logAppendBit     = 0x08
	transactionalBit = 0x10
	controlBit       = 0x20

	minRecord = 7 // length, attributes, two deltas, two lengths, header count: a byte each
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
