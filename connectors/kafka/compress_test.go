package kafka

import (
	"bytes"
	"strings"
	"testing"

	"github.com/weir-project/weir/connectors/kafka/record"
)

var packers = []record.Compression{record.Gzip, record.Snappy, record.LZ4, record.Zstd}

func TestWhatIsCompressedComesBackAndNotBeyondTheLimit(t *testing.T) {
	for _, text := range []string{"", "x", strings.Repeat("departures ", 50_000)} {
		for _, c := range packers {
			packed, err := codecs{}.Compress(nil, []byte(text), c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := codecs{}.Decompress([]byte("kept"), packed, c, len(text))
			if err != nil {
				t.Fatalf("codec %d, %d bytes: %v", c, len(text), err)
			}
			if string(got) != "kept"+text {
				t.Errorf("codec %d: %d bytes became %d", c, len(text), len(got)-4)
			}
			if len(text) == 0 {
				continue
			}
			if _, err := (codecs{}).Decompress(nil, packed, c, len(text)-1); err == nil || !strings.Contains(err.Error(), "more than") {
				t.Errorf("codec %d beyond its limit: %v", c, err)
			}
		}
	}
	if _, err := (codecs{}).Decompress(nil, []byte("x"), 7, 10); err == nil {
		t.Error("codec 7 exists")
	}
}

// FuzzDecompress: no claim of the bytes makes more than the limit.
func FuzzDecompress(f *testing.F) {
	for _, c := range packers {
		packed, err := codecs{}.Compress(nil, bytes.Repeat([]byte("abc"), 300), c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed, uint8(c))
	}
	f.Fuzz(func(t *testing.T, src []byte, c uint8) {
		const limit = 1 << 20
		out, err := codecs{}.Decompress(nil, src, record.Compression(c%5), limit)
		if err == nil && len(out) > limit {
			t.Errorf("%d bytes came out of %d", len(out), len(src))
		}
	})
}
