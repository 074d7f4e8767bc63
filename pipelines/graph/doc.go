// Package graph gives a pipeline's syntax its meaning: the schema of every transform's output, the order of the stages, what
// comes to an end, and which channel carries what. What it accepts has a run-time meaning; what it refuses names the place, the
// reason and the nearest name.
//
// It decides nothing about how a stage runs (fragments, slots and topics are pipelines/compile's), and opens nothing: deployed
// channels and services are arguments.
//
//	g, err := graph.Build(doc, graph.Env{Services: map[string]string{"events": "kafka"}})
//	g.Stages[0].Nodes[1].Out.Names()     // [origin delay]
package graph
