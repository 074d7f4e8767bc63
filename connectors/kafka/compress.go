package kafka

import (
	"bytes"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/compress"

	"github.com/weir-project/weir/connectors/kafka/record"
)

// codecs gives the record codec kafka-go's compressors.
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
		return dst, fmt.Errorf("%s: more than %d bytes come out of %d", codec.Name(), limit, len(src))
	}
	return out.Bytes(), nil
}
