package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-project/weir/pipelines/checkpoint"
)

// The formats of a slot's changelog partition (docs/formats/changelog.md, progress.md, watermarks.md).
const (
	progressVersion  = 1
	publishedVersion = 1
	stateVersion     = 1

	keyProgress = 'p' // the key of the progress record, alone
	keyState    = 's' // first byte of a state record's key
)

// progressRecord is the value of the progress record: Progress, and what only the log needs to know.
type progressRecord struct {
	checkpoint.Progress
	Ends     map[string]map[int32]int64 `json:"ends,omitempty"`     // by watermark topic, by partition: Published.Ends as they stand
	Claim    bool                       `json:"claim,omitempty"`    // the run has committed nothing yet: the slot was only taken over
	Previous *checkpoint.Progress       `json:"previous,omitempty"` // with Claim: the last progress of the run before
}

func decodeProgress(value []byte) (*progressRecord, error) {
	var p progressRecord
	if err := json.Unmarshal(value, &p); err != nil {
		return nil, malformed{fmt.Errorf("decode the progress: %w", err)}
	}
	if p.Version != progressVersion {
		return nil, malformed{fmt.Errorf("the progress has version %d, and this build reads %d: run the newer build", p.Version, progressVersion)}
	}
	return &p, nil
}

// appendState adds a change of state to the records of a changelog. A deleted key has a null value, so that compaction forgets it; any other
// value begins with the version and the run, because state of another run does not count.
func appendState(r *checkpoint.Records, kv checkpoint.KV, run uint64, millis int64) {
	key := append(append(make([]byte, 0, 1+len(kv.Key)), keyState), kv.Key...)
	if kv.Value == nil {
		r.Append(key, nil, millis)
		return
	}
	value := append(make([]byte, 0, 11+len(kv.Value)), stateVersion)
	value = append(binary.AppendUvarint(value, run), kv.Value...)
	r.Append(key, value, millis)
}

func decodeState(value []byte) (run uint64, state []byte, err error) {
	if value[0] != stateVersion {
		return 0, nil, malformed{fmt.Errorf("a state record has version %d, and this build reads %d: run the newer build", value[0], stateVersion)}
	}
	run, n := binary.Uvarint(value[1:])
	if n <= 0 {
		return 0, nil, malformed{fmt.Errorf("a state record of %d bytes states no run", len(value))}
	}
	return run, value[1+n:], nil
}

// scan reads a partition's committed records from … end-1, where end is a last stable offset.
func (c *Client) scan(ctx context.Context, topic string, p int32, from, end int64, visit func(offset int64, key, value []byte) error) error {
	t := newTail(c, topic, p, from)
	deadline := time.Now().Add(retryFor)
	for t.next < end {
		ok, err := t.load()
		if err != nil {
			return err
		}
		if ok {
			if err := visitBatch(t, end, visit); err != nil {
				return err
			}
			deadline = time.Now().Add(retryFor)
			continue
		}
		if t.next >= end {
			return nil
		}
		if err := t.fill(ctx); err != nil {
			return err
		}
		if len(t.recs) == 0 && t.stable >= end {
			return nil // compaction removed what was there
		}
		if time.Now().After(deadline) {
			return t.fail("read", fmt.Errorf("the broker shows nothing from offset %d on, and its end was %d", t.next, end))
		}
	}
	return nil
}

func visitBatch(t *tail, end int64, visit func(offset int64, key, value []byte) error) error {
	for i := t.at; i < t.cols.Len() && t.cols.Offsets[i] < end; i++ {
		if err := visit(t.cols.Offsets[i], t.cols.Key(i), t.cols.Value(i)); err != nil {
			return t.fail(fmt.Sprintf("read the record at offset %d of", t.cols.Offsets[i]), err)
		}
	}
	t.took(t.cols.Len())
	return nil
}

// bounds are a partition's first offset and its last stable one.
func (c *Client) bounds(ctx context.Context, topic string, p int32) (start, end int64, err error) {
	if start, err = c.Earliest(ctx, topic, p); err == nil {
		end, err = c.Latest(ctx, topic, p)
	}
	return start, end, err
}

// lastProgress finds the slot's last progress, backwards from the last stable offset; nil where there is none.
func (l *txnLog) lastProgress(ctx context.Context) (*progressRecord, error) {
	start, end, err := l.client.bounds(ctx, l.cfg.Changelog, l.partition)
	if err != nil {
		return nil, err
	}
	for window := int64(16); ; window *= 8 {
		from := max(start, end-window)
		var last *progressRecord
		err := l.client.scan(ctx, l.cfg.Changelog, l.partition, from, end, func(_ int64, key, value []byte) (err error) {
			if len(key) == 1 && key[0] == keyProgress {
				last, err = decodeProgress(value)
			}
			return err
		})
		if err != nil || last != nil || from == start {
			return last, err
		}
	}
}

// state reads what is kept under each key: the run's latest values, in the keys' order, and the keys that another run wrote last.
func (l *txnLog) state(ctx context.Context, run uint64) (state []checkpoint.KV, others [][]byte, err error) {
	start, end, err := l.client.bounds(ctx, l.cfg.Changelog, l.partition)
	if err != nil {
		return nil, nil, err
	}
	type kept struct {
		run   uint64
		value []byte
	}
	values := map[string]kept{}
	err = l.client.scan(ctx, l.cfg.Changelog, l.partition, start, end, func(_ int64, key, value []byte) error {
		if len(key) == 0 || key[0] != keyState {
			return nil
		}
		if len(value) == 0 {
			delete(values, string(key[1:]))
			return nil
		}
		of, state, err := decodeState(value)
		values[string(key[1:])] = kept{of, bytes.Clone(state)}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if v := values[key]; v.run == run {
			state = append(state, checkpoint.KV{Key: []byte(key), Value: v.value})
		} else {
			others = append(others, []byte(key))
		}
	}
	return state, others, nil
}

// pending reads the outbox entries from applied on.
func (l *txnLog) pending(ctx context.Context, applied int64) ([]checkpoint.OutboxEntry, error) {
	if l.cfg.Outbox == "" {
		return nil, nil
	}
	start, end, err := l.client.bounds(ctx, l.cfg.Outbox, l.partition)
	if err != nil {
		return nil, err
	}
	var out []checkpoint.OutboxEntry
	err = l.client.scan(ctx, l.cfg.Outbox, l.partition, max(start, applied), end, func(offset int64, _, value []byte) error {
		out = append(out, checkpoint.OutboxEntry{Offset: offset, Value: bytes.Clone(value)})
		return nil
	})
	return out, err
}
