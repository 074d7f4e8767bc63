package state

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/weir-project/weir/pipelines/column"
)

const signBit = 1 << 63

// appendKey appends row's key: for each column a byte that says whether there is a value, then the value so that the order of the bytes is
// the order of the values (docs/formats/combine-state.md).
func appendKey(dst []byte, cols []*column.Column, row int) []byte {
	for i, c := range cols {
		if c.IsNull(row) {
			dst = append(dst, 0)
			continue
		}
		dst = append(dst, 1)
		switch c.Kind {
		case column.Int64, column.Timestamp:
			dst = binary.BigEndian.AppendUint64(dst, uint64(c.Ints[row])^signBit)
		case column.Float64:
			dst = binary.BigEndian.AppendUint64(dst, orderedBits(c.Floats[row]))
		case column.Bool:
			dst = append(dst, boolByte(c.Bools[row]))
		default:
			if i == len(cols)-1 { // nothing follows that it must be told apart from
				dst = append(dst, c.At(row)...)
			} else {
				dst = appendEscaped(dst, c.At(row))
			}
		}
	}
	return dst
}

// appendEscaped writes 0 as 0 255 and ends with 0 1, so that a prefix sorts before what it begins.
func appendEscaped(dst, v []byte) []byte {
	for _, b := range v {
		if dst = append(dst, b); b == 0 {
			dst = append(dst, 255)
		}
	}
	return append(dst, 0, 1)
}

// decodeKey appends the key's values to cols, which have the key's kinds.
func decodeKey(key []byte, cols []column.Column, scratch []byte) ([]byte, error) {
	whole := len(key)
	for i := range cols {
		c := &cols[i]
		if len(key) == 0 {
			return scratch, fmt.Errorf("read key of %d bytes: column %d of %d is missing", whole, i+1, len(cols))
		}
		present := key[0] == 1
		if key = key[1:]; !present {
			c.AppendNull()
			continue
		}
		n := 8
		switch c.Kind {
		case column.Bool:
			n = 1
		case column.String, column.Bytes:
			n = 0
		}
		if len(key) < n {
			return scratch, fmt.Errorf("read key of %d bytes: column %d ends early", whole, i+1)
		}
		switch c.Kind {
		case column.Int64, column.Timestamp:
			c.AppendInt(int64(binary.BigEndian.Uint64(key) ^ signBit))
		case column.Float64:
			c.AppendFloat(fromOrderedBits(binary.BigEndian.Uint64(key)))
		case column.Bool:
			c.AppendBool(key[0] == 1)
		default:
			if i == len(cols)-1 {
				c.AppendString(key)
				n = len(key)
				break
			}
			if scratch, n = unescape(scratch[:0], key); n < 0 {
				return scratch, fmt.Errorf("read key of %d bytes: the text of column %d has no end", whole, i+1)
			}
			c.AppendString(scratch)
		}
		key = key[n:]
	}
	if len(key) > 0 {
		return scratch, fmt.Errorf("read key of %d bytes: %d are left after %d columns", whole, len(key), len(cols))
	}
	return scratch, nil
}

func unescape(dst, src []byte) ([]byte, int) {
	for i := 0; i < len(src); i++ {
		if src[i] != 0 {
			dst = append(dst, src[i])
			continue
		}
		if i++; i == len(src) {
			break
		}
		if src[i] == 1 {
			return dst, i + 1
		}
		dst = append(dst, 0)
	}
	return dst, -1
}

// orderedBits maps floats to integers of the same order: -0 is 0, and every NaN is one key after all others.
func orderedBits(f float64) uint64 {
	if f == 0 {
		f = 0
	}
	if f != f {
		return math.MaxUint64
	}
	b := math.Float64bits(f)
	if b&signBit != 0 {
		return ^b
	}
	return b | signBit
}

func fromOrderedBits(b uint64) float64 {
	switch {
	case b == math.MaxUint64:
		return math.NaN()
	case b&signBit != 0:
		return math.Float64frombits(b &^ signBit)
	}
	return math.Float64frombits(^b)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// hash folds 8 bytes at a time by a 128-bit product, as wyhash does. The seed comes from outside, so that keys chosen to collide do not.
func hash(key []byte, seed uint64) uint64 {
	const k1, k2 = 0x9e3779b97f4a7c15, 0xe7037ed1a0b428db
	h := seed ^ k1*uint64(len(key))
	for len(key) >= 8 {
		h = fold(h^binary.LittleEndian.Uint64(key), k1)
		key = key[8:]
	}
	var tail uint64
	for i, b := range key {
		tail |= uint64(b) << (8 * i)
	}
	return fold(h^tail, k2)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
