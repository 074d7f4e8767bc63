// Package master decides for all agents and frameworks: who is offered what, which accepted offer may do what it asks, what is
// said to whom about which task. It is a state machine: an event and the time go in, effects come out.
//
//	m := master.New(now, master.Options{Term: term, NewID: ids})
//	for _, e := range m.Step(now, master.Called{Call: call}) {
//		switch e := e.(type) {
//		case master.SendAgent:     // e.Command to e.Agent
//		case master.SendFramework: // e.Event to e.Framework
//		case master.Refuse:        // the event changed nothing; e.Err says why
//		}
//	}
//	wake := m.Next() // call m.Tick then, or after the next event
//
// Agents are the truth about tasks, reservations and volumes: the table here is rebuilt from their registrations, and nothing of
// it is stored. A refused call leaves everything as it was (I7): offers stay valid, and no status is made up for a task that was
// never launched (Mesos sends one; its wire can translate Refuse into that).
//
// It never starts a goroutine, reads a clock, draws an id, or sends anything.
package master
