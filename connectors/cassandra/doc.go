// Package cassandra writes the rows of a pipeline to tables, and reads tables by token ranges, through gocql.
//
//	s, err := cassandra.Dial(ctx, connection)              // one a process, shared by its slots
//	sink, err := cassandra.NewOutbox(s, channel, schema)   // connectors.Outbox of one slot
//	src, err := cassandra.NewSource(s, channel)            // connectors.Source: 12 ranges of the ring
//
// A row is staged with its final write timestamp and applied after the commit (docs/formats/cassandra-outbox.md). Timestamps strictly increase, so
// applying rows twice, or side by side, leaves the newest: readers never see a key go back. Apply returns when LOCAL_QUORUM has acknowledged every row.
//
// What fails for a while (a node that starts, a timeout, no host in the pool) is tried again with back-off for RetryFor; what cannot succeed (an
// unknown table, a refused role) returns at once.
//
// Cassandra's timestamp has milliseconds and Weir's microseconds: a time between two milliseconds is refused when it is staged, never rounded.
//
// It makes no keyspace and no table (operators/admin does; operators.Table.DDL is the statement), and never writes to more than one partition in a batch.
package cassandra
