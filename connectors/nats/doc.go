// Package nats reads and writes JetStream streams, through nats.go.
//
//	c, err := nats.Dial(ctx, connection, "weir-worker-1")      // one a process, shared by its slots
//	src, err := nats.NewSource(c, cfg)                         // connectors.Source: a stream is one split
//	sink, err := nats.NewOutbox(ctx, c, cfg, schema, "p/u/s/f0/0")
//
// A position is the stream's sequence and lives in the slot's progress: consumers are ephemeral, acknowledge nothing and hold nothing that matters,
// so that any sequence can be read again. What was removed before it was read, a stream that is gone and one that was made anew under the same
// name are errors with the numbers and the next command, never a silent gap.
//
// The sink publishes after the commit. Each message has an id of its slot and its write timestamp (docs/formats/nats-outbox.md), which the server
// drops where it comes again within the stream's duplicate window; whenever it is not known what became of a message (a takeover, an answer that
// did not come, half a window gone by) the sink looks into the stream before it publishes again. So a repeat changes nothing, however long
// the outage, unless a process stands still for longer than half a window between two lines of code, or messages leave the stream before the look.
//
// It makes no stream (operators/admin does, C7), changes none, and deletes nothing.
package nats
