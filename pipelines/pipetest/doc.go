// Package pipetest runs pipelines without services: a broker in memory whose logs commit atomically and fence, sources that give the same rows each
// time, a table that keeps the newest write, and faults at every boundary where a slot may die.
//
//	world := pipetest.NewWorld()
//	world.Sources["read"] = pipetest.Rows(schema, 4, rows)       // four splits
//	world.Fault = pipetest.At(pipetest.CommitUnknown, 3)         // the third commit's outcome stays unknown
//	engine.NewSlot(engine.SlotConfig{…, Connections: world}).Run(ctx)
//	world.Tables["delays"].Rows()
//
// It is for tests and keeps everything. It takes no time of its own, so that it runs inside testing/synctest.
package pipetest
