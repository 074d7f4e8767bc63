// Package allocator decides who is offered what: dominant resource fairness (Ghodsi et al., NSDI 2011) over roles. What is left
// of an agent goes whole to the role whose dominant share is the lowest; a reservation goes to its own role alone and counts in
// that role's share, used or not (so that nobody hoards by reserving).
//
//	result := allocator.Allocate(allocator.State{Now: now, Agents: agents, Frameworks: frameworks})
//	for _, g := range result.Grants {
//		// offer g.Resources of g.Agent to g.Framework
//	}
//	for _, r := range result.Reasons {
//		fmt.Println(r) // framework stream: agent a1: filtered until 12:00:05
//	}
//
// It never remembers anything between two calls and never looks at a clock. Roles are plain: a name with a weight; State.share
// is the one place that a tree of roles would change.
package allocator
