package daemon

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/stacks/kubernetes"
)

// working is a daemon whose loop carries out what is asked, and looks at nothing by itself.
func working(t *testing.T) *Daemon {
	t.Helper()
	d := newDaemon()
	d.withMaster(t)
	d.withStore(t, t.TempDir())
	d.cfg.State = t.TempDir()
	root, err := os.OpenRoot(d.cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	d.root = root
	d.group.Go("work", func(ctx context.Context) error {
		for {
			select {
			case f := <-d.work:
				f()
			case <-ctx.Done():
				return nil
			}
		}
	})
	return d
}

func object(uid string, generation int64) kubernetes.Object {
	return kubernetes.Object{Namespace: "n", Name: "small", UID: uid, Generation: generation,
		Source: []byte("apiVersion: weir.dev/v1\nkind: Stack\nmetadata: {name: small}\nspec: {services: {workers: {operator: stream, workers: 1}}}\n")}
}

// command applies the same document as a command does.
func command(d *Daemon) error {
	o := object("", 0)
	b := api.Bundle{File: "/x/stack.yaml", Source: o.Source}
	r, err := resolve(b)
	if err != nil {
		return err
	}
	_, err = ask(context.Background(), d, func() (api.Apply, error) { return d.apply(context.Background(), b, r, "") })
	return err
}

func TestAStackHasOneOwner(t *testing.T) {
	d := working(t)
	k := objects{d}
	apply := func(what, uid string, generation int64, code string) {
		t.Helper()
		wantCode(t, what, k.Apply(t.Context(), object(uid, generation)), code)
	}
	apply("a new object", "u1", 3, "")
	apply("the same again", "u1", 3, "")
	if err := k.Apply(t.Context(), object("u1", 2)); !errors.Is(err, kubernetes.ErrStale) {
		t.Errorf("a generation that was passed: %v", err)
	}
	wantCode(t, "weir up of a stack that an object owns", command(d), "E-OWNER")
	apply("another object before the first has ended", "u2", 1, "E-ENDING")
	if got, err := k.Applied(t.Context()); err != nil || len(got) != 1 || got["u1"] != "small" {
		t.Errorf("applied are %v, %v", got, err)
	}

	if done, err := k.End(t.Context(), "small", "u2"); !done || err != nil {
		t.Errorf("the end of an object that has no stack: %v, %v", done, err)
	}
	if done, err := k.End(t.Context(), "small", "u1"); done || err != nil {
		t.Errorf("the end was told with the first look: %v, %v", done, err)
	}
	if s, _, err := k.Status(t.Context(), "small", "u1"); err != nil || s.Phase != "stopping" {
		t.Errorf("an object that ends is %+v, %v", s, err)
	}
	if done, err := k.End(t.Context(), "small", "u1"); !done || err != nil {
		t.Errorf("no task runs, and the stack has not ended: %v, %v", done, err)
	}
	if got, err := k.Applied(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("applied are %v, %v", got, err)
	}
	if err := k.Apply(t.Context(), object("u1", 9)); !errors.Is(err, kubernetes.ErrStale) {
		t.Errorf("an object that has ended comes back: %v", err)
	}
	apply("the next object of that name", "u2", 1, "")
}

func TestAnObjectTakesNoRunningStackFromACommand(t *testing.T) {
	d := working(t)
	if err := command(d); err != nil {
		t.Fatal(err)
	}
	k := objects{d}
	wantCode(t, "an object of a stack that runs", k.Apply(t.Context(), object("u1", 1)), "E-OWNER")
	if _, found, err := k.Status(t.Context(), "small", "u1"); found || err != nil {
		t.Errorf("a refused object has a status: %v, %v", found, err)
	}
	if _, err := ask(t.Context(), d, func() (bool, error) { d.stacks["small"].record.Down = true; return true, nil }); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "an object of a stack that is down", k.Apply(t.Context(), object("u1", 1)), "")
}

// Both print what one function says; only countdowns are left out, since each look would write the object.
func TestAnObjectSaysWhatGetSays(t *testing.T) {
	d := working(t)
	k := objects{d}
	if err := k.Apply(t.Context(), object("u1", 1)); err != nil {
		t.Fatal(err)
	}
	got, found, err := k.Status(t.Context(), "small", "u1")
	if err != nil || !found {
		t.Fatalf("%v, %v", found, err)
	}
	said, err := ask(t.Context(), d, func() (api.Stack, error) { return d.getStack("small") })
	if err != nil {
		t.Fatal(err)
	}
	v := said.Services[0]
	if got.Phase != said.State || len(got.Services) != 1 || got.Services[0] != (kubernetes.Service{Name: v.Name, Operator: v.Operator, State: v.State, Reason: v.Reason, Size: v.Want, Ready: v.Ready}) {
		t.Errorf("the object says %+v, weir get %+v", got, said)
	}
	said.Services[0].Reason = "workers-0:launch delayed: exit code 1; again in 3.2s"
	if got := objectStatus(&said).Services[0].Reason; got != "workers-0:launch delayed: exit code 1" {
		t.Errorf("the reason is %q", got)
	}
}

func TestHealthIsWhetherTheLoopTurns(t *testing.T) {
	ask := func(d *Daemon, within time.Duration) int {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		w := httptest.NewRecorder()
		d.health(w, httptest.NewRequest("GET", "/health", nil).WithContext(ctx))
		return w.Code
	}
	if code := ask(working(t), time.Minute); code != http.StatusOK {
		t.Errorf("a loop that turns: %d", code)
	}
	if code := ask(newDaemon(), 50*time.Millisecond); code != http.StatusServiceUnavailable {
		t.Errorf("a loop that stands: %d", code)
	}
}
