// Package operatortest proves the operators: stories told in scenario files against a simulated cluster, a property over random clusters, and
// the real Kafka and Cassandra started from the command builders without a resource layer.
//
// It is imported by nothing. Host is the smallest thing that can carry a task out: it writes the files, runs the preparations, starts the
// process, and ends it by its pid.
//
//	h := operatortest.Host{Dir: t.TempDir()}
//	p, err := h.Start(spec)     // files, preparations, process
//	p.Kill(syscall.SIGKILL)
package operatortest
