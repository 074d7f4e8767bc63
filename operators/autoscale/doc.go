// Package autoscale decides how many workers a stream service shall have, and says why: from what its slots and workers measured of themselves to a size
// between the service's min and max, with a tree of reasons in which the numbers that were compared stand.
//
// The rule is DS2's (Kalavri et al., OSDI 2018, "Three steps is all you need"): a stage's true rate is what it processes in a second of useful time, so
// that the rate that it must reach gives the size in one step, however far away that is. Two things differ here, and both are said where they are computed.
// Useful time is CPU time of the workers, because CPU is what another worker adds; a slot that waits for its turn on a full machine is busy on the clock and
// is not served by more of the same machine. And a stage's slots are fixed, so that workers can be added in vain: in front of a sink that takes no more, for one
// hot slot, on a machine that is full. Each of these is refused and named.
//
// It starts nothing, reads no clock, keeps nothing outside its values and never looks at lag alone.
//
//	window.Slot(task, report, now)          // once for each report
//	o := window.Observe(fleet, stages, now) // averages over the window, or what is unknown
//	d, memory := autoscale.Decide(autoscale.Policy{}, o, memory)
//	fmt.Print(d.Reason)                     // what `weir why scale` prints
//	if d.Want != o.Workers { … }            // the caller carries it out, and notes it: memory.Change(…)
package autoscale
