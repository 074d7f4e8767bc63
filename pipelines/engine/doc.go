// Package engine runs slots: it reads splits into batches, pushes each batch through the fused transforms of a fragment, and makes what came
// out, the state and the positions durable in one atomic commit (D8).
//
//	slot := engine.NewSlot(engine.SlotConfig{Slot: id, Fragment: f, Run: 1, Term: 4, Connections: c})
//	err := slot.Run(ctx)        // nil when it ended or was stopped, checkpoint.ErrFenced when a higher term took it over
//
//	result, err := engine.RunLocal(ctx, engine.Local{Graph: g, Connections: c, Out: os.Stdout})
//	err = engine.RunWorker(ctx, engine.WorkerConfig{Task: "workers-0", Dial: dial, Connect: connect})
//
// One slot is one loop and one select. Each split has a goroutine that reads ahead by one batch; each channel that is read has one that follows
// its watermarks. Everything else happens in the loop: kernels, windows, commit, and applying the outbox. A sink that is slow stops the loop, so
// it stops the readers: that is the back-pressure.
//
// # Memory
//
// A slot holds at most one batch of BatchRows rows for each split, MaxBufferedBytes or MaxBufferedRows of output (then it commits at once,
// without waiting for the interval), and the state of its open windows, which does not spill yet. A fragment that commits once (Fragment.Once)
// holds all of its output instead: it is for sinks that make one whole out of a bounded input.
//
// The engine never opens a connection by itself (Connections does, wired by internal/cli), never knows which technology a source is, and keeps no
// lease: the log fences (C5). It does not decide what runs where.
package engine
