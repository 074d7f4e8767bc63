package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/weir-project/weir/connectors/kafka/record"
	"github.com/weir-project/weir/pipelines/checkpoint"
)

// codec is kafka-go's compressors.
type codec struct{}

func (codec) Compress(dst, src []byte, c record.Compression) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w := compress.Compression(c).Codec().NewWriter(out)
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

func (codec) Decompress(dst, src []byte, c record.Compression, limit int) ([]byte, error) {
	impl := compress.Compression(c).Codec()
	if impl == nil {
		return nil, fmt.Errorf("no codec %d", c)
	}
	out := bytes.NewBuffer(dst)
	r := impl.NewReader(bytes.NewReader(src))
	defer r.Close()
	if _, err := out.ReadFrom(r); err != nil {
		return nil, err
	}
	if out.Len() > limit {
		return nil, errors.New("too large")
	}
	return out.Bytes(), nil
}

var generated = rapid.Custom(func(t *rapid.T) *checkpoint.Records {
	r := &checkpoint.Records{}
	for range rapid.IntRange(1, 50).Draw(t, "records") {
		r.Append(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "key"), rapid.SliceOfN(rapid.Byte(), 0, 9000).Draw(t, "value"),
			rapid.Int64Range(-1<<50, 1<<50).Draw(t, "millis"))
	}
	return r
})

// franz reads a batch with franz-go's own parser.
func franz(t interface{ Fatal(...any) }, raw []byte) (kmsg.RecordBatch, []kmsg.Record) {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		t.Fatal(err)
	}
	records, err := kfake.BatchRecords(b)
	if err != nil {
		t.Fatal(err)
	}
	return b, records
}

func TestWhatIsEncodedIsReadAlikeByFranzGoAndByUs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := generated.Draw(t, "records")
		from := rapid.IntRange(0, r.Len()-1).Draw(t, "from")
		p := record.Producer{ID: rapid.Int64Range(0, 1<<40).Draw(t, "id"), Epoch: rapid.Int16Range(0, 1<<14).Draw(t, "epoch"),
			Sequence: rapid.Int32Range(0, 1<<30).Draw(t, "sequence"), Transactional: rapid.Bool().Draw(t, "transactional"),
			Compression: record.Compression(rapid.IntRange(0, 4).Draw(t, "codec")), EmptyIsNull: rapid.Bool().Draw(t, "emptyIsNull")}
		raw, err := record.Append([]byte("before"), r, from, r.Len(), p, codec{})
		if err != nil {
			t.Fatal(err)
		}
		batch, next, err := record.Next(raw, 6)
		if err != nil {
			t.Fatal(err)
		}
		var c record.Columns
		if err := batch.Decode(&c, codec{}); err != nil {
			t.Fatal(err)
		}
		header, theirs := franz(t, raw[6:])
		if next != len(raw) || batch.ProducerID != p.ID || batch.Epoch != p.Epoch || batch.Sequence != p.Sequence || batch.Transactional != p.Transactional || batch.Control {
			t.Fatalf("header %+v of producer %+v", batch, p)
		}
		if header.ProducerID != p.ID || header.ProducerEpoch != p.Epoch || header.FirstSequence != p.Sequence || header.Attributes&0x10 != 0 != p.Transactional ||
			header.MaxTimestamp != batch.MaxTime || int(header.NumRecords) != batch.Count || header.LastOffsetDelta != int32(batch.Count-1) {
			t.Fatalf("franz-go reads the header %+v, and we %+v", header, batch)
		}
		if len(theirs) != r.Len()-from || c.Len() != len(theirs) {
			t.Fatalf("%d records became %d for franz-go and %d for us", r.Len()-from, len(theirs), c.Len())
		}
		for i, their := range theirs {
			same(t, r, from+i, &c, i, header.FirstTimestamp, their, p.EmptyIsNull)
		}
	})
}

func same(t *rapid.T, r *checkpoint.Records, at int, c *record.Columns, i int, first int64, their kmsg.Record, emptyIsNull bool) {
	k, v := r.Keys[at], r.Values[at]
	key, value := r.Buf[k.Off:k.Off+k.Len], r.Buf[v.Off:v.Off+v.Len]
	if !bytes.Equal(c.Key(i), key) || !bytes.Equal(c.Value(i), value) || c.Times[i] != r.Times[at] || c.Offsets[i] != int64(i) {
		t.Fatalf("record %d differs for us", i)
	}
	if !bytes.Equal(their.Key, key) || !bytes.Equal(their.Value, value) || first+their.TimestampDelta64 != r.Times[at] || int(their.OffsetDelta) != i {
		t.Fatalf("record %d differs for franz-go: %+v", i, their)
	}
	if len(value) == 0 && (their.Value == nil) != emptyIsNull {
		t.Fatalf("record %d: an empty value became nil: %t, want %t", i, their.Value == nil, emptyIsNull)
	}
}

func TestHeadersOfOthersAreSkipped(t *testing.T) {
	r := &checkpoint.Records{}
	r.Append([]byte("k"), []byte("v"), 5)
	raw, err := record.Append(nil, r, 0, 1, record.Producer{ID: -1, Epoch: -1, Sequence: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, records := franz(t, raw)
	records[0].Headers = []kmsg.Header{{Key: "trace", Value: []byte("1")}, {Key: "", Value: nil}}
	b.Records = records[0].AppendTo(nil)
	b.Records = kbin(b.Records)
	var c record.Columns
	batch, _, err := record.Next(seal(b), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Decode(&c, nil); err != nil {
		t.Fatal(err)
	}
	if string(c.Key(0)) != "k" || string(c.Value(0)) != "v" || c.Times[0] != 5 {
		t.Errorf("read %q %q %d", c.Key(0), c.Value(0), c.Times[0])
	}
}

func TestDamageIsNoticed(t *testing.T) {
	r := &checkpoint.Records{}
	for i := range 20 {
		r.Append([]byte("key"), []byte(strings.Repeat("v", i)), int64(i))
	}
	raw, err := record.Append(nil, r, 0, 20, record.Producer{ID: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		if _, _, err := record.Next(raw[:n], 0); !errors.Is(err, record.ErrPartial) {
			t.Fatalf("%d of %d bytes: %v, want %v", n, len(raw), err, record.ErrPartial)
		}
	}
	for i := 17; i < len(raw); i++ { // the fields before it are the broker's, and not under the CRC
		broken := bytes.Clone(raw)
		broken[i] ^= 1 << (i % 8)
		if _, _, err := record.Next(broken, 0); err == nil || !strings.Contains(err.Error(), "CRC") {
			t.Fatalf("byte %d was changed: %v", i, err)
		}
	}
}

func TestABatchStaysBelowItsLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, limit := generated.Draw(t, "records"), rapid.IntRange(0, 30000).Draw(t, "limit")
		for from := 0; from < r.Len(); {
			to := record.Cut(r, from, limit)
			if to <= from {
				t.Fatalf("cut at %d from %d", to, from)
			}
			raw, err := record.Append(nil, r, from, to, record.Producer{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(raw) > limit && to > from+1 {
				t.Fatalf("%d records take %d bytes, and the limit is %d", to-from, len(raw), limit)
			}
			from = to
		}
	})
}
