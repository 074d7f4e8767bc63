// Package window divides event time: which windows a row falls into, and when each of them ends.
//
//	a, err := window.New(physical.WindowConfig{Type: "fixed", Size: time.Hour})
//	starts := a.Assign(t, starts[:0])    // one start for fixed and global, several for sliding
//	a.End(starts[0])                     // exclusive
//	a.MaxTime(starts[0])                 // the last microsecond inside: the event time of what a combine emits
//
// All times are microseconds since 1970 (column.Time); times before 1970 round towards the past, so that windows have the
// same length everywhere. Bounds that would lie beyond the range of event time are clamped to it.
//
// Sessions merge, which these functions cannot say: New refuses them. The package keeps no state and reads no clock.
package window
