package watermark_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/watermark"
)

const run = 3

// channel is a model of a topic with several writers: the truth against which the merge is judged.
type channel struct {
	writers    int
	partitions int
	records    [][]int64 // by partition: event times
	marks      []int64   // by writer: no later record of it is earlier
	ends       []map[int32]int64
	ended      []bool
	epoch      []uint64
	published  []checkpoint.Published
}

func newChannel(writers, partitions int) *channel {
	c := &channel{writers: writers, partitions: partitions, records: make([][]int64, partitions), marks: make([]int64, writers), ended: make([]bool, writers), epoch: make([]uint64, writers)}
	for range writers {
		c.ends = append(c.ends, map[int32]int64{})
	}
	return c
}

func (c *channel) write(w, p int, ahead int64) {
	c.records[p] = append(c.records[p], c.marks[w]+ahead)
	c.ends[w][int32(p)] = int64(len(c.records[p]))
}

func (c *channel) publish(w int, advance int64, idle, ended bool) {
	c.marks[w] += advance
	c.ended[w] = c.ended[w] || ended
	c.epoch[w]++
	ends := map[int32]int64{}
	for p, e := range c.ends[w] {
		ends[p] = e
	}
	mark := c.marks[w]
	if ended {
		mark = column.MaxTime
	}
	c.published = append(c.published, checkpoint.Published{Run: run, Writer: fmt.Sprint("w", w), Writers: c.writers, Epoch: c.epoch[w], Watermark: mark, Idle: idle, Ended: ended, Ends: ends})
}

// naive computes the watermark of a partition from all that was observed.
func (c *channel) naive(observed int, p int32, position int64) int64 {
	last := map[string]checkpoint.Published{}
	for _, pub := range c.published[:observed] {
		if pub.Run == run && pub.Ends[p] <= position {
			last[pub.Writer] = pub
		}
	}
	if len(last) < c.writers {
		return column.MinTime
	}
	mark := column.MaxTime
	for _, pub := range last {
		mark = min(mark, pub.Watermark)
	}
	return mark
}

func TestMergeIsNeverAheadOfWhatIsToComeAndEqualsItsNaiveTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newChannel(rapid.IntRange(1, 3).Draw(t, "writers"), rapid.IntRange(1, 3).Draw(t, "partitions"))
		ids := make([]int32, c.partitions)
		position := make([]int64, c.partitions)
		given := make([]int64, c.partitions)
		for p := range ids {
			ids[p], given[p] = int32(p), column.MinTime
		}
		m := watermark.NewMerge(ids)
		m.Begin(run)
		observed := 0
		check := func() {
			for p := range ids {
				mark, _ := m.Watermark(ids[p])
				if mark < given[p] {
					t.Fatalf("watermark of partition %d went back from %d to %d", p, given[p], mark)
				}
				given[p] = mark
				if want := c.naive(observed, ids[p], position[p]); mark != want {
					t.Fatalf("watermark of partition %d at %d is %d, naively %d", p, position[p], mark, want)
				}
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			w := rapid.IntRange(0, c.writers-1).Draw(t, "writer")
			p := rapid.IntRange(0, c.partitions-1).Draw(t, "partition")
			switch rapid.IntRange(0, 5).Draw(t, "do") {
			case 0, 1:
				if c.ended[w] {
					break
				}
				ahead := rapid.Int64Range(0, 50).Draw(t, "ahead")
				if at := c.marks[w] + ahead; at < given[p] {
					t.Fatalf("record at %d comes after the watermark %d of partition %d", at, given[p], p)
				}
				c.write(w, p, ahead)
			case 2:
				if !c.ended[w] {
					c.publish(w, rapid.Int64Range(0, 30).Draw(t, "advance"), false, rapid.IntRange(0, 9).Draw(t, "end") == 0)
				}
			case 3:
				if position[p] < int64(len(c.records[p])) {
					if at := c.records[p][position[p]]; at < given[p] {
						t.Fatalf("record at %d is read after the watermark %d of partition %d", at, given[p], p)
					}
					position[p]++
					m.Advance(ids[p], position[p])
				}
			case 4:
				if observed < len(c.published) {
					m.Observe(c.published[observed])
					observed++
				}
			case 5:
				state := m.AppendBinary(nil, int64(observed))
				back, place, err := watermark.ParseMerge(state)
				if err != nil || place != int64(observed) || !bytes.Equal(back.AppendBinary(nil, place), state) {
					t.Fatalf("state does not survive: %v", err)
				}
				m = back
			}
			check()
		}
		for w := range c.writers {
			if !c.ended[w] {
				c.publish(w, 0, false, true)
			}
		}
		for ; observed < len(c.published); observed++ {
			m.Observe(c.published[observed])
		}
		for p := range ids {
			m.Advance(ids[p], int64(len(c.records[p])))
			if mark, _ := m.Watermark(ids[p]); mark != column.MaxTime || !m.Ended(ids[p]) {
				t.Fatalf("partition %d stands at %d after all ended", p, mark)
			}
		}
	})
}

func TestPublicationsOfAnotherRunDoNotCount(t *testing.T) {
	m := watermark.NewMerge([]int32{0})
	m.Begin(run)
	m.Observe(checkpoint.Published{Run: run - 1, Writer: "a", Writers: 1, Epoch: 9, Watermark: column.MaxTime, Ended: true})
	if mark, _ := m.Watermark(0); mark != column.MinTime || m.Ended(0) {
		t.Fatalf("stands at %d", mark)
	}
	m.Observe(checkpoint.Published{Run: run, Writer: "a", Writers: 1, Epoch: 1, Watermark: 7})
	m.Begin(run + 1)
	if mark, _ := m.Watermark(0); mark != column.MinTime {
		t.Fatalf("a new run begins at %d", mark)
	}
}

