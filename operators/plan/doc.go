// Package plan is the tree that every change of a service is: a plan of phases of steps (D5). A step has a stable id, an action and a
// postcondition that was asked on this pass; its status is derived and never stored, so that no stored "complete" can lie.
//
// It starts nothing, reads no clock and keeps nothing: Decide functions build a plan from what was observed, the reconciler carries out
// its candidates, and what was done is seen on the next pass.
//
//	p := kafka.Decide(spec, observed)
//	p.Apply(plan.Overrides{Paused: map[string]bool{"broker": true}})
//	for _, step := range p.Candidates(now) { … }
//	fmt.Print(p)
//
// prints
//
//	plan deploy of events (revision 1f2e3d4c5b6a): in progress
//	  phase broker (serial): in progress
//	    events-0:launch  complete
//	    events-0:ready   started    the broker does not answer yet: dial tcp 127.0.0.1:20001: connection refused
package plan
