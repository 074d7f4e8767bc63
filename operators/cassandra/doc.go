// Package cassandra runs a Cassandra as a pure function: Decide says which plan follows from the spec and what was observed, Command says
// how a node is started. The settings and their reasons are those of a run against Cassandra 5.0.9 on JDK 17.
//
// It opens no connection, draws no password, finds no Java and reads no clock: those are arguments. The node has no JMX port at all, and its
// client port takes mutual TLS only from the first moment on, so that the default account is never open to anybody else.
//
//	p := cassandra.Decide(spec, observed)
//	task, err := cassandra.Command(launch, outcome.Placement, cassandra.Env{Java: java, Libs: libs, Jamm: jamm}, secrets)
package cassandra
