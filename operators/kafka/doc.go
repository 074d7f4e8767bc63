// Package kafka runs a Kafka (KRaft, combined nodes) as a pure function: Decide says which plan follows from the spec and what was
// observed, Command says how a broker is started. The properties, flags and their reasons are those of a run against Kafka 4.3.1.
//
// It opens no connection, draws no password, finds no Java and reads no clock: those are arguments. Secrets are in files (0600) of the
// sandbox and never in an argument or the environment.
//
//	p := kafka.Decide(spec, observed)
//	task, err := kafka.Command(launch, outcome.Placement, kafka.Env{Java: java, Libs: libs}, secrets)
//
// A lone broker has replication 1 and min ISR 1; more than one broker is refused by the stack's reader until quorum changes are plans.
package kafka
