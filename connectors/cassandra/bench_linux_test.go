package cassandra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/weir-project/weir/operators/operatortest"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkApplyAndScan writes and reads 100,000 rows of the demo's shape: 223 partitions.
func BenchmarkApplyAndScan(b *testing.B) {
	n := node{operatortest.NewRig(b).Cassandra()}
	s := dial(b, n, "bench")
	o := newOutbox(b, s, "bench")
	const total, step = 100_000, 5000
	next := counterFrom(0)
	var applied, scanned, applyCPU, scanCPU time.Duration
	rounds := 0
	for b.Loop() {
		rounds++
		start, used := time.Now(), cpu()
		for i := 0; i < total; i += step {
			batch := column.NewBatch(&delays, step)
			for j := i; j < i+step; j++ {
				batch.Cols[0].AppendString(fmt.Appendf(nil, "P%d", j%223))
				batch.Cols[1].AppendInt(int64(j/223) * 3_600_000_000)
				batch.Cols[2].AppendInt(int64(j))
				batch.Cols[3].AppendFloat(float64(j))
				batch.Cols[4].AppendNull()
				batch.Cols[5].AppendNull()
				batch.N++
			}
			entries, err := o.Stage(batch, next)
			if err == nil {
				err = o.Apply(context.Background(), entries)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		applied, applyCPU = applied+time.Since(start), applyCPU+cpu()-used
		start, used = time.Now(), cpu()
		if n := countRows(b, s); n != total {
			b.Fatalf("%d rows, not %d", n, total)
		}
		scanned, scanCPU = scanned+time.Since(start), scanCPU+cpu()-used
	}
	all := float64(rounds * total)
	b.ReportMetric(all/applied.Seconds(), "apply-rows/s")
	b.ReportMetric(float64(applyCPU.Nanoseconds())/all, "apply-cpu-ns/row")
	b.ReportMetric(all/scanned.Seconds(), "scan-rows/s")
	b.ReportMetric(float64(scanCPU.Nanoseconds())/all, "scan-cpu-ns/row")
}

func countRows(b *testing.B, s *Session) int {
	ctx := context.Background()
	src, err := NewSource(s, channel("bench"))
	if err != nil {
		b.Fatal(err)
	}
	splits, err := src.Splits(ctx)
	if err != nil {
		b.Fatal(err)
	}
	batch, n := column.NewBatch(&delays, 1024), 0
	for _, split := range splits {
		r := open(b, src, split, checkpoint.Position{})
		for err = nil; err == nil; n += batch.N {
			batch.Reset()
			_, err = r.Read(ctx, batch, 1024)
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
	return n
}
