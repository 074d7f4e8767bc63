package beam

import (
	"errors"

	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
)

// The flags of an element.
const (
	flagDerived byte = 1 << iota // the rows left a combine: I2 does not follow them any more
	flagNothing                  // no rows: it makes the group of a sink whose input is empty
)

// batchRows is the size of a batch that a source reads.
const batchRows = 2048

// encode makes an element of a batch. It never returns memory that is used again: a runner may keep what it was given.
func encode(b *column.Batch, flags byte) []byte {
	return codec.AppendBatch([]byte{flags}, b)
}

var errElement = errors.New("read an element: it is empty")

// decode reads an element into b, which is emptied first.
func decode(b *column.Batch, element []byte) (flags byte, err error) {
	if len(element) == 0 {
		return 0, errElement
	}
	b.Reset()
	if element[0]&flagNothing != 0 {
		return element[0], nil
	}
	return element[0], codec.DecodeBatch(b, element[1:])
}
