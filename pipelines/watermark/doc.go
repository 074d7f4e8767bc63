// Package watermark says how far event time has come: "no row that is still to come is earlier than this".
//
// Two kinds of input have one. A source tells its own with a Tracker, from the event times seen and the bound that its author
// declared on their disorder. A channel between workers has the Merge of what its writers published in their transactions (D8):
//
//	m := watermark.NewMerge([]int32{0, 12})   // the partitions that this slot reads
//	m.Begin(run)
//	m.Observe(published)                      // from the channel's watermark topic, in its order
//	m.Advance(0, 42)                          // everything of partition 0 before offset 42 was read and processed
//	m.Watermark(0)                            // and Ended(0)
//	progress.Upstream[channel] = m.AppendBinary(nil, place)
//
// A publication counts for a partition once the reader has passed the end that it names for it: what its writer had written
// by then has been read, and what it writes later is not earlier than the published watermark. Until every writer was heard the
// watermark is column.MinTime. It never goes back.
//
// The package reads no clock and starts nothing: the time of day is an argument.
package watermark
