// Package scripts holds the tests of the shell scripts beside it. The scripts get a machine ready and cut the bundled data; no code of
// Weir calls them, and this package has no code but tests.
//
//	go test ./scripts
package scripts
