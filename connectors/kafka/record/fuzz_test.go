package record_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-project/weir/connectors/kafka/record"
	"github.com/weir-project/weir/pipelines/checkpoint"
)

// kbin puts the length before a record's body.
func kbin(body []byte) []byte {
	return append(binary.AppendVarint(nil, int64(len(body)-1)), body[1:]...)
}

// seal writes a batch with the length and the CRC that its fields have.
func seal(b kmsg.RecordBatch) []byte {
	return reseal(b.AppendTo(nil))
}

func reseal(raw []byte) []byte {
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// plain takes compressed bytes for the records themselves: the compressors have a fuzz test of their own.
type plain struct{}

func (plain) Compress(dst, src []byte, _ record.Compression) ([]byte, error) {
	return append(dst, src...), nil
}

func (plain) Decompress(dst, src []byte, _ record.Compression, _ int) ([]byte, error) {
	return append(dst, src...), nil
}

// FuzzDecode: whatever the bytes are, and even with the right CRC, nothing panics, no span leaves the buffer, and offsets stay in the batch.
func FuzzDecode(f *testing.F) {
	r := &checkpoint.Records{}
	r.Append([]byte("key"), []byte("value"), 17)
	r.Append(nil, nil, -17)
	for c := record.None; c <= record.Zstd; c++ {
		raw, err := record.Append(nil, r, 0, 2, record.Producer{ID: 3, Transactional: true, Compression: c}, plain{})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, asIs bool) {
		if len(raw) >= 61 && !asIs {
			reseal(raw)
		}
		for pos := 0; ; {
			b, next, err := record.Next(raw, pos)
			if err != nil {
				return
			}
			if next <= pos || next > len(raw) || b.Next <= b.Base {
				t.Fatalf("from %d to %d of %d, offsets %d to %d", pos, next, len(raw), b.Base, b.Next)
			}
			pos = next
			var c record.Columns
			if _, err := b.Marker(&c, plain{}); err != nil {
				continue
			}
			for i := range c.Len() {
				_, _ = c.Key(i), c.Value(i) // panics if a span leaves the buffer
				if c.Offsets[i] < b.Base || c.Offsets[i] >= b.Next {
					t.Fatalf("offset %d is outside of %d to %d", c.Offsets[i], b.Base, b.Next)
				}
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	r := &checkpoint.Records{}
	for i := range 8000 {
		r.Append(nil, make([]byte, 100), int64(i))
	}
	raw, err := record.Append(nil, r, 0, r.Len(), record.Producer{ID: 1}, nil)
	if err != nil {
		b.Fatal(err)
	}
	var c record.Columns
	for b.Loop() {
		batch, _, err := record.Next(raw, 0)
		if err == nil {
			err = batch.Decode(&c, nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/8000, "ns/record")
}

func BenchmarkEncode(b *testing.B) {
	r := &checkpoint.Records{}
	for i := range 8000 {
		r.Append(nil, make([]byte, 100), int64(i))
	}
	var raw []byte
	for b.Loop() {
		var err error
		if raw, err = record.Append(raw[:0], r, 0, r.Len(), record.Producer{ID: 1}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/8000, "ns/record")
}
