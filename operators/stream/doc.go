// Package stream runs a fleet of stream workers as pure functions. Decide is the plan of the service: the topics and tables of its pipelines
// (phase channels), then its workers, then the end of those that are too many. Assign gives every slot that may run to one worker under a
// term: sticky, balanced, a dead worker's slots to the living at once.
//
// It opens no connection and starts no process, and it never decides twice for one slot: the state that comes out is what goes in next
// time, and terms only grow.
//
//	p := stream.Decide(spec, stream.Input{Observed: o, Graphs: graphs, Services: services})
//	next := stream.Assign(stream.Request{Runs: runs, Workers: tasks, Previous: state})
//	for task, message := range next.Messages(runs, connections, install) { … }
package stream
