// Package physical holds the compiled form of a pipeline: stages cut into fragments, fragments into slots, and the
// channels between them. It is what `weir plan` and `weir graph` print and what travels to the workers as JSON; its
// format is versioned in docs/formats.
//
// It holds types only: pipelines/compile makes them, pipelines/engine runs them, operators/stream places them. Nothing here
// names an address, a credential or a process.
package physical
