// Package kernel holds what the transforms of a fragment do to a batch: the same functions for every engine that runs a physical graph, so that an
// engine decides only how batches travel, and never what a row becomes.
//
//	f, err := kernel.NewFilter(node, in)
//	out, err := f.Apply(batch)       // shares the columns of batch, with a selection of its own
//
//	a, err := kernel.NewAssertion(node)
//	err = a.Add(batch)
//	err = a.Check()                  // *AssertionError where the rows are not those expected
//
// A batch is read-only: what a kernel returns is its own header over its own or the input's columns, valid until its next call. So a kernel is used by
// one goroutine. It keeps no state between batches that a commit would have to hold (that is package state), knows no watermark, counts nothing and does
// no I/O.
package kernel
