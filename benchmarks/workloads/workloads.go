// Package workloads holds what is measured: a pipeline that a user could write, a generator of its input from a seed, and the truth, which is
// the hash of the output that the generator computes while it writes the input.
//
//	truth, err := workloads.Events(w, 1_000_000, seed)   // NDJSON into w
//	h := &workloads.Hash{}
//	h.Add(row)                                           // of a system's output, in any order
//	h.String() == truth.String()
//
// It opens nothing and measures nothing: benchmarks/harness runs systems, benchmarks/peers are other systems.
package workloads

import (
	"crypto/sha256"
	_ "embed" // the pipelines
	"encoding/binary"
	"fmt"
)

// Names of the workloads.
const (
	PassThrough = "w1"
	Yahoo       = "w3"
)

// Workload is one entry of `weir bench list`.
type Workload struct {
	Name, Title string
	Needs       string // beyond the binary
	Events      int    // by default
	Pipeline    []byte // what Weir runs
	Deployed    []byte // the same in a stack, where that is measured too
}

//go:embed w1.yaml
var w1 []byte

//go:embed w1-deployed.yaml
var w1Deployed []byte

//go:embed w3.yaml
var w3 []byte

// All lists the workloads.
func All() []Workload {
	return []Workload{
		{PassThrough, "Kafka pass-through: values of 100 bytes from one topic into another", "a Kafka, which it starts (JDK 17), and this repository", 3_000_000, w1, w1Deployed},
		{Yahoo, "Yahoo streaming benchmark: filter, project, look the campaign of an ad up, count per campaign and 10 s", "nothing; its peers in Go need this repository, DuckDB a Python", 3_000_000, w3, nil},
	}
}

// Hash is the hash of a multiset of rows: rows may come in any order, and one that is missing, doubled or changed is seen. The zero value is
// that of no rows.
type Hash struct {
	sum  uint64
	Rows int64
}

// Add takes a row.
func (h *Hash) Add(row []byte) {
	s := sha256.Sum256(row)
	h.sum += binary.LittleEndian.Uint64(s[:])
	h.Rows++
}

// String is the hash and the number of rows.
func (h Hash) String() string { return fmt.Sprintf("%016x/%d", h.sum, h.Rows) }

// AddCount takes a row of the Yahoo benchmark's output: how many views a campaign had in the window that starts at a millisecond.
func (h *Hash) AddCount(campaign string, windowMillis, views int64) {
	h.Add(fmt.Appendf(nil, "%s %d %d", campaign, windowMillis, views))
}
