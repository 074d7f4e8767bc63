package engine

import (
	"fmt"
	"strings"

	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
)

// encoder makes the records of a channel: rows in JSON (C6), keys as Kafka's own clients would choose partitions by.
type encoder struct {
	rows *codec.JSONEncoder
	keys []int
}

func newEncoder(in column.Schema, key []string) (encoder, error) {
	e := encoder{rows: codec.NewJSONEncoder(in)}
	for _, k := range key {
		i := in.Index(k)
		if i < 0 {
			return encoder{}, fmt.Errorf("the channel's key %s is not a column of the rows (%s)", k, strings.Join(in.Names(), ", "))
		}
		e.keys = append(e.keys, i)
	}
	return e, nil
}

func (e *encoder) row(dst []byte, b *column.Batch, row int) []byte {
	return e.rows.AppendRow(dst, b, row)
}

func (e *encoder) key(dst []byte, b *column.Batch, row int) []byte {
	return codec.AppendKey(dst, b, row, e.keys)
}
