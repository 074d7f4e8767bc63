// Package transform declares the transforms of the pipeline language once (D14): their config fields, inputs, outputs, and what
// Weir's own `weir:` block may say about them. Validation, "did you mean", and the documentation come from this one table.
//
// It only declares: pipelines/dsl checks documents against it, pipelines/graph gives each transform its meaning. Beam's own
// transforms are marked Portable; the others are Weir's and make a file that Beam's launcher refuses.
//
//	d, ok := transform.Lookup("Filter")
//	f, ok := d.Field("keep")     // {Name: keep, Type: Expression, Required: true, …}
package transform
