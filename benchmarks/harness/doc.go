// Package harness measures systems honestly: it runs each as a process of its own, counts the CPU of its whole process tree, checks its output against
// the truth, interleaves the rounds, and says with every number which machine, commit and versions it is of. benchmarks/METHODOLOGY.md has the rules.
//
//	b := harness.Bench{Workload: "w3", Events: n, Truth: truth.String(), Systems: systems, Rounds: 5}
//	result, err := b.Run(ctx)
//	result.CPUSeconds.Median / float64(n) * 1e9     // ns of CPU an event
//
// It knows no system and no workload; it generates nothing and starts no service.
package harness
