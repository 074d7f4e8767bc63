// Package kafka is the exact and fast way between a slot and Kafka (D9): kafka-go's Transport at its low level, with fetch and produce
// messages of our own, and the slot's commit log as one Kafka transaction (D8).
//
// It never shows an aborted record, never guesses the outcome of a commit, never writes outside a transaction, and makes no topic:
// those are made by the stream operator's plan (C7).
//
//	client, err := kafka.Dial(connection, "weir-worker-1")
//	source := kafka.Channel(client, channel)                   // splits are partitions, rows are columns
//	log := kafka.NewLog(client, kafka.LogConfig{Install: "smack", Slot: slot, Changelog: "_weir.p.s.f0.changelog"})
//	found, err := log.Recover(ctx, run, term)                  // fences the owner before, finds where to go on
//	done, err := log.Commit(ctx, &checkpoint.Commit{…})        // everything or nothing
package kafka
