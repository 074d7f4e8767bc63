// Package operatortest proves the operators: stories told in scenario files against a simulated cluster, a property over random clusters, and
// the real Kafka and Cassandra started from the command builders without a resource layer.
//
// It is imported by tests alone. Host is the smallest thing that can carry a task out: it writes the files, runs the preparations, starts the
// process, and ends it by its pid. A Rig starts a Kafka or a Cassandra for tests that want a real one:
//
//	k := operatortest.NewRig(t).Kafka()   // runs and answers; ends with the test
//	topics, err := k.Client.Topics(ctx)
//	err = k.Kill()                        // kill -9
//	err = k.Start(ctx)                    // on what it left
package operatortest
