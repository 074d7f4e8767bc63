// Package beam runs a bounded fragment as an Apache Beam pipeline: the same kernels (package kernel, package state) over encoded batches, moved,
// grouped and windowed by a Beam runner. Only cmd/weir-beam imports it, since Beam's SDK is most of that binary.
//
//	result, err := beam.Run(ctx, job, connections) // runner prism: in this process
//
// An element is a batch of rows (codec.AppendBatch) behind a byte of flags; in front of a combine it is a key with the partial aggregate of a batch's rows
// in one window. Beam's windows group the partials, by event times that are set on the elements; the exact times, in microseconds, stand in the batches.
//
//	read      splits -> Reshuffle -> rows
//	map …     chains of kernels, one DoFn a chain
//	combine   partials by key -> WindowInto -> CombinePerKey -> rows
//	sinks     all rows to one key -> the connector stages them, or they are printed or compared
//
// Run makes nothing visible: what sinks staged comes back in the result, and whoever called commits and applies it (D8). A bundle that a runner repeats
// stages anew and is counted again by Beam's rules (committed counters). compile refuses beforehand what does not run here.
//
// The SDK keeps runner and endpoint in global flags and its registrations in global tables, so there is one Run at a time in a process. Prism listens on
// every interface and asks nobody for a password: never call Run outside a network namespace of its own (package isolate).
package beam
