// Package archtest holds the arrows of the house (C13): which package may import which, what a pure package may not touch, who may
// reach a library. table.go is the whole knowledge; a package that is not in it fails the test, so that its ring is chosen and not
// guessed.
//
// It reads source and nothing else: no type checker, no build. So the rules hold for every operating system at once, and for code
// that does not compile at the moment. Files named _test.go are free, and so are files under a folder named testdata.
//
// What it cannot see: a clock, a goroutine or a file that a pure package is handed as a function value. That is what arguments are
// for.
//
//	tree, err := archtest.Load(os.DirFS("../.."))
//	for _, v := range archtest.Check(tree) {
//		fmt.Println(v)      // resources/allocator/drf.go:41: a pure package uses time.Now: take the time as an argument
//	}
package archtest
