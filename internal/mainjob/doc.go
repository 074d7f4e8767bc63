// Package mainjob holds the integration test of the main job: one command brings up a real Kafka, a real Cassandra and stream workers, a
// pipeline moves real records through them, and the numbers equal those of an independent computation, whatever is killed meanwhile.
//
// It holds no code but tests. They drive the real binaries, read Kafka with another client than Weir's and Cassandra with the bare
// driver, and are skipped by -short.
package mainjob
