package kafka

import (
	"encoding/binary"
	"testing"
)

// fetchOf is an answer about one partition with aborted transactions and records.
func fetchOf(list []aborted, records []byte) []byte {
	b := make([]byte, 10) // throttle, no error, no session
	b = binary.BigEndian.AppendUint32(b, 1)
	b = appendString(b, "t")
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, 3) // partition
	b = binary.BigEndian.AppendUint16(b, 0)
	for _, offset := range []uint64{90, 80, 10} {
		b = binary.BigEndian.AppendUint64(b, offset)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	for _, a := range list {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, uint64(a.producer)), uint64(a.first))
	}
	b = binary.BigEndian.AppendUint32(b, ^uint32(0))
	return append(binary.BigEndian.AppendUint32(b, uint32(len(records))), records...)
}

func TestAnAnswerThatIsCutIsRefused(t *testing.T) {
	whole := fetchOf([]aborted{{7, 20}, {8, 30}}, []byte("records"))
	got, err := parseFetch(whole)
	if err != nil || len(got.parts) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	p := got.parts[0]
	if p.topic != "t" || p.partition != 3 || p.stable != 80 || len(p.aborted) != 2 || p.aborted[1] != (aborted{8, 30}) || string(p.records) != "records" {
		t.Errorf("partition %+v", p)
	}
	for n := range whole {
		if _, err := parseFetch(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken for an answer", n, len(whole))
		}
	}
}

// FuzzParseFetch: whatever is answered, nothing panics and nothing larger than the answer is allocated.
func FuzzParseFetch(f *testing.F) {
	f.Add(fetchOf(nil, nil))
	f.Add(fetchOf([]aborted{{7, 20}}, []byte("records")))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseFetch(b)
		if err != nil {
			return
		}
		for _, p := range got.parts {
			if len(p.records) > len(b) || len(p.aborted)*16 > len(b) {
				t.Errorf("%d bytes became %d of records and %d aborted transactions", len(b), len(p.records), len(p.aborted))
			}
		}
	})
}
