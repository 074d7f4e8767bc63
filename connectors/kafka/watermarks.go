package kafka

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
)

// Watermarks follows a channel's watermark topic from a place: 0 is its beginning (docs/formats/watermarks.md). Nothing is asked before the
// first Poll. The client stays the caller's.
func Watermarks(c *Client, topic string, place int64) connectors.WatermarkReader {
	return &watermarkReader{client: c, topic: topic, place: place}
}

type watermarkReader struct {
	client *Client
	topic  string
	place  int64
	tail   *tail
}

// maxPublished bounds what one Poll returns.
const maxPublished = 4096

func (w *watermarkReader) Poll(ctx context.Context) ([]checkpoint.Published, int64, error) {
	out, err := w.poll(ctx)
	if err != nil {
		w.tail = nil // so that the next Poll goes back to the place
		return nil, w.place, err
	}
	w.place = w.tail.next
	return out, w.place, nil
}

func (w *watermarkReader) poll(ctx context.Context) ([]checkpoint.Published, error) {
	if w.tail == nil {
		t, err := openTail(ctx, w.client, w.topic, 0, w.place)
		if err != nil {
			return nil, err
		}
		w.tail = t
	}
	var out []checkpoint.Published
	for len(out) < maxPublished {
		ok, err := w.tail.load()
		if err != nil {
			return nil, err
		}
		if !ok && len(out) > 0 {
			break
		}
		if !ok {
			if err := w.tail.fill(ctx); err != nil {
				return nil, gone(err)
			}
			continue
		}
		if out, err = w.decode(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// decode appends what the current batch publishes.
func (w *watermarkReader) decode(out []checkpoint.Published) ([]checkpoint.Published, error) {
	c := &w.tail.cols
	for i := w.tail.at; i < c.Len(); i++ {
		var p checkpoint.Published
		if err := json.Unmarshal(c.Value(i), &p); err != nil {
			return nil, w.tail.fail(fmt.Sprintf("decode the watermark at offset %d of", c.Offsets[i]), malformed{err})
		}
		if p.Version != publishedVersion {
			return nil, w.tail.fail(fmt.Sprintf("decode the watermark at offset %d of", c.Offsets[i]),
				malformed{fmt.Errorf("its version is %d, and this build reads %d: run the newer build", p.Version, publishedVersion)})
		}
		out = append(out, p)
	}
	w.tail.took(c.Len())
	return out, nil
}

func (w *watermarkReader) Close() error { return nil }
