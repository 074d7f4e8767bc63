// Package connectortest is one conformance suite for every connector: what the engine counts on, as claims that a source or a sink keeps or breaks.
//
//	connectortest.TestSource(t, connectortest.Source{Ordered: true, Place: func(t testing.TB, rows []connectortest.Row) *connectortest.SourcePlace { … }})
//	connectortest.TestSink(t, connectortest.Sink{Place: func(t testing.TB) *connectortest.SinkPlace { … }})
//
// A connector declares what it can do (bounded or not, ordered, killed and restarted by the suite or not) and is held to all that it declares. A claim is
// a function that returns an error, so that the suite is tested too: for each claim a bug is planted into a good connector in memory
// (planted_test.go), and the claim must find it.
//
// Kafka's sink is no Outbox but the slot's transaction: its proofs are those of connectors/kafka.
package connectortest
