// Package resourcetest is the conformance suite of agents: what every kind of agent must do for a framework, whatever its tasks
// are made of. A kind of agent brings a Rig and calls Run; see resources/process for an example.
//
//	func TestConformance(t *testing.T) { resourcetest.Run(t, func(t *testing.T) resourcetest.Rig { return newRig(t) }) }
//
// It uses a real agent, a real master, and tasks that really run; nothing in it is emulated.
package resourcetest
