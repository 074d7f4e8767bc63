package mainjob

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/physical"
)

// The documents of the long proof, as those of the catalogue but on workers. Numbers go into ORDERS, their sums by kind and 10 s of event time come out of it.
const (
	stackFile = `apiVersion: weir.dev/v1
kind: Stack
metadata: {name: orders}
spec:
  services:
    bus: {operator: nats, version: "2.15", storage: 1Gi}
    events: {operator: kafka, version: "4.3", brokers: 1, storage: 1Gi}
    workers: {operator: stream, workers: 2}
  pipelines: [orders.yaml]
`
	fill = `
  - {type: GenerateSequence, config: {start: 0, end: END, rate: {elements: 3000, seconds: 1}}}
  - {type: MapToFields, config: {language: python, fields: {id: value, kind: value % 5, at: value // 100}}}
  - {type: AssignTimestamps, config: {timestamp: at}}
  - {type: WriteToNats, config: {service: BUS, stream: ORDERS, subject: orders.new}}
`
	sums = `
  - type: ReadFromNats
    config:
      service: BUS
      stream: ORDERS
      output_schema: {type: object, properties: {id: {type: integer}, kind: {type: integer}, at: {type: integer}}, required: [id, kind, at]}
  - {type: Combine, windowing: {type: fixed, size: 10s}, config: {group_by: kind, combine: {n: {value: id, fn: count}, total: {value: id, fn: sum}}}}
`
	readSums = `
  - type: ReadFromNats
    config:
      service: BUS
      stream: SUMS
      output_schema: {type: object, properties: {kind: {type: integer}, n: {type: integer}, total: {type: integer}}, required: [kind, n, total]}
  - {type: LogForTesting}
`
)

// orders is how many numbers are written, 100 to a second of event time; windows whose end the watermark, 2 s behind the newest, has passed come out.
const orders = 12000

// closed are the sums that come out, by kind and window, computed without the engine.
func closed() map[string]int {
	out := map[string]int{}
	for window := 0; (window+1)*10 <= (orders-1)/100-2; window++ {
		for kind := range 5 {
			n, total := 0, 0
			for id := window * 1000; id < (window+1)*1000; id++ {
				if id%5 == kind {
					n, total = n+1, total+id
				}
			}
			out[fmt.Sprintf("%d %d %d", kind, n, total)]++
		}
	}
	return out
}

// plain is a Beam file of one chain.
func plain(transforms, bus, weir string) string {
	text := "pipeline:\n  type: chain\n  transforms:" + strings.ReplaceAll(transforms, "\n", "\n    ") + "\n" + weir
	return strings.NewReplacer("BUS", bus, "END", fmt.Sprint(orders)).Replace(text)
}

func (w *install) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(filepath.Dir(w.state), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// rows runs a pipeline that has no end until it has printed as many rows as are wanted, or a minute has passed, and counts them.
func (w *install) rows(file string, want int) map[string]int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(w.bin, "weir"), "--state", w.state, "run", file)
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	got := map[string]int{}
	var extra *time.Timer
	n := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var r struct{ Kind, N, Total int }
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			w.t.Errorf("line %q: %v", lines.Text(), err)
		}
		got[fmt.Sprintf("%d %d %d", r.Kind, r.N, r.Total)]++
		if n++; n == want { // what should not be there has two seconds to come
			extra = time.AfterFunc(2*time.Second, func() { _ = c.Process.Signal(os.Interrupt) })
		}
	}
	if extra != nil {
		extra.Stop()
	}
	if err := c.Wait(); err != nil && n < want {
		w.t.Errorf("weir run %s: %d of %d rows: %v\n%s", file, n, want, err, errs.String())
	}
	return got
}

// kill ends, as a crash would, a process of the installation whose command line has a part; the moment is the caller's.
func (w *install) kill(part string) {
	w.t.Helper()
	for pid, line := range w.processes() {
		if strings.Contains(line, part) && !strings.Contains(line, "weir-shim") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				w.t.Fatal(err)
			}
			return
		}
	}
	w.t.Fatalf("no process of %q runs", part)
}

func (w *install) holds(got, want map[string]int) {
	w.t.Helper()
	if !maps.Equal(got, want) {
		w.t.Errorf("the sums are wrong:\n got %v\nwant %v", got, want)
	}
}

