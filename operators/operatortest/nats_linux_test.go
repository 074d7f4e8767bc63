package operatortest

import (
	"testing"
	"time"

	"github.com/weir-project/weir/operators"
)

func TestMain(m *testing.M) { Main(m) }

// TestStreamsAreMadeOnceAndWidened against a server of its own process, which is then killed: what was made is there.
func TestStreamsAreMadeOnceAndWidened(t *testing.T) {
	n := StartNats(t)
	ctx := t.Context()
	ensure := func(s ...operators.JetStream) {
		t.Helper()
		if err := n.Client.EnsureStreams(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	ensure(operators.JetStream{Name: "S", Subjects: []string{"a"}, MaxBytes: 1 << 20, Duplicates: time.Minute})
	ensure(operators.JetStream{Name: "S", Subjects: []string{"b"}, MaxBytes: 5, Duplicates: 2 * time.Minute}, operators.JetStream{Name: "T", Subjects: []string{"t.x"}})
	ensure(operators.JetStream{Name: "S", Subjects: []string{"a", "b"}, Duplicates: time.Minute})
	if err := n.Restart(ctx, 0); err != nil {
		t.Fatal(err)
	}
	f := n.Client.Observe(ctx, time.Now())
	s := f.Streams.Value["S"]
	if !f.Answers.Value || len(f.Streams.Value) != 2 || s.MaxBytes != 1<<20 || s.Duplicates != 2*time.Minute || len(s.Subjects) != 2 || s.Retention != "Limits" {
		t.Errorf("got %+v", f)
	}
	// A subject belongs to one stream: the server says whose it is.
	if err := n.Client.EnsureStreams(ctx, []operators.JetStream{{Name: "U", Subjects: []string{"t.x"}}}); err == nil {
		t.Error("a second stream took a subject")
	}
	wrong := n.Client
	wrong.Password = "wrong"
	if f := wrong.Observe(ctx, time.Now()); !f.Answers.Known || f.Answers.Value {
		t.Errorf("with a wrong password: %+v", f.Answers)
	}
	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	if f := n.Client.Observe(ctx, time.Now()); f.Answers.Known {
		t.Errorf("of a server that is gone: %+v", f.Answers)
	}
}
