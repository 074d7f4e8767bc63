package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/kernel"
	"github.com/weir-project/weir/pipelines/state"
)

// combine aggregates by key and window; its state is package state's.
type combine struct {
	number  int // among the combines of the fragment: the first part of its keys in the log
	kernel  *kernel.Combine
	table   *state.Table
	out     *column.Batch
	changed bool // since the last commit
	prefix  []byte
}

func newCombine(v *vertex, number int, seed uint64) (*combine, error) {
	in, err := v.input()
	if err != nil {
		return nil, err
	}
	c := &combine{number: number, prefix: binary.AppendUvarint(nil, uint64(number))}
	if c.kernel, err = kernel.NewCombine(v.spec, in); err != nil {
		return nil, err
	}
	sc := c.kernel.State
	sc.Seed = seed
	if c.table, err = state.New(sc); err != nil {
		return nil, v.fail(err)
	}
	c.out = column.NewBatch(&v.spec.Out, BatchRows)
	return c, nil
}

func (c *combine) process(v *vertex, b *column.Batch, p pass) error {
	values, err := c.kernel.Values(b)
	if err != nil {
		return err
	}
	absorbed, late, err := c.table.Update(b, c.kernel.Keys, values)
	if err != nil {
		return v.fail(err)
	}
	c.changed = c.changed || absorbed > 0
	if p.derived { // I2 follows a row to its first combine; later ones only tell what they dropped
		return nil
	}
	v.flow.counters.Absorbed += int64(absorbed)
	v.flow.counters.Late += int64(late)
	return nil
}

// advance fires what is due. What will still come out is not earlier than the watermark less the lateness.
func (c *combine) advance(v *vertex, in column.Time, idle bool) (column.Time, bool, error) {
	if c.table.Due() <= in {
		c.changed = true
	}
	err := c.table.Fire(in, c.out, BatchRows, func(b *column.Batch) error {
		v.flow.counters.Emitted += int64(b.N)
		return v.emit(b, pass{split: -1, derived: true})
	})
	if in == column.MaxTime || in < column.MinTime+c.kernel.State.Lateness {
		return in, idle, err
	}
	return in - c.kernel.State.Lateness, idle, err
}

// changes returns the state to commit, under keys that begin with the combine's number.
func (c *combine) changes(dst []checkpoint.KV) []checkpoint.KV {
	c.changed = false
	kvs := c.table.Changes()
	n := 0
	for _, kv := range kvs {
		n += len(c.prefix) + len(kv.Key)
	}
	buf := make([]byte, 0, n)
	for _, kv := range kvs {
		at := len(buf)
		buf = append(append(buf, c.prefix...), kv.Key...)
		dst = append(dst, checkpoint.KV{Key: buf[at:len(buf):len(buf)], Value: kv.Value})
	}
	return dst
}

// restore takes its part of the recovered state.
func (c *combine) restore(kvs []checkpoint.KV) error {
	var own []checkpoint.KV
	for _, kv := range kvs {
		number, n := binary.Uvarint(kv.Key)
		if n <= 0 {
			return fmt.Errorf("restore state: key %x does not begin with a number", kv.Key)
		}
		if number == uint64(c.number) {
			own = append(own, checkpoint.KV{Key: kv.Key[n:], Value: kv.Value})
		}
	}
	return c.table.Restore(own)
}