// TestANatsIsExactThoughItIsKilled: the catalogue's stack of a NATS alone, which needs no JVM, filled and read by `weir run` while it is killed twice.
func TestANatsIsExactThoughItIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the programs")
	}
	w := newInstall(t)
	const catalog = "../../stacks/catalog/orders/"
	w.must("up", catalog+"stack.yaml")
	out := catalog + "sums.yaml"
	filled := make(chan error, 1)
	go func() {
		text, err := w.weir("run", catalog+"fill.yaml")
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, text)
		}
		filled <- err
	}()
	time.Sleep(1500 * time.Millisecond) // the moment is part of the fault
	w.kill(" nats-server ")
	time.AfterFunc(time.Second, func() { w.kill(" nats-server ") })
	want := closed()
	w.holds(w.rows(out, len(want)), want)
	if err := <-filled; err != nil {
		t.Error(err)
	}
	w.holds(w.rows(out, len(want)), want)
}

// TestVerifyNats is the whole: workers that fill and read a NATS, and NATS, worker and server killed (`make verify-nats`). Then a stream is deleted under
// its reader.
func TestVerifyNats(t *testing.T) {
	for range verifying(t) {
		t.Run("run", verifyNats)
	}
}

func verifyNats(t *testing.T) {
	w := newInstall(t)
	stage := func(name, transforms, weir string) string {
		return "    " + name + ":\n      pipeline:\n        type: chain\n        transforms:" + strings.ReplaceAll(transforms, "\n", "\n        ") + "\n" + weir
	}
	doc := "apiVersion: weir.dev/v1\nkind: Pipeline\nmetadata: {name: orders}\nspec:\n  stages:\n" + stage("fill", fill, "") +
		stage("sums", sums+"  - {type: WriteToNats, config: {service: BUS, stream: SUMS, subject: sums.kind}}\n", "      weir: {ReadFromNats: {disorder: 2s}}\n")
	w.write("orders.yaml", strings.NewReplacer("BUS", "bus", "END", fmt.Sprint(orders)).Replace(doc))
	stack := w.write("stack.yaml", stackFile)
	w.must("up", "--detach", stack)
	w.await("rows of stage sums", func(s api.Stack) bool { return len(s.Pipelines) == 1 && counted(s, "sums") > 2000 })
	w.kill(" nats-server ")
	w.await("more rows of stage sums", func(s api.Stack) bool { return counted(s, "sums") > 5000 })
	w.kill(" worker ")
	w.await("more rows of stage sums", func(s api.Stack) bool { return counted(s, "sums") > 8000 })
	w.kill(" server")
	w.await("all rows of stage sums", func(s api.Stack) bool { return counted(s, "sums") == orders })
	want := closed()
	read := w.write("read.yaml", plain(readSums, "orders/bus", ""))
	w.holds(w.rows(read, len(want)), want)

	w.deleteStream("ORDERS")
	// The operator makes it anew, since stage fill writes it; stage sums must not take it for the one that it was reading.
	w.await("the reason that stage sums stands still", func(api.Stack) bool {
		out, err := w.weir("get")
		if err != nil || !strings.Contains(out, "made anew") || !strings.Contains(out, "weir rerun") {
			return false
		}
		t.Log(out)
		return true
	})
	// What it says to type helps: both stages begin anew, and the sums come out once more.
	w.await("a new run", func(api.Stack) bool { // it is refused in the moments in which the stage tries again
		return w.client().Do(t.Context(), "POST", "/v1/pipelines/orders/rerun", nil, nil) == nil
	})
	w.await("all rows of the new run", func(s api.Stack) bool { return s.Pipelines[0].Run == 2 && counted(s, "sums") == orders })
	for sum := range want {
		want[sum] *= 2
	}
	w.holds(w.rows(read, 2*len(want)), want)
}

func counted(s api.Stack, stage string) int64 {
	for _, p := range s.Pipelines {
		for _, st := range p.Stages {
			if st.Name == stage {
				return st.Counters.In
			}
		}
	}
	return 0
}

// await polls the stack's status for three minutes at most.
func (w *install) await(what string, done func(api.Stack) bool) {
	w.t.Helper()
	var last api.Stack
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if s, err := w.stackStatus("orders"); err == nil {
			if last = s; done(s) {
				return
			}
		}
	}
	w.t.Fatalf("waited three minutes for %s; the stack is %+v", what, last)
}

// deleteStream deletes a stream of the stack's NATS, as somebody with a client would.
func (w *install) deleteStream(name string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var c physical.Connection
	err := w.client().Do(ctx, "GET", "/v1/connections/orders/bus", nil, &c)
	if err != nil {
		w.t.Fatal(err)
	}
	config, err := security.ServiceTLS(security.Bundle{CAPEM: c.CA, CertPEM: c.Cert, KeyPEM: c.Key})
	if err != nil {
		w.t.Fatal(err)
	}
	conn, err := natsgo.Connect("tls://"+c.Servers[0], natsgo.UserInfo(c.User, c.Password), natsgo.Secure(config))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err == nil {
		err = js.DeleteStream(ctx, name)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
