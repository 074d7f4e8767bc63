package kafka

import (
	"slices"

	"github.com/weir-project/weir/connectors/kafka/record"
)

// committedFilter drops what read_committed must not show: control batches, and batches of aborted transactions. It holds for one
// partition of one answer: the broker lists the aborted transactions that overlap it.
type committedFilter struct {
	coming []aborted      // by first offset
	open   map[int64]bool // producers whose aborted transaction is under way at this point
}

func newCommittedFilter(list []aborted) *committedFilter {
	f := &committedFilter{coming: slices.Clone(list), open: map[int64]bool{}}
	slices.SortFunc(f.coming, func(a, b aborted) int { return int(min(max(a.first-b.first, -1), 1)) })
	return f
}

// drops reports whether the batch has nothing to show. scratch is for reading a marker.
func (f *committedFilter) drops(b *record.Batch, scratch *record.Columns, codec record.Codec) (bool, error) {
	for len(f.coming) > 0 && f.coming[0].first < b.Next {
		f.open[f.coming[0].producer] = true
		f.coming = f.coming[1:]
	}
	if !b.Control {
		return b.Transactional && f.open[b.ProducerID], nil
	}
	marker, err := b.Marker(scratch, codec)
	if marker == record.Abort {
		delete(f.open, b.ProducerID)
	}
	return true, err
}
