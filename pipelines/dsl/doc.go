// Package dsl reads a pipeline's YAML into a positioned syntax tree: documents, stages, and for each stage its transforms with
// every name resolved to the transform that it means. It knows Beam YAML's shapes (chain, composite, source and sink, implicit
// Flatten) and the two documents: a plain Beam YAML file, and `kind: Pipeline`.
//
// It never infers a schema (pipelines/graph does), opens no file, and refuses what it doesn't know with line, column and the
// nearest name. Scalars follow YAML 1.1 as PyYAML reads it, because Beam does: `on` is true, `1:30` is 90, `1e3` is a string.
//
//	doc, err := dsl.Parse("flights.yaml", source)     // err is a fault, or a fault.List with every mistake
//	doc.Stages[0].Transforms[1].Inputs[0].From.Path   // "ReadFromCsv"
package dsl
