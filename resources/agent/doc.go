// Package agent decides what an agent does: which operations of the master it takes, what state each task is in, what it
// reports and repeats. It is the state machine; resources/process carries its effects out on this host.
//
//	a := agent.New(agent.Config{Info: info, NewID: uuid}, saved)
//	for _, e := range a.Command(now, command) {
//		switch e := e.(type) {
//		case agent.Save:   // write a.Saved() before anything that follows
//		case agent.Start:  // launch e.Info
//		case agent.Stop:   // SIGTERM, or SIGKILL when e.Hard
//		case agent.Report: // send e.Report to the master
//		}
//	}
//
// It never starts a process, reads a clock, writes a file or sends a message: time and ids are arguments, effects are values.
package agent
