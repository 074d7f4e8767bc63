// Package store keeps the control state (D4): a small log with compare-and-set and watch, in a NATS JetStream stream that is
// embedded in the process and reachable only from inside it.
//
//	s, err := store.Open(dir)
//	value, _, ok := s.Get("plans/smack/events")
//	at := s.Revision()                                   // read first …
//	rev, err := s.Put(ctx, at, "plans/smack/events", v)  // … then write what was decided on it
//	var stale store.ErrStale
//	if errors.As(err, &stale) { … }                      // somebody wrote since: read and decide again
//
// Every write names the last revision of the whole store at which its decision was read, and is refused when anything at all
// was written since (I8): a deposed master can write nothing, and no two keys can disagree. Read Revision before the values
// that a decision stands on, never after. A write is on the disk (fsync) before Put returns.
//
// Only a single write is atomic. There is no write of many keys at once, because the atomic batches of the log below have lost
// writes: keep one key per aggregate (all of one service's plan under one key), and where two keys must change, order the writes
// so that a crash between them leaves a state that the next pass completes (I4).
//
// It never listens on a network, never holds user data, never hands out a value that a caller can change for another, and
// never answers from anything but its own view, which follows the log. Keys are segments of [a-zA-Z0-9_-] joined by '/', at most
// 512 bytes; values have at most 512 KiB. Secrets are sealed before they are written: see Secrets.
package store
