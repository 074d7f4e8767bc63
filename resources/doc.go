// Package resources holds the words of the resource layer: what an agent has, what it offers, what a
// framework answers, what becomes of a task. The model and the words are those of Apache Mesos
// (include/mesos/v1/mesos.proto); names differ only where Go asks for it.
//
// It decides nothing, keeps nothing and touches nothing outside its arguments. The decisions are in
// resources/allocator, resources/master and resources/agent; the doing is in resources/server and
// resources/process.
//
//	have := resources.Resources{resources.Scalar("cpus", 2000), resources.Scalar("mem", 8192*1000)}
//	want := resources.Resources{resources.Scalar("cpus", 200)}
//	if have.Contains(want) {
//		left := have.Sub(want) // cpus(1.8); mem(8192)
//	}
package resources
