// Package compile turns a pipeline document into the physical graph that workers run: stages cut into fragments, fragments into
// slots, channels into topics and tables, each with the reason that `weir plan` prints. It also says whether a changed pipeline
// may go on where the old one stands (D8), and writes what `weir graph` shows.
//
// It is a function of its arguments: it opens no file and asks no service. What it refuses is a fault with line, column and what
// to type.
//
//	g, err := compile.Pipeline(compile.Input{File: "flights.yaml", Source: src, Services: stack.Operators(), Dir: "/srv/flights"})
//	fmt.Print(compile.Explain(g))
//	change, err := compile.Compatible(running, g)
package compile
