// Package column holds what flows through a pipeline: typed columns of 1 to 4 thousand rows (D7), their schema, and
// the watermark and epoch that travel with them.
//
// Strings are spans of a shared buffer, often the very bytes that a connector fetched, so a batch is valid only until
// its owner releases it: whatever outlives the batch (state, buffered output) copies. A batch never knows where it came
// from and never does I/O.
//
//	b := column.NewBatch(schema, 1024)
//	b.Cols[0].AppendString([]byte("ORD"))
//	b.Cols[1].AppendInt(12)
//	b.AppendTime(978307200_000_000)
//	b.N++
package column
