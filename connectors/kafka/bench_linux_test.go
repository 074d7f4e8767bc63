package kafka

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// BenchmarkVolume writes and reads a million messages of 100 bytes.
func BenchmarkVolume(b *testing.B) {
	k := startKafka(b)
	for b.Loop() {
		k.empty(b)
		measureVolume(b, dialTo(b, k.conn))
	}
}

func measureVolume(t *testing.B, c *Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	l := logOf(c, 0)
	if _, err := l.Recover(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	const perCommit, commits = 40_000, 25
	value := []byte(`{"id":1,"text":"` + string(make100()) + `"}`)
	r := &checkpoint.Records{}
	for range perCommit / outParts {
		r.Append(nil, value, 5)
	}
	start, before := time.Now(), cpu()
	for e := range commits {
		commit := commitOf(l, uint64(e+1))
		for p := range int32(outParts) {
			commit.Outputs[outTopic][p] = r
		}
		if _, err := l.Commit(ctx, commit); err != nil {
			t.Fatal(err)
		}
	}
	report(t, "produce", perCommit*commits, time.Since(start), cpu()-before)
	settle(t, l)
	raw := func(name string, read func(p int32, end int64) int) {
		start, before, n := time.Now(), cpu(), 0
		for p := range int32(outParts) {
			end, err := c.Latest(ctx, outTopic, p)
			if err != nil {
				t.Fatal(err)
			}
			n += read(p, end)
		}
		report(t, name, n, time.Since(start), cpu()-before)
	}
	raw("fetch", func(p int32, end int64) int {
		n := 0
		tail := newTail(c, outTopic, p, 0)
		for tail.next < end {
			ok, err := tail.load()
			if err == nil && ok {
				n += tail.cols.Len()
				tail.took(tail.cols.Len())
			} else if err == nil && tail.next < end {
				err = tail.fill(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return n
	})
	raw("fetch-to-columns", func(p int32, end int64) int {
		r, err := Channel(c, outChannel).Open(ctx, splitOf(p), checkpoint.Position{})
		if err != nil {
			t.Fatal(err)
		}
		n, b := 0, column.NewBatch(&rowSchema, 4096)
		for at := int64(0); at < end; {
			b.Reset()
			pos, err := r.Read(ctx, b, 4096)
			if err != nil {
				t.Fatal(err)
			}
			at, n = pos.Offset, n+b.Len()
		}
		return n
	})
}

func report(t *testing.B, name string, n int, wall, used time.Duration) {
	t.ReportMetric(float64(n)/wall.Seconds()/1e6, name+"-M/s")
	t.ReportMetric(float64(used.Nanoseconds())/float64(n), name+"-cpu-ns/message")
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func make100() []byte {
	out := make([]byte, 80)
	for i := range out {
		out[i] = 'a' + byte(i%26)
	}
	return out
}

// BenchmarkCommits commits once a second from twelve slots of one client, for half a minute.
func BenchmarkCommits(b *testing.B) {
	k := startKafka(b)
	for b.Loop() {
		k.empty(b)
		measureCommits(b, k.conn)
	}
}

func measureCommits(t *testing.B, conn physical.Connection) {
	const slots, rounds = 12, 30
	c := dialTo(t, conn)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var took, recovered []time.Duration
	var all sync.WaitGroup
	start, before := time.Now(), cpu()
	for i := range slots {
		all.Go(func() {
			l := logOf(c, i)
			began := time.Now()
			if _, err := l.Recover(ctx, 2, 2_000_000); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			recovered = append(recovered, time.Since(began))
			mu.Unlock()
			if err := lifecycle.Sleep(ctx, time.Duration(i)*time.Second/slots); err != nil { // slots that began at once would commit at once
				t.Error(err)
				return
			}
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for e := range rounds {
				commit := commitOf(l, uint64(e+1), ids(100)...)
				for k := range 20 {
					commit.State = append(commit.State, checkpoint.KV{Key: []byte{byte(k)}, Value: make([]byte, 50)})
				}
				began := time.Now()
				if _, err := l.Commit(ctx, commit); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
				<-tick.C
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	slices.Sort(recovered)
	at := func(d []time.Duration, q float64) time.Duration {
		return d[int(q*float64(len(d)-1))].Round(10 * time.Microsecond)
	}
	if len(took) == 0 {
		t.Fatal("no commit succeeded")
	}
	for name, d := range map[string]time.Duration{"commit-p50": at(took, 0.5), "commit-p99": at(took, 0.99), "commit-max": at(took, 1), "recover-p50": at(recovered, 0.5)} {
		t.ReportMetric(float64(d)/float64(time.Millisecond), name+"-ms")
	}
	t.ReportMetric((cpu()-before).Seconds()/time.Since(start).Seconds(), "client-cores")
}