func TestIdleWritersHoldNobodyUp(t *testing.T) {
	m := watermark.NewMerge([]int32{0})
	m.Begin(run)
	m.Observe(checkpoint.Published{Run: run, Writer: "a", Writers: 2, Epoch: 1, Watermark: 7, Idle: true})
	if got := m.Waiting(0); got != "1 of 2 writers have published" {
		t.Errorf("waits for %q", got)
	}
	m.Observe(checkpoint.Published{Run: run, Writer: "b", Writers: 2, Epoch: 1, Watermark: 100})
	if mark, idle := m.Watermark(0); mark != 100 || idle {
		t.Errorf("one idle writer: %d, idle %v", mark, idle)
	}
	m.Observe(checkpoint.Published{Run: run, Writer: "b", Writers: 2, Epoch: 2, Watermark: 110, Idle: true})
	if mark, idle := m.Watermark(0); mark != 100 || !idle {
		t.Errorf("all idle: %d, idle %v", mark, idle)
	}
	m.Observe(checkpoint.Published{Run: run, Writer: "a", Writers: 2, Epoch: 2, Watermark: 105})
	if mark, idle := m.Watermark(0); mark != 105 || idle {
		t.Errorf("awake: %d, idle %v", mark, idle)
	}
}

func TestAReaderThatIsFarBehindKeepsABoundedNumberOfPublications(t *testing.T) {
	m := watermark.NewMerge([]int32{0})
	m.Begin(run)
	for i := range 10_000 {
		m.Observe(checkpoint.Published{Run: run, Writer: "a", Writers: 1, Epoch: uint64(i + 1), Watermark: int64(i), Ends: map[int32]int64{0: int64(i + 1)}})
	}
	if n := len(m.AppendBinary(nil, 0)); n > 1000 {
		t.Errorf("state has %d bytes", n)
	}
	for _, position := range []int64{1, 500, 5000, 10_000} {
		m.Advance(0, position)
		if mark, _ := m.Watermark(0); mark > position-1 {
			t.Errorf("at %d the watermark is %d", position, mark)
		}
	}
	if mark, _ := m.Watermark(0); mark != 9999 {
		t.Errorf("at the end the watermark is %d", mark)
	}
}

func TestDamagedStateIsRefused(t *testing.T) {
	m := watermark.NewMerge([]int32{0, 1})
	m.Begin(run)
	m.Observe(checkpoint.Published{Run: run, Writer: "a", Writers: 1, Epoch: 1, Watermark: 7, Ends: map[int32]int64{1: 9}})
	state := m.AppendBinary(nil, 5)
	for n := range state {
		if _, _, err := watermark.ParseMerge(state[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(state))
		}
	}
	if _, _, err := watermark.ParseMerge(append([]byte{9}, state[1:]...)); err == nil || !strings.Contains(err.Error(), "version is 9") {
		t.Errorf("another version: %v", err)
	}
}

func TestTrackerIsNeverAheadOfRowsWithinTheBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.Int64Range(1, 1000).Draw(t, "bound")
		tr := watermark.NewTracker(time.Duration(bound)*time.Microsecond, 0, column.MinTime, time.Unix(0, 0))
		var clock int64
		for range 50 {
			clock += rapid.Int64Range(0, 200).Draw(t, "step")
			at := clock - rapid.Int64Range(0, bound).Draw(t, "disorder")
			if at < tr.Watermark() {
				t.Fatalf("row at %d comes after the watermark %d", at, tr.Watermark())
			}
			tr.Observe(at, time.Unix(0, 0))
		}
	})
}

func TestWithoutABoundTheWatermarkWaitsForTheEnd(t *testing.T) {
	tr := watermark.NewTracker(0, time.Second, column.MinTime, time.Unix(0, 0))
	tr.Observe(1e15, time.Unix(1, 0))
	if tr.Watermark() != column.MinTime {
		t.Errorf("stands at %d", tr.Watermark())
	}
	if tr.Idle(time.Unix(1, 5e8)) || !tr.Idle(time.Unix(2, 0)) {
		t.Error("idle after one second of silence, and not before")
	}
	tr.End()
	if tr.Watermark() != column.MaxTime || tr.Idle(time.Unix(9, 0)) {
		t.Errorf("after the end it stands at %d", tr.Watermark())
	}
}

func TestMin(t *testing.T) {
	for name, c := range map[string]struct {
		in    []watermark.Input
		floor int64
		mark  int64
		idle  bool
	}{
		"no input can bring nothing": {nil, 5, column.MaxTime, false},
		"the least counts":           {[]watermark.Input{{Mark: 9}, {Mark: 7}}, 5, 7, false},
		"it never goes back":         {[]watermark.Input{{Mark: 3}}, 5, 5, false},
		"idle does not count":        {[]watermark.Input{{Mark: 9}, {Mark: 7, Idle: true}}, 5, 9, false},
		"all idle stays":             {[]watermark.Input{{Mark: 9, Idle: true}}, 5, 5, true},
	} {
		if mark, idle := watermark.Min(c.in, c.floor); mark != c.mark || idle != c.idle {
			t.Errorf("%s: %d, idle %v", name, mark, idle)
		}
	}
}
