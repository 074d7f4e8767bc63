// Package kafka runs a Kafka (KRaft, combined nodes) as a pure function: Decide says which plan follows from the spec and what was
// observed, Command says how a broker is started. The properties, flags and their reasons are those of a run against Kafka 4.3.1.
//
// It opens no connection, draws no password, finds no Java and reads no clock: those are arguments. Secrets are in files (0600) of the
// sandbox and never in an argument or the environment.
//
//	p := kafka.Decide(spec, observed)
//	task, err := kafka.Command(launch, outcome.Placement, kafka.Env{Java: java, Libs: libs}, secrets)
//
// Brokers come and go by the plan alone: one that is new gets its share of the replicas, one that leaves is emptied first. Spread computes where
// replicas go. The first broker is the controller, and stays; CheckSize says which size is refused.
package kafka
