// Package server is the edge around the pure resources/master: one loop that owns it, the agents' links, and the streams of the
// frameworks in this process (they use the same Call and Event as the wire, C2).
//
//	m := server.New(server.Config{Term: term, Log: log})
//	mux.Handle("POST /v1/agents", m.AgentHandler()) // on a listener of internal/link
//	go m.Run(ctx)
//
//	events, err := m.Subscribe(ctx, resources.FrameworkInfo{ID: "flights-events", Name: "events", Role: "flights-events"})
//	for e := range events { // ends when ctx does, when another subscribes with the same id, or when nobody reads
//		err := m.Call(ctx, resources.Call{Framework: "flights-events", Type: resources.CallAccept, …})
//	}
//
// It decides nothing, stores nothing, and never waits for a framework or an agent that does not take what it is sent: that one
// loses its stream, and says what it has missed when it comes back.
package server
