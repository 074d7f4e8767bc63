// Package stacks reads the Stack document: a named set of services, the pipelines that run on them, and their order. It loads,
// validates and resolves; it deploys nothing and opens no file (the documents come in as bytes).
//
//	s, err := stacks.Load("stack.yaml", source)      // every mistake with file:line:col, a reason and a hint
//	r, err := stacks.Resolve(stacks.Bundle{…})       // the stack with its pipelines compiled to physical graphs
//	r.Graphs[0].Stages[0].Fragments[0].Slots
package stacks
