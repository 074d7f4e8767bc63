// Package operators holds the words of the operators wing: what a service shall be (ServiceSpec), what a pod of it wants
// (PodSpec), what was seen (Observed, made of facts that are known at a time or unknown), and what may be done (Action, a
// closed union). The decisions are in operators/kafka, operators/cassandra, operators/stream, operators/plan and
// operators/evaluate; the doing is in operators/admin, operators/artifact and operators/reconcile.
//
// It decides nothing, keeps nothing, touches nothing outside its arguments and holds no secret value in anything that prints.
//
//	spec := operators.ServiceSpec{Stack: "smack", Name: "events", Operator: "kafka", Version: "4.3", Size: 1}
//	spec.Role()         // smack/events: the role that its reservations belong to
//	spec.PodName(0)     // events-0
//	spec.PodRevision()  // what a task of it carries as a label; a change of size does not change it
//
// One pass of a controller: observe -> Decide(spec, observed) -> plan -> candidates -> evaluate an offer -> Command -> accept.
package operators
