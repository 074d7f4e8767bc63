// Package checkpoint holds the words of a slot's atomic commit (D8): what one commit holds, what a takeover finds, and the
// log that makes it durable. The log is a Kafka transaction in connectors/kafka and a manifest file in pipelines/engine; both
// keep the same promise: all of a commit or nothing, and a slot has one owner.
//
// It does no I/O and keeps no clock.
//
//	r, err := log.Recover(ctx, term)      // aborts, fences and adopts: r.Progress is where to go on
//	…
//	done, err := log.Commit(ctx, &checkpoint.Commit{…, Progress: next})
package checkpoint

import (
	"context"
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
)

// Slot identifies one of a fragment's fixed parallel instances, for ever. UID is the pipeline's: one that is deleted and made anew has a new one.
type Slot struct {
	Pipeline string `json:"pipeline"`
	UID      string `json:"uid"`
	Stage    string `json:"stage"`
	Fragment string `json:"fragment"`
	Index    int    `json:"index"`
}

func (s Slot) String() string {
	return fmt.Sprintf("%s/%s/%s/%d", s.Pipeline, s.Stage, s.Fragment, s.Index)
}

// TransactionalID is install/namespace/uid/stage/fragment/slot.
func (s Slot) TransactionalID(install string) string {
	return fmt.Sprintf("%s/default/%s/%s/%s/%d", install, s.UID, s.Stage, s.Fragment, s.Index)
}

// Position is a place inside a split: everything before it was read. The connector gives it its meaning (a Kafka offset, a row of a file).
type Position struct {
	Offset int64  `json:"offset"`
	State  string `json:"state,omitempty"` // what else a connector needs, such as a paging state
	Ended  bool   `json:"ended,omitempty"` // the split has no more
}

// Counters are cumulative for a run of a slot. In + Copied = Out + Filtered + Late + DeadLettered + Absorbed (I2), where Absorbed are the rows
// that a combine took into its state and Copied the rows that a fan-out gave to one more branch (zero without one). Each row is followed to a
// sink or to the first combine; what a combine emits is counted by Emitted, and again by Written if it reaches a sink.
type Counters struct {
	In           int64 `json:"in"`
	Out          int64 `json:"out"`
	Filtered     int64 `json:"filtered"`
	Late         int64 `json:"late"`
	DeadLettered int64 `json:"dead_lettered"`
	Absorbed     int64 `json:"absorbed"`
	Emitted      int64 `json:"emitted"`           // rows that left a combine
	Copied       int64 `json:"copied,omitempty"`  // rows that a fan-out gave to one more branch
	Written      int64 `json:"written,omitempty"` // rows that reached a sink, those that a combine emitted included
}

// Progress is the last record of a commit: the only truth about positions.
type Progress struct {
	Version       int                 `json:"version"` // 1; docs/formats/progress.md
	Run           uint64              `json:"run"`
	Epoch         uint64              `json:"epoch"`
	Term          uint64              `json:"term"`
	Positions     map[string]Position `json:"positions,omitempty"` // by split: "node path|split id"
	Watermark     column.Time         `json:"watermark"`
	Watermarks    map[string]int64    `json:"watermarks,omitempty"` // by node path or "node path|split id": where that node's own watermark stands
	Upstream      map[string][]byte   `json:"upstream,omitempty"`   // by channel: the reader's watermark state and its place in that topic
	WriteTime     int64               `json:"write_time,omitempty"` // highest write timestamp given out, microseconds
	OutboxApplied int64               `json:"outbox_applied"`       // outbox entries below this offset have been applied
	Ended         bool                `json:"ended,omitempty"`
	Counters      Counters            `json:"counters"`
}

// Records are encoded messages of one partition, in order. Keys and Values are spans of Buf; a zero-length key is no key. Times are
// milliseconds since 1970, as Kafka's record timestamps are.
type Records struct {
	Buf    []byte
	Keys   []column.Span
	Values []column.Span
	Times  []int64
}

// Append copies one message.
func (r *Records) Append(key, value []byte, millis int64) {
	o := len(r.Buf)
	r.Buf = append(append(r.Buf, key...), value...)
	r.Keys = append(r.Keys, column.Span{Off: uint32(o), Len: uint32(len(key))})
	r.Values = append(r.Values, column.Span{Off: uint32(o + len(key)), Len: uint32(len(value))})
	r.Times = append(r.Times, millis)
}

// Len is the number of messages.
func (r *Records) Len() int { return len(r.Values) }

// Reset empties the set and keeps its memory.
func (r *Records) Reset() {
	r.Buf, r.Keys, r.Values, r.Times = r.Buf[:0], r.Keys[:0], r.Values[:0], r.Times[:0]
}

// Published is what an upstream slot says in its transaction to a channel's watermark topic (docs/formats/watermarks.md).
type Published struct {
	Version   int             `json:"version"`
	Run       uint64          `json:"run"`
	Writer    string          `json:"writer"`  // stage/fragment/slot
	Writers   int             `json:"writers"` // how many write this channel
	Epoch     uint64          `json:"epoch"`
	Term      uint64          `json:"term"`
	Watermark column.Time     `json:"watermark"`
	Idle      bool            `json:"idle,omitempty"`
	Ended     bool            `json:"ended,omitempty"`
	Ends      map[int32]int64 `json:"ends,omitempty"` // by partition: the offset after the last record that this writer wrote to it so far in the run
}

// KV is a change of keyed state; a nil Value deletes.
type KV struct{ Key, Value []byte }

// Commit is all that becomes true at once.
type Commit struct {
	Outputs   map[string]map[int32]*Records // by topic, by partition
	Published map[string]*Published         // by watermark topic; the log fills in Ends from the acknowledged offsets of Outputs
	Sources   map[string]string             // output topic -> its watermark topic, for Ends
	State     []KV
	Outbox    [][]byte
	Progress  Progress
}

// Committed says where the outbox entries of a commit went: offsets First … First+len-1 (a log may leave gaps: Offsets lists each).
type Committed struct {
	Offsets []int64
}

// OutboxEntry is an outbox record that was committed and not yet said to be applied.
type OutboxEntry struct {
	Offset int64
	Value  []byte
}

// Recovered is what a takeover finds. Progress is nil where the slot never committed. Ends are, by watermark topic and partition, this
// writer's last published ends, so that the next Published carries on from them.
//
// Previous is the last progress of an earlier run of the slot, where this run has none yet: a new run reads its channels from the positions at
// which the one before ended (their records are that run's), its other sources from the beginning, and starts with no state.
type Recovered struct {
	Progress *Progress
	Previous *Progress
	State    []KV
	Outbox   []OutboxEntry
	Ends     map[string]map[int32]int64
}

// Log makes one slot's commits durable. It is used by one goroutine. After any error but ErrFenced the owner calls Recover again, which finds out
// what became of the commit whose outcome is unknown.
type Log interface {
	// Recover takes the slot over under a term: what an earlier owner left open is aborted, the earlier owner is fenced, the last progress is
	// found, and a claim with the term is committed. Where a higher term holds the slot it returns ErrFenced.
	Recover(ctx context.Context, run, term uint64) (*Recovered, error)
	// Commit makes all of c durable or nothing of it.
	Commit(ctx context.Context, c *Commit) (*Committed, error)
	// Close releases connections; what was committed stays.
	Close() error
}

type fenced struct{}

func (fenced) Error() string { return "another owner took the slot over" }

// ErrFenced ends a slot's owner: a higher term holds it.
var ErrFenced error = fenced{}
