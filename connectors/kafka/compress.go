package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"

	"github.com/weir-project/weir/connectors/kafka/record"
)

// codecs gives the record codec kafka-go's compressors. Snappy and zstd are decompressed by their library directly: kafka-go's readers allocate
// what a block or a frame claims to need before they have seen it, and a producer that is not ours may claim anything.
type codecs struct{}

func (codecs) find(c record.Compression) (compress.Codec, error) {
	if codec := compress.Compression(c).Codec(); codec != nil {
		return codec, nil
	}
	return nil, fmt.Errorf("no codec has the number %d", c)
}

// Compress appends src, compressed, to dst.
func (cs codecs) Compress(dst, src []byte, c record.Compression) ([]byte, error) {
	codec, err := cs.find(c)
	if err != nil {
		return dst, err
	}
	out := bytes.NewBuffer(dst)
	w := codec.NewWriter(out)
	if _, err := w.Write(src); err != nil {
		_ = w.Close() // the write's error is the cause
		return dst, err
	}
	if err := w.Close(); err != nil { // it writes what is left
		return dst, err
	}
	return out.Bytes(), nil
}

// Decompress appends what src becomes to dst, and fails beyond limit bytes.
func (cs codecs) Decompress(dst, src []byte, c record.Compression, limit int) ([]byte, error) {
	switch c {
	case record.Snappy:
		return unsnap(dst, src, limit)
	case record.Zstd:
		return unzstd(dst, src, limit)
	}
	codec, err := cs.find(c)
	if err != nil {
		return dst, err
	}
	r := codec.NewReader(bytes.NewReader(src))
	defer r.Close()
	out := bytes.NewBuffer(dst)
	n, err := out.ReadFrom(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return dst, fmt.Errorf("%s: %w", codec.Name(), err)
	}
	if n > int64(limit) {
		return dst, tooLarge(codec.Name(), limit, len(src))
	}
	return out.Bytes(), nil
}

func tooLarge(name string, limit, from int) error {
	return fmt.Errorf("%s: more than %d bytes come out of %d", name, limit, from)
}

// xerial is the framing that Java's clients put around snappy: a header of 16 bytes, then blocks with their length.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

func unsnap(dst, src []byte, limit int) ([]byte, error) {
	if len(src) == 0 { // what kafka-go makes of nothing
		return dst, nil
	}
	if !bytes.HasPrefix(src, xerial) {
		return unsnapBlock(dst, src, limit)
	}
	if len(src) < 16 {
		return dst, errors.New("snappy: the header is cut")
	}
	start := len(dst)
	for src = src[16:]; len(src) > 0; {
		if len(src) < 4 {
			return dst, errors.New("snappy: a block's length is cut")
		}
		n := binary.BigEndian.Uint32(src)
		if src = src[4:]; uint64(n) > uint64(len(src)) {
			return dst, fmt.Errorf("snappy: a block of %d bytes in %d", n, len(src))
		}
		var err error
		if dst, err = unsnapBlock(dst, src[:n], limit-(len(dst)-start)); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return dst, nil
}

func unsnapBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return dst, fmt.Errorf("snappy: %w", err)
	}
	if n > limit || n > 32*len(src) { // a copy of three bytes makes 64 at most
		return dst, tooLarge("snappy", min(limit, 32*len(src)), len(src))
	}
	out, err := snappy.Decode(nil, src)
	if err != nil {
		return dst, fmt.Errorf("snappy: %w", err)
	}
	return append(dst, out...), nil
}

// unzstdDecoder is shared: DecodeAll may be called by many goroutines.
var unzstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(record.MaxDecompressed), zstd.WithDecoderMaxWindow(32<<20))
})

func unzstd(dst, src []byte, limit int) ([]byte, error) {
	d, err := unzstdDecoder()
	if err != nil {
		return dst, fmt.Errorf("zstd: %w", err)
	}
	start := len(dst)
	out, err := d.DecodeAll(src, dst)
	if err != nil {
		return dst, fmt.Errorf("zstd: %w", err)
	}
	if len(out)-start > limit {
		return dst, tooLarge("zstd", limit, len(src))
	}
	return out, nil
}
