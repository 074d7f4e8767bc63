package codec

import "encoding/binary"

// Murmur2 is the hash of Kafka's Java client (org.apache.kafka.common.utils.Utils.murmur2, seed 0x9747b28c).
func Murmur2(key []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(key))
	for len(key) >= 4 {
		k := binary.LittleEndian.Uint32(key) * m
		h = h*m ^ (k^k>>r)*m
		key = key[4:]
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// Partition is the partition that Kafka's Java client chooses for a key among n.
func Partition(key []byte, n int) int32 { return int32(Murmur2(key)&0x7fffffff) % int32(n) }
