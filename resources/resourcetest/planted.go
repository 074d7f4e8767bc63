package resourcetest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Find runs one claim, named by how it begins, on a rig with a bug that was planted, and reports whether the claim has failed and with
// what words: a check that cannot fail is none. The rig's own complaints go to the same place.
func Find(t *testing.T, claim string, start func(testing.TB) Rig) (found bool, words string) {
	t.Helper()
	test := named(t, claim)
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r, start(r))
	}()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed, strings.Join(r.words, "; ")
}

func named(t *testing.T, begins string) func(testing.TB, Rig) {
	t.Helper()
	for _, c := range claims {
		if strings.HasPrefix(c.name, begins) {
			return c.test
		}
	}
	for _, c := range onHosts {
		if strings.HasPrefix(c.name, begins) {
			return func(t testing.TB, rig Rig) { c.test(t, asHost(t, rig)) }
		}
	}
	t.Fatalf("no claim begins with %q", begins)
	return nil
}

// recorder keeps failures to itself. What it does not override is the real test's.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed bool
	words  []string
}

func (r *recorder) fail(words string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed, r.words = true, append(r.words, words)
}

func (r *recorder) Error(args ...any)                 { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.fail(fmt.Sprintf(format, args...)) }
func (r *recorder) Fatal(args ...any)                 { r.fail(fmt.Sprint(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(format string, args ...any) {
	r.fail(fmt.Sprintf(format, args...))
	runtime.Goexit()
}
func (r *recorder) Fail()    { r.fail("failed") }
func (r *recorder) FailNow() { r.fail("failed"); runtime.Goexit() }
func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// patienceOf is how long to wait for what should come: with a planted bug much of it never does.
func patienceOf(t testing.TB) time.Duration {
	if _, planted := t.(*recorder); planted {
		return 3 * time.Second
	}
	return patience
}
