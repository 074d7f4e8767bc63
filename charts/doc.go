// Package charts holds the tests of the Helm chart beside it: that the definition of Stacks is what the declaration says, that what the chart
// renders asks for nothing it does not need, and that its permissions are those that the server's code uses. No code of Weir reads the
// chart, and this package has no code but tests.
//
//	go test ./charts -rewrite      # writes what is generated: `make generate`
package charts
