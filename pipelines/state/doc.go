// Package state is what a keyed, windowed combine remembers between batches: one accumulator for each key, window and aggregate.
//
//	t, err := state.New(state.Config{Keys: kinds, Aggs: aggs, Window: assigner, Lateness: lateness, Seed: seed})
//	absorbed, late, err := t.Update(batch, keyColumns, values)
//	err = t.Fire(watermark, out, 1024, emit)  // windows that are complete, by window and then by key
//	kvs := t.Changes()                        // since the last call: for checkpoint.Commit.State
//	err = t.Restore(recovered.State)          // what an earlier owner committed
//
// Each open window has its own open-addressing index, so that firing drops it whole; accumulators of all windows lie in flat arrays, one
// loop a batch and aggregate, nothing allocated per row, nothing for the collector to scan. What is kept is copied: batches may be reused.
//
// Output is a function of the rows alone: the hash (with its seed) decides no order. It does not spill: state lives in memory. It does no
// I/O, keeps no clock, and a Table is used by one goroutine. Do not use it for sessions: their windows merge.
package state
